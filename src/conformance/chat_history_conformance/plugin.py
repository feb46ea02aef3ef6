"""The pytest plugin: its options and its start. Nothing is loaded unless a backend is named.

What happens then is in `chat_history_conformance.pytest_plugin.contracts`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

_MARKER = (
    "history(backend, family, level, mode): a contract of chat-history-conformance; "
    "select with -m \"history(family='ordering')\""
)

_JUDGING = (
    "report",
    "profile",
    "level",
    "since",
    "write-deviations",
    "require-verdict",
    "allow-destructive",
    "faults",
)
_MEASURING = ("max-round-trips", "write-round-trips")
_OF_A_RUN = (
    *_MEASURING,
    "benchmark",
    "report",
    "write-deviations",
    "require-verdict",
    "allow-destructive",
    "server",
    "server-config",
    "offline",
    "faults",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini option of the same name."""
    group = parser.getgroup("history", "chat-history conformance")

    def option(
        name: str, help: str, *, many: bool = False, flag: bool = False, **kwargs: Any
    ) -> None:
        action = "append" if many else "store_true" if flag else "store"
        group.addoption(
            f"--history-{name}",
            action=action,
            default=None,
            help=help,
            **kwargs,
        )
        kind: Literal["args", "bool", "string"] = "args" if many else "bool" if flag else "string"
        parser.addini(
            f"history_{name.replace('-', '_')}",
            f"the same as --history-{name}",
            type=kind,
            default=[] if many else False if flag else "",
        )

    option(
        "backend",
        "judge the chat history NAME: a registered name, one declared with @history_backend in a "
        "conftest, or package.module:attribute, any callable that takes a session id; repeatable. "
        "Without a path, the run is the contracts alone",
        many=True,
        metavar="NAME",
    )
    option(
        "report",
        "write a report to PATH; its ending says which: .json, .md, .html or .svg; repeatable",
        many=True,
        metavar="PATH",
    )
    option(
        "profile",
        "how much is tried: quick, ci or thorough (default: quick, ci where CI is set)",
        choices=("quick", "ci", "thorough"),
    )
    option(
        "level",
        "contracts below this level inform and never fail the run: must, should or may "
        "(default: should)",
        choices=("must", "should", "may"),
    )
    option(
        "since",
        "pin the catalogue to that of suite version VERSION: newer contracts inform",
        metavar="VERSION",
    )
    option(
        "require-verdict",
        "fail the run where a verdict is INCOMPLETE, for CIs",
        flag=True,
    )
    option(
        "allow-destructive",
        "also try session ids that could meet somebody's data: the empty id, ids like paths",
        flag=True,
    )
    option(
        "server",
        "the server that a backend needs: an ADDRESS, container, jvm, mock, or auto, the first of "
        "these that works (default: auto); KIND= in front names the kind, kafka=broker:9092; "
        "repeatable",
        many=True,
        metavar="[KIND=]WAY",
    )
    option(
        "server-config",
        "client settings (SASL, TLS, API keys) from a TOML file, a table for each kind of server; "
        "they appear in no output",
        metavar="FILE",
    )
    option(
        "offline",
        "download nothing to start a server: what is not there already is an error",
        flag=True,
    )
    option(
        "faults",
        "also pause, kill and restart the server that this run started, and see what is kept",
        flag=True,
    )
    option(
        "benchmark",
        "measure instead of judging: every operation, beside the raw client and the peers that are "
        "installed, with pytest-benchmark and its options",
        flag=True,
    )
    option(
        "max-round-trips",
        "with --history-benchmark: fail where an operation takes more round trips than the TOML "
        "file FILE allows",
        metavar="FILE",
    )
    option(
        "write-round-trips",
        "with --history-benchmark: print the round trips of this run as such a file",
        flag=True,
    )
    option(
        "write-deviations",
        "print the deviations= block that would declare this run's failures",
        flag=True,
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the run of the contracts where a backend is named."""
    config.addinivalue_line("markers", _MARKER)
    named = setting(config, "backend")
    if not named:
        for name in _OF_A_RUN:
            if config.getoption(f"--history-{name}"):
                raise pytest.UsageError(
                    f"--history-{name} does nothing without --history-backend=NAME: name the "
                    "chat history to judge."
                )
        return
    measuring = bool(setting(config, "benchmark"))
    for name in _JUDGING if measuring else _MEASURING:
        if config.getoption(f"--history-{name}"):
            raise pytest.UsageError(
                f"--history-{name} is about judging, which --history-benchmark does not do: leave "
                "out one of them."
                if measuring
                else f"--history-{name} does nothing without --history-benchmark."
            )
    if measuring:
        from chat_history_conformance.pytest_plugin.benchmarks import BenchmarkRun

        config.pluginmanager.register(BenchmarkRun(config, list(named)), "history-benchmarks")
        return
    from chat_history_conformance.pytest_plugin.contracts import ContractRun

    config.pluginmanager.register(ContractRun(config, list(named)), "history-contracts")


def setting(config: pytest.Config, name: str) -> Any:
    """The value of an option, from the command line or else from its ini twin."""
    given = config.getoption(f"--history-{name}")
    return given if given is not None else config.getini(f"history_{name.replace('-', '_')}")


def invocation_directory(config: pytest.Config) -> Path:
    """Where pytest was started."""
    return Path(config.invocation_params.dir)
