"""Kinds of servers that other packages register, and what is said of those that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chat_history_conformance import servers
from chat_history_conformance.servers import ServerError, choice, launcher
from chat_history_conformance.servers.kind import NotReady, Options, load

SHELF = '''
import socket
import sys
from pathlib import Path

from chat_history_conformance.servers.kind import Kind, Launch, NotReady
from chat_history_conformance.servers.program import Program

SERVER = """
import pathlib, socketserver, sys

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            name, _, text = line.decode().rstrip().partition(" ")
            file = pathlib.Path("data", name)
            if text == "clear":
                file.write_text("")
            elif text:
                with file.open("a") as lines:
                    print(text, file=lines)
            kept = file.read_text().splitlines() if file.exists() else []
            self.wfile.write((" ".join(kept) + chr(10)).encode())

pathlib.Path("data").mkdir(exist_ok=True)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Shelf(Kind):
    """A server in Python that keeps lines in files."""

    name = "shelf2"
    title = "Shelf"
    form = "shelf://HOST:PORT"
    schemes = ("shelf",)
    ways = ("local",)
    unprivileged = False  # the Python of the tests may be in a directory of root

    def obtain(self, announce, *, offline):
        return Program(Path(sys.executable), "1.0")

    def process(self, program, directory, ports, options):
        return Launch(
            command=[str(program.path), "-c", SERVER, str(ports[0])],
            address=f"shelf://127.0.0.1:{ports[0]}",
        )

    def ask(self, address, config, identity, seconds):
        host, _, port = address.removeprefix("shelf://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), seconds).close()
        except OSError as error:
            raise NotReady(str(error)) from None


KIND = Shelf()
'''

BACKEND = """
import socket

from chat_history_backends.codec import decode, encode_batch
from chat_history_conformance import history_backend
from chat_history_conformance.servers import address, settings
from langchain_core.chat_history import BaseChatMessageHistory


class ShelfHistory(BaseChatMessageHistory):
    def __init__(self, session_id, url):
        self.session, self.url = session_id.encode("utf-8", "surrogatepass").hex() or "-", url

    @property
    def messages(self):
        kept = self._ask("").split()
        texts = [bytes.fromhex(text).decode() for batch in kept for text in batch.split(".")]
        return [decode(text, number) for number, text in enumerate(texts)]

    def add_messages(self, messages):
        if texts := encode_batch(messages):
            self._ask(".".join(text.encode().hex() for text in texts))

    def clear(self):
        self._ask("clear")

    def _ask(self, text):
        host, _, port = self.url.removeprefix("shelf://").rpartition(":")
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(f"{self.session} {text}\\n".encode())
            return connection.makefile().readline().rstrip()


@history_backend("mine", server="shelf2", lacks={"durable": "its writes are not synchronised"})
def mine(session_id):
    assert settings("shelf2") == {"shelves": 3}
    return ShelfHistory(session_id, address("shelf2"))
"""

THIRD_PARTY = "chat_history_third_party_kind"


def distribution(directory: Path, **points: str) -> Path:
    """Make an installed distribution that registers kinds, and return its directory."""
    metadata = directory / f"{THIRD_PARTY}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {THIRD_PARTY}\nVersion: 1.0\n"
    )
    lines = [f"{name} = {value}" for name, value in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[chat_history_servers]", *lines]))
    return directory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory from which modules and distributions are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_kind", raising=False)
    return tmp_path


def test_the_kinds_of_this_package_are_registered_like_those_of_others() -> None:
    assert servers.kinds() == ("elasticsearch", "kafka", "mongodb", "postgresql", "redis")
    assert [load(name).name for name in servers.kinds()] == list(servers.kinds())


def test_a_kind_of_another_package_is_started_paused_and_restarted(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(here, shelf2="their_kind:KIND")
    (here / "their_kind.py").write_text(SHELF)
    assert "shelf2" in servers.kinds()
    monkeypatch.setenv(servers.variable("shelf2"), "")
    with launcher.start("shelf2", "auto", announce=print) as server:
        assert server.description == "1.0 (local)"
        assert server.environment == {"HISTORY_SHELF2": server.address}
        server.pause()
        server.resume()
        server.kill()
        server.restart()
        assert choice.parse(server.address).kind == "shelf2"


def test_a_run_checks_a_history_on_a_kind_of_another_package(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(pytester.path, shelf2="their_kind:KIND")
    pytester.makepyfile(their_kind=SHELF)
    pytester.makeconftest(BACKEND)
    pytester.path.joinpath("clients.toml").write_text("[shelf2]\nshelves = 3\n")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    monkeypatch.delenv("HISTORY_SHELF2", raising=False)
    result = pytester.runpytest_subprocess(
        *("--history-backend=mine", "--history-server=shelf2=local", "-n2"),
        "--history-server-config=clients.toml",
        *("mine::ordering", "mine::clear.empties"),
        *("-p", "no:cacheprovider"),
        timeout=300,
    )
    assert result.ret == 0
    counts = result.parseoutcomes()
    assert counts["passed"] > 20
    assert set(counts) <= {"passed", "skipped"}
    result.stdout.fnmatch_lines(["shelf2 1.0 (local) is ready at shelf://127.0.0.1:*"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import no_such_driver", r"cannot be imported: ModuleNotFoundError: .*'no_such_driver'"),
        ("raise SystemExit(3)", r"cannot be imported: SystemExit: 3\. Check that its package"),
        ("KIND = 'shelf'", r"cannot be used: it is not an instance of .*\.kind\.Kind"),
        (f"{SHELF}\nKIND = Shelf", r"it is a class\. Register an instance: KIND = Shelf\(\)"),
        (f"{SHELF}\nKIND.name = 'shelf'", r"its name is 'shelf'\. Give both the same name"),
        (f"{SHELF}\nKIND.title = ''", r"its title is missing"),
        (f"{SHELF}\nKIND.ways = ('snap',)", r"'snap' in its ways is unknown\. Choose from: conta"),
    ],
)
def test_a_kind_that_cannot_be_used_is_an_error(here: Path, source: str, expected: str) -> None:
    distribution(here, shelf2="their_kind:KIND")
    (here / "their_kind.py").write_text(source)
    where = rf"The kind of server 'shelf2', 'their_kind:KIND' \({THIRD_PARTY}, group chat_history_"
    with pytest.raises(ServerError, match=rf"^{where}servers\), .*{expected}"):
        launcher.start("shelf2", "local", announce=print)


@pytest.mark.parametrize("name", ["Shelf", "shelf-2", "2shelf", "shelf_counted", "server_config"])
def test_a_name_that_cannot_be_a_variable_is_an_error(here: Path, name: str) -> None:
    distribution(here, **{name: "their_kind:KIND"})
    (here / "their_kind.py").write_text(f"{SHELF}\nKIND.name = {name!r}")
    with pytest.raises(ServerError, match=r"lower-case letters, digits and _ only.*HISTORY_NAME"):
        load(name)


def test_two_packages_with_the_same_kind_are_an_error(here: Path) -> None:
    distribution(here, redis="their_kind:KIND")
    with pytest.raises(
        ServerError,
        match=rf"'redis': .*\({THIRD_PARTY}, .* and .*redis:KIND' \(chat.* Uninstall all but one",
    ):
        load("redis")


def test_an_address_of_two_kinds_needs_the_name_of_one(here: Path) -> None:
    distribution(here, shelf2="their_kind:KIND")
    (here / "their_kind.py").write_text(f"{SHELF}\nKIND.fits = lambda text: ':' in text")
    with pytest.raises(ServerError, match=r"can be an address of kafka or shelf2\. Name the kind"):
        choice.parse("localhost:9092")
    assert choice.parse("shelf2=localhost:9092").kind == "shelf2"


def test_the_kind_in_the_documentation_works(here: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "servers.md").read_text(encoding="utf-8")
    source = text.partition("```python\n# mypackage/memcached_server.py\n")[2].partition("```")[0]
    (here / "their_kind.py").write_text(source)
    distribution(here, memcached="their_kind:KIND")
    kind = load("memcached")
    assert kind.fits("memcached://localhost:11211")
    with pytest.raises(NotReady, match="it cannot be reached"):
        kind.ask("memcached://127.0.0.1:1", {}, "", 1)
    assert kind.container(1, Options()).port_inside == 11211
    try:
        kind.obtain(print, offline=True)
    except ServerError as error:
        pytest.skip(str(error))
    with launcher.start("memcached", "local", announce=print) as server:
        server.kill()
        server.restart()


def test_an_unknown_kind_in_a_declaration_or_an_option_lists_the_known_ones(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        "from chat_history_conformance import history_backend\n"
        "history_backend('mine', server='postgres')(lambda session_id: None)"
    )
    result = pytester.runpytest_subprocess("--history-backend=mine")
    result.stderr.fnmatch_lines(
        [
            "*unknown kind of server 'postgres' in server=. Did you mean 'postgresql'? "
            "Choose from: elasticsearch, kafka, mongodb, postgresql, redis.*"
        ]
    )
    result = pytester.runpytest_subprocess(
        "--history-backend=memory", "--history-server=mongo=container"
    )
    result.stderr.fnmatch_lines(
        ["*No kind of server is called 'mongo'. Did you mean 'mongodb'? The kinds are elastic*"]
    )
