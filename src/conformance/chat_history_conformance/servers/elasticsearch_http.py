"""Requests to Elasticsearch without its client, with the settings of one."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from chat_history_conformance.servers.kind import NotReady, Refused

__all__ = [
    "get",
    "request",
]

_MISSING_SCHEME = "the address of Elasticsearch is a URL, such as http://127.0.0.1:9200"


def get(
    address: str, path: str, config: Mapping[str, Any], seconds: float
) -> tuple[int, dict[str, Any]]:
    """Send a GET request with these client settings, without following a redirection.

    Returns:
        The status and the JSON object of the answer; empty if the answer is not an object.

    Raises:
        NotReady: Elasticsearch does not answer there.
        Refused: It refuses these settings, or they do not fit.
    """
    status, document = request("GET", address, path, config, seconds)
    return status, document if isinstance(document, dict) else {}


def request(
    method: str,
    address: str,
    path: str,
    config: Mapping[str, Any],
    seconds: float,
    body: object = None,
) -> tuple[int, Any]:
    """Send a request with these client settings, without following a redirection.

    Args:
        method: The HTTP method.
        address: The URL of a node.
        path: The path and query.
        config: Client settings.
        seconds: The time limit.
        body: The JSON value to send; None for no body.

    Returns:
        The status and the JSON value of the answer; None if it is not JSON.

    Raises:
        NotReady: Elasticsearch does not answer there.
        Refused: It refuses these settings, or they do not fit.
    """
    # This client cannot check a fingerprint, so it sends no credentials.
    pinned = "ssl_assert_fingerprint" in config
    headers = {} if pinned else _headers(address, config)
    content = None if body is None else json.dumps(body)
    if content is not None:
        headers["Content-Type"] = "application/json"
    context = _unverified() if pinned else None
    answer, text = _send(method, address, path, content, headers, context, config, seconds)
    if answer.status == 401:
        if pinned:
            return 403, None
        raise Refused(
            "it refuses the credentials of the client settings"
            if "Authorization" in headers
            else "it demands credentials; set them in the client settings"
        )
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if (
        answer.status < 500
        and answer.getheader("X-elastic-product") != "Elasticsearch"
        and not _forbidden(document)  # this error lacks the header
    ):
        raise NotReady("something answers there, but it is not Elasticsearch 7.14 or later")
    return answer.status, document


def _send(
    method: str,
    address: str,
    path: str,
    body: str | None,
    headers: Mapping[str, str],
    context: ssl.SSLContext | None,
    config: Mapping[str, Any],
    seconds: float,
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request and return the answer with its body."""
    parts = urlsplit(address)
    if parts.hostname is None:
        raise Refused(_MISSING_SCHEME)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=seconds, context=context or _tls(config)
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, headers=dict(headers))
        answer = connection.getresponse()
        return answer, answer.read()
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"its certificate is not trusted ({error.verify_message}); set ca_certs in the client "
            "settings to its authority"
        ) from None
    except TimeoutError:
        raise NotReady(f"no answer within {seconds:.0f} s") from None
    except OSError as error:
        raise NotReady(f"it cannot be reached ({error.strerror or error})") from None
    except http.client.HTTPException:
        raise NotReady("something listens there, but it does not speak HTTP") from None
    finally:
        connection.close()


def _forbidden(document: object) -> bool:
    """Return whether Elasticsearch answered that the user lacks a privilege."""
    error = document.get("error") if isinstance(document, dict) else None
    return isinstance(error, dict) and error.get("type") == "security_exception"


def _headers(address: str, config: Mapping[str, Any]) -> dict[str, str]:
    headers = {str(name): str(value) for name, value in config.get("headers", {}).items()}
    parts = urlsplit(address)
    if "api_key" in config:
        headers["Authorization"] = f"ApiKey {_pair(config['api_key'])}"
    elif "bearer_auth" in config:
        headers["Authorization"] = f"Bearer {config['bearer_auth']}"
    elif "basic_auth" in config:
        headers["Authorization"] = f"Basic {_pair(config['basic_auth'])}"
    elif parts.username:
        pair = [unquote(parts.username), unquote(parts.password or "")]
        headers["Authorization"] = f"Basic {_pair(pair)}"
    return headers


def _pair(value: Any) -> str:
    """Encode two parts for HTTP. A string is already encoded."""
    if isinstance(value, str):
        return value
    return base64.b64encode(":".join(map(str, value)).encode()).decode("ascii")


def _tls(config: Mapping[str, Any]) -> ssl.SSLContext:
    if not config.get("verify_certs", True):
        context = _unverified()
    else:
        try:
            context = ssl.create_default_context(cafile=config.get("ca_certs"))
        except OSError as error:
            raise Refused(f"ca_certs of the client settings: {error.strerror or error}") from None
    if "client_cert" in config:
        try:
            context.load_cert_chain(config["client_cert"], config.get("client_key"))
        except OSError as error:
            raise Refused(
                f"client_cert of the client settings: {error.strerror or error}"
            ) from None
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
