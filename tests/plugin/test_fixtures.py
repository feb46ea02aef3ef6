"""Functions of a declaration that take values: of `lifespan=`, and of session fixtures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration.parameters import VARIABLE
from tests.plugin.test_options import conformant, usage_error

Run = Callable[..., pytest.RunResult]
MINE = "--history-backend=mine"
WHOLE = dict(catalogue.load())

STORE = """
    import os
    import sys
    from pathlib import Path

    import pytest
    from chat_history_backends.sqlite import SQLiteChatMessageHistory
    from chat_history_conformance import history_backend
    from histories import Backwards, Mine

    EVENTS = Path(__file__).parent / "events.txt"

    def event(text):
        with EVENTS.open("a") as file:
            print(text, file=file)

    def store():
        event("start")
        yield {"path": str(EVENTS.with_name("store.db"))}
        event("end")

    @pytest.fixture(scope="session")
    def path_of_fixture():
        event("start")
        yield str(EVENTS.with_name("fixture.db"))
        event("end")
    """


@pytest.fixture
def declare(pytester: pytest.Pytester) -> Callable[[str], Path]:
    """Return a function that writes a conftest.py with a declaration after `STORE`."""

    def write(declaration: str) -> Path:
        text = f"{textwrap.dedent(STORE)}\n{textwrap.dedent(declaration)}"
        return pytester.makeconftest(text)

    return write


@pytest.fixture
def events(pytester: pytest.Pytester) -> Callable[[], list[str]]:
    """Return a function that returns the starts and ends so far."""
    path = pytester.path / "events.txt"
    return lambda: path.read_text().split() if path.exists() else []


def only(small_catalogue: dict[str, Contract], *names: str) -> None:
    """Make these contracts the whole catalogue."""
    small_catalogue.clear()
    small_catalogue.update({name: WHOLE[name] for name in names})


def of_verdict(result: pytest.RunResult) -> str:
    """Return the line of the verdict on `mine`."""
    return next(line for line in result.outlines if line.startswith("mine: INCOMPLETE"))


LIFESPAN = """
    @history_backend("mine", lifespan=store)
    def mine(session_id, path):
        return SQLiteChatMessageHistory(session_id, path)
    """

FIXTURE = """
    @history_backend("mine")
    def mine(session_id, path_of_fixture):
        return SQLiteChatMessageHistory(session_id, path_of_fixture)
    """


# -- one start -------------------------------------------------------------------------------------


@pytest.mark.parametrize("declaration", [LIFESPAN, FIXTURE])
def test_a_value_starts_once_and_ends(
    run: Run,
    declare: Callable[[str], Path],
    events: Callable[[], list[str]],
    small_catalogue: dict[str, Contract],
    declaration: str,
) -> None:
    only(small_catalogue, "ordering.within_batch", "durability.new_process")
    declare(declaration)
    result = run(MINE)
    result.stdout.fnmatch_lines(["mine: CONFORMANT*: 4 of 4 contracts exercised"])
    assert result.ret == pytest.ExitCode.OK
    assert events() == ["start", "end"]
    assert VARIABLE not in os.environ


def test_a_lifespan_starts_once_for_all_workers(
    run_apart: Run, declare: Callable[[str], Path], events: Callable[[], list[str]]
) -> None:
    declare(LIFESPAN)
    conformant(run_apart(MINE, "-n2"), "mine")
    assert events() == ["start", "end"]


def test_a_fixture_starts_once_in_each_worker(
    run_apart: Run, declare: Callable[[str], Path], events: Callable[[], list[str]]
) -> None:
    declare(FIXTURE)
    conformant(run_apart(MINE, "-n2"), "mine")
    assert sorted(events()) == ["end"] * 2 + ["start"] * 2


def test_contracts_about_faults_run_with_the_values_of_a_lifespan(
    run: Run,
    small_catalogue: dict[str, Contract],
    declare: Callable[[str], Path],
    events: Callable[[], list[str]],
) -> None:
    only(small_catalogue, "faults.killed_server_keeps_acknowledged")
    declare("""
        from chat_history_conformance.faulty import stoppable

        def stop(path):
            event(f"stop-{Path(path).name}")
            stoppable.stop()

        def start(path):
            event(f"start-{Path(path).name}")
            stoppable.start()

        @history_backend("mine", lifespan=store, stop=stop, start=start)
        def mine(session_id, path):
            return stoppable.StoppableChatMessageHistory(session_id, path)
        """)
    result = run(MINE, "--history-faults", "-k", "sync and not async")
    result.assert_outcomes(passed=1, deselected=1)
    first, *between, last = events()
    assert (first, last) == ("start", "end")
    assert between[:2] == ["stop-store.db", "start-store.db"]


def test_backends_share_a_lifespan(
    run: Run, declare: Callable[[str], Path], events: Callable[[], list[str]]
) -> None:
    declare(f"{LIFESPAN}\n{LIFESPAN.replace('mine', 'other')}")
    result = run(MINE, "--history-backend=other")
    result.stdout.fnmatch_lines(["mine: CONFORMANT: 6 of 6 *", "other: CONFORMANT: 6 of 6 *"])
    assert events() == ["start", "end"]


@pytest.mark.parametrize(
    ("declaration", "arguments"),
    [
        (LIFESPAN, ("--co",)),
        (LIFESPAN, ("--fixtures",)),
        (FIXTURE, ("--co",)),
        (FIXTURE, ("--fixtures",)),
        (FIXTURE, ("-k", "no_such_test")),
    ],
)
def test_nothing_starts_that_is_not_needed(
    run: Run,
    declare: Callable[[str], Path],
    events: Callable[[], list[str]],
    declaration: str,
    arguments: tuple[str, ...],
) -> None:
    declare(declaration)
    run(MINE, *arguments)
    assert events() == []


def test_a_lifespan_may_be_a_context_manager_and_gives_several_values(
    run: Run, declare: Callable[[str], Path]
) -> None:
    declare("""
        import contextlib

        @contextlib.contextmanager
        def both():
            yield {"one": {"list": [1, 2.5, None, True]}, "two": "x", "unused": 1}

        @history_backend("mine", lifespan=both, lacks={"durable": "in memory"})
        def mine(session_id, two, *, one, three=3):
            assert (one, two, three) == ({"list": [1, 2.5, None, True]}, "x", 3)
            return Mine(session_id)
        """)
    result = run(MINE)
    conformant(result, "mine")
    result.stdout.fnmatch_lines(["mine: lifespan= gives one, two, unused"])


def test_the_lifespan_comes_before_a_fixture_of_the_same_name(
    run: Run, declare: Callable[[str], Path]
) -> None:
    declare("""
        @pytest.fixture(scope="session")
        def path():
            raise RuntimeError("not this one")

        @history_backend("mine", lifespan=store)
        def mine(session_id, path):
            return SQLiteChatMessageHistory(session_id, path)
        """)
    conformant(run(MINE), "mine")


def test_fixtures_and_tests_use_the_objects_of_lifespans(
    run: Run, declare: Callable[[str], Path], pytester: pytest.Pytester
) -> None:
    declare("""
        @pytest.fixture(scope="session")
        def text(history_lifespan):
            return history_lifespan["mine"]["path"].upper()

        @history_backend("mine", lifespan=store, lacks={"durable": "in memory"})
        def mine(session_id, text):
            assert text.endswith("STORE.DB")
            return Mine(session_id)
        """)
    pytester.makepyfile("def test_it(text): assert text.endswith('STORE.DB')")
    result = run(MINE, ".")
    conformant(result, "mine")
    result.assert_outcomes(passed=7)
    run(".").stdout.fnmatch_lines(["*history_lifespan has something to give only in a run with *"])


# -- the functions ---------------------------------------------------------------------------------


def test_every_function_of_a_declaration_gets_values(
    run: Run, declare: Callable[[str], Path], small_catalogue: dict[str, Contract]
) -> None:
    only(
        small_catalogue,
        "ordering.within_batch",
        "concurrency.first_use",
        "errors.write_failure_raises",
    )
    declare("""
        import contextlib
        import sqlite3

        def fresh(store, path):
            return lambda session_id: SQLiteChatMessageHistory(session_id, f"{path}.{store}")

        @contextlib.contextmanager
        def refuse(session_id, path):
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(
                    "CREATE TRIGGER refuse BEFORE INSERT ON chat_messages "
                    "BEGIN SELECT RAISE(ABORT, 'refused'); END"
                )
            yield
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DROP TRIGGER refuse")

        def remove(session_id, path_of_fixture):
            event("removed")
            assert path_of_fixture.endswith("fixture.db")

        @history_backend("mine", lifespan=store, fresh=fresh, refuse=refuse, remove=remove)
        def mine(session_id, path):
            return SQLiteChatMessageHistory(session_id, path)
        """)
    result = run(MINE, "--history-require-verdict")
    result.stdout.fnmatch_lines(["mine: CONFORMANT*"])
    assert result.ret == pytest.ExitCode.OK
    assert "not tried" not in result.stdout.str()
    assert "removed" in Path("events.txt").read_text()


@pytest.mark.parametrize("attribute", ["function", "Class", "method"])
def test_an_undeclared_callable_takes_fixtures(
    run: Run, declare: Callable[[str], Path], pytester: pytest.Pytester, attribute: str
) -> None:
    declare("")
    pytester.makepyfile(
        shapes="""
        from chat_history_backends.sqlite import SQLiteChatMessageHistory

        async def function(session_id, path_of_fixture):
            yield SQLiteChatMessageHistory(session_id, path_of_fixture)

        class Class(SQLiteChatMessageHistory):
            def __init__(self, session_id, *, path_of_fixture):
                super().__init__(session_id, path_of_fixture)

        class Opener:
            def open(self, session_id, path_of_fixture, more="x"):
                return SQLiteChatMessageHistory(session_id, path_of_fixture)

        method = Opener().open
        """
    )
    conformant(run(f"--history-backend=shapes:{attribute}"), f"shapes:{attribute}")


def test_a_fixture_of_a_directory_is_found_next_to_the_declaration(
    run: Run, pytester: pytest.Pytester, events: Callable[[], list[str]]
) -> None:
    pytester.syspathinsert()
    for folder, value in (("tests", "right"), ("other", "wrong")):
        pytester.mkdir(folder).joinpath("conftest.py").write_text(
            textwrap.dedent(f"""
            import pytest

            @pytest.fixture(scope="session")
            def word():
                return "{value}"
            """)
        )
    conftest = pytester.path / "tests" / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + textwrap.dedent("""
        from chat_history_conformance import history_backend
        from histories import Mine

        @history_backend("mine", lacks={"durable": "in memory"})
        def mine(session_id, word):
            assert word == "right"
            return Mine(session_id)
        """)
    )
    pytester.makepyfile(**{"tests/test_it": "def test_it(word): assert word == 'right'"})
    conformant(run(MINE), "mine")
    conformant(run(MINE, "tests", "other"), "mine")
    pytester.makepyfile(
        shapes="""
        from histories import Mine

        def shape(session_id, word):
            return Mine(session_id)
        """
    )
    text = usage_error(run("--history-backend=shapes:shape", "tests", "other"))
    assert "several fixtures are named 'word'" in text
    assert "Declare the backend in one of these files" in text
    conformant(run("--history-backend=shapes:shape", "other"), "shapes:shape")


# -- second processes ------------------------------------------------------------------------------


def test_a_value_that_cannot_be_sent_leaves_out_second_processes(
    run: Run, declare: Callable[[str], Path], small_catalogue: dict[str, Contract]
) -> None:
    only(small_catalogue, "ordering.within_batch", "durability.new_process")
    declare("""
        @pytest.fixture(scope="session")
        def path_object():
            return EVENTS.with_name("store.db")

        @history_backend("mine")
        def mine(session_id, path_object):
            return SQLiteChatMessageHistory(session_id, path_object)
        """)
    result = run(MINE, "-rs")
    result.stdout.fnmatch_lines(
        [
            "*not applicable: the value of the fixture 'path_object' cannot be sent to a second "
            "process: it is a PosixPath, which is not JSON.*such as a URL, or use lifespan=*",
            "mine: CONFORMANT: 3 of 4 contracts exercised, 1 not applicable",
        ]
    )


@pytest.mark.parametrize(
    ("declaration", "values"),
    [
        (
            LIFESPAN.replace("SQLiteChatMessageHistory(session_id, path)", "Backwards(session_id)"),
            "path",
        ),
        (
            FIXTURE.replace(
                "SQLiteChatMessageHistory(session_id, path_of_fixture)", "Backwards(session_id)"
            ),
            "path_of_fixture",
        ),
    ],
)
def test_findings_are_proven_while_the_values_live_and_scripts_take_them(
    run: Run,
    declare: Callable[[str], Path],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    declaration: str,
    values: str,
) -> None:
    checked = declaration.replace(
        "return", f"assert EVENTS.read_text() == 'start\\n'; return {values} and"
    )
    declare(checked)
    result = run(MINE, "--history-report=report.json")
    result.stdout.fnmatch_lines(["mine: NOT CONFORMANT*6 failed*"])
    report = json.loads(Path("report.json").read_text())
    contract = report["backends"][0]["contracts"][0]
    assert contract["outcome"] == "failed"
    assert not [note for note in contract["finding"].get("notes", []) if "script" in note]
    script = Path("script.py")
    script.write_text(contract["finding"]["reproducer"])
    assert f'# set {VARIABLE}=\'{{"mine": {{"{values}": ...}}}}\'' in script.read_text()
    ended = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False
    )
    assert f"KeyError: '{VARIABLE}'" in ended.stderr
    Path("events.txt").write_text("start\n")
    monkeypatch.setenv(VARIABLE, json.dumps({"mine": {values: "x"}}))
    ended = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False
    )
    assert ended.stderr.splitlines()[-1].endswith("message 1 came back as message 2 of 2")


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise RuntimeError('no docker')\n    yield", "raised RuntimeError: no docker"),
        ("pytest.skip('no docker')\n    yield", "raised Skipped: no docker"),
        ("sys.exit(3)\n    yield", "raised SystemExit: 3"),
        ("return\n    yield", "ended without a yield: yield a JSON object once"),
        ("yield ['x']", "yielded ['x']: yield a JSON object once"),
        ("yield {'path': EVENTS}", "because its 'path' is a PosixPath: yield the values"),
        ("yield {'path': {'a': [float('nan')]}}", "because its 'path'['a'][0] is nan"),
        ("yield {1: 'x'}", "because it has the key 1, which is not a text"),
        ("return {'path': 'x'}", "returned {'path': 'x'}, which is not a context manager"),
    ],
)
@pytest.mark.parametrize("declaration", [LIFESPAN])
def test_a_lifespan_that_cannot_start_gives_no_verdict(
    run: Run, declare: Callable[[str], Path], declaration: str, body: str, text: str
) -> None:
    declare(f"def store():\n    {body}\n{textwrap.dedent(declaration)}")
    result = run(MINE)
    assert "(lifespan=store " in of_verdict(result)
    assert text in of_verdict(result)
    assert "0 of 6 contracts exercised, 6 errors" in of_verdict(result)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("yield {'path': 'x.db'}; yield", "lifespan=store yielded a second time: yield once"),
        ("yield {'path': 'x.db'}; 1 / 0", "lifespan=store raised ZeroDivisionError"),
    ],
)
def test_a_lifespan_that_cannot_end_gives_no_verdict(
    run: Run, declare: Callable[[str], Path], body: str, text: str
) -> None:
    declare(f"def store():\n    {body}\n{textwrap.dedent(LIFESPAN)}")
    result = run(MINE)
    assert text in of_verdict(result)
    assert "6 of 6 contracts exercised" in of_verdict(result)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_broken_lifespan_is_an_error_in_workers(
    run_apart: Run, declare: Callable[[str], Path]
) -> None:
    declare(f"def store():\n    yield 3\n{textwrap.dedent(LIFESPAN)}")
    result = run_apart(MINE, "-n2")
    assert "lifespan=store yielded 3" in of_verdict(result)
    assert "6 errors" in of_verdict(result)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("lifespan='x'", "lifespan='x' cannot be called. Write a generator function"),
        ("lifespan=lambda url: None", "lifespan= cannot be called without arguments"),
        ("lifespan=asynchronous", "lifespan= is an async function, and no event loop runs it."),
        ("lifespan=path_of_fixture", "lifespan= is a pytest fixture, which only tests use."),
    ],
)
def test_a_wrong_lifespan_is_refused(
    run: Run, declare: Callable[[str], Path], function: str, text: str
) -> None:
    declare(f"""
        async def asynchronous():
            yield

        @history_backend("mine", {function})
        def mine(session_id):
            return Mine(session_id)
        """)
    assert text in usage_error(run(MINE))


FIXTURES = """
    @pytest.fixture
    def of_function(): return 1

    @pytest.fixture(scope="module")
    def of_module(): return 1

    @pytest.fixture(scope="session")
    def on_function(of_function): return 1

    @pytest.fixture(scope="session", params=[1, 2])
    def several(request): return request.param

    @pytest.fixture(scope="session")
    def failing(): raise RuntimeError("no docker")

    @pytest.fixture(scope="session")
    def skipping(): pytest.skip("no docker")

    @pytest.fixture(scope="session")
    def ending_badly():
        yield 1
        raise RuntimeError("cannot stop")

    @pytest.fixture(scope="session")
    async def asynchronous(): return 1

    @history_backend("mine", lacks={"durable": "in memory"}, lifespan=store)
    def mine(session_id, PARAMETER):
        return Mine(session_id)
    """


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("of_function", "the fixture 'of_function' has the scope 'function', and a backend is"),
        ("of_module", "the fixture 'of_module' has the scope 'module', and a backend is used by"),
        ("several", "the fixture 'several' has params=, and a backend takes one value."),
        ("asynchronous", "needs the async fixture 'asynchronous'"),
        (
            "paht",
            "the parameter 'paht' of the factory is not a pytest fixture and not a key of "
            "lifespan=, whose keys are: path. Did you mean 'path'?",
        ),
        ("path_of_fixtur", "Did you mean 'path_of_fixture'?"),
    ],
)
def test_a_parameter_without_a_value_is_an_error_at_the_start(
    run: Run, declare: Callable[[str], Path], parameter: str, text: str
) -> None:
    declare(FIXTURES.replace("PARAMETER", parameter))
    assert text in usage_error(run(MINE))


def test_a_parameter_of_an_undeclared_class_without_a_value_is_an_error(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(shapes="class Shape:\n    def __init__(self, session_id, url): ...")
    text = usage_error(run("--history-backend=shapes:Shape"))
    assert "the parameter 'url' of the factory is not a pytest fixture." in text
    assert "write def open_history(session_id): return Shape(...)" in text


@pytest.mark.parametrize("function", ["stop=stop, start=stop", "interference={'x': stop}"])
def test_a_parameter_of_another_function_without_a_value_is_an_error(
    run: Run, declare: Callable[[str], Path], function: str
) -> None:
    declare(f"""
        def stop(*session, no_such):
            pass

        @history_backend("mine", lacks={{"durable": "in memory"}}, {function})
        def mine(session_id):
            return Mine(session_id)
        """)
    place = function.partition("=")[0]
    assert f"the parameter 'no_such' of the function of {place}=" in usage_error(run(MINE))


def test_a_wrong_parameter_is_an_error_with_workers(
    run_apart: Run, declare: Callable[[str], Path]
) -> None:
    declare(FIXTURES.replace("PARAMETER", "paht"))
    text = usage_error(run_apart(MINE, "-n2"))
    assert "the parameter 'paht' of the factory" in text


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("failing", "the fixture 'failing' raised RuntimeError: no docker (conftest.py:"),
        ("skipping", "the fixture 'skipping' skipped: no docker. The contracts need it"),
        ("on_function", "the fixture 'on_function' raised Failed: ScopeMismatch"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_fixture_that_fails_gives_no_verdict(
    run_apart: Run,
    declare: Callable[[str], Path],
    parameter: str,
    text: str,
    workers: tuple[str, ...],
) -> None:
    declare(FIXTURES.replace("PARAMETER", parameter))
    result = run_apart(MINE, *workers)
    if not workers:
        assert text in of_verdict(result)
    assert text in " ".join(result.outlines)
    assert "0 of 6 contracts exercised, 6 errors" in of_verdict(result)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_fixture_that_cannot_end_gives_no_verdict(
    run: Run, declare: Callable[[str], Path]
) -> None:
    declare(FIXTURES.replace("PARAMETER", "ending_badly"))
    result = run(MINE)
    text = "tearing down the fixtures raised RuntimeError: cannot stop (conftest.py:"
    assert text in of_verdict(result)
    assert "6 of 6 contracts exercised" in of_verdict(result)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


# -- async fixtures --------------------------------------------------------------------------------

ASYNC = """
    import asyncio

    pytest_asyncio = pytest.importorskip("pytest_asyncio")

    @pytest_asyncio.fixture(scope="session", loop_scope="session")
    async def of_asyncio():
        await asyncio.sleep(0.001)
        event("start")
        yield str(EVENTS.with_name("store.db"))
        await asyncio.sleep(0.001)
        event("end")

    @pytest.fixture(scope="session")
    def anyio_backend():
        return "asyncio"

    @pytest.fixture(scope="session")
    async def of_anyio():
        await asyncio.sleep(0.001)
        event("start")
        yield str(EVENTS.with_name("store.db"))
        await asyncio.sleep(0.001)
        event("end")

    @pytest.fixture(scope="session")
    def on_anyio(of_anyio):
        return of_anyio

    @pytest_asyncio.fixture(scope="session", loop_scope="session")
    async def a_lock():
        return asyncio.Lock()

    @history_backend("mine")
    async def mine(session_id, PARAMETER):
        return SQLiteChatMessageHistory(session_id, PARAMETER)
    """


@pytest.mark.parametrize(
    ("parameter", "plugin", "options"),
    [
        ("of_asyncio", "asyncio", ()),
        ("of_anyio", "asyncio", ("-o", "asyncio_mode=auto")),
        ("of_anyio", "anyio", ()),
        ("on_anyio", "anyio", ("-n2",)),
        ("of_asyncio", "asyncio", ("-n2",)),
    ],
)
def test_async_fixtures_run_with_their_plugins(
    run_apart: Run,
    declare: Callable[[str], Path],
    events: Callable[[], list[str]],
    parameter: str,
    plugin: str,
    options: tuple[str, ...],
) -> None:
    declare(ASYNC.replace("PARAMETER", parameter))
    conformant(run_apart(MINE, *options, plugins=(plugin,)), "mine")
    starts = 2 if "-n2" in options else 1
    assert sorted(events()) == ["end"] * starts + ["start"] * starts


@pytest.mark.parametrize(
    ("plugins", "text"),
    [
        ((), "needs the async fixture 'of_anyio', and no plugin runs it. Install pytest-asyncio"),
        (("asyncio",), "needs the async fixture 'of_anyio', and no plugin runs it."),
        (("anyio",), '@pytest.fixture(scope="session") def anyio_backend(): return "asyncio"'),
    ],
)
def test_an_async_fixture_without_its_plugin_is_an_error(
    run_apart: Run, declare: Callable[[str], Path], plugins: tuple[str, ...], text: str
) -> None:
    conftest = declare(ASYNC.replace("PARAMETER", "of_anyio"))
    conftest.write_text(conftest.read_text().replace("def anyio_backend", "def another_backend"))
    assert text in usage_error(run_apart(MINE, plugins=plugins))


def test_an_object_of_an_async_fixture_gets_a_note_about_its_event_loop(
    run_apart: Run, declare: Callable[[str], Path]
) -> None:
    text = ASYNC.replace("PARAMETER", "a_lock").replace("session_id, a_lock)\n    ", "'x')")
    declare(text.replace("SQLiteChatMessageHistory(session_id, a_lock)", "Mine(session_id)"))
    result = run_apart(MINE, plugins=("asyncio",))
    result.stdout.fnmatch_lines(
        ["*note: the fixture 'a_lock' is async, and its event loop does not run while contracts*"]
    )


# -- interruptions and other runs ------------------------------------------------------------------


@pytest.mark.parametrize("declaration", [LIFESPAN, FIXTURE])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_values_end_if_the_run_is_interrupted(
    pytester: pytest.Pytester,
    histories: str,
    declare: Callable[[str], Path],
    events: Callable[[], list[str]],
    declaration: str,
    number: int,
) -> None:
    declare(declaration)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:anyio", MINE],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("mine ."):
            break
        if line.startswith("collected"):
            time.sleep(5.0)
            break
    assert events() == ["start"]
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert "mine: INCOMPLETE" in output
    assert events() == ["start", "end"], output


@pytest.mark.parametrize("declaration", [LIFESPAN, FIXTURE])
def test_benchmarks_use_the_values(
    run: Run, declare: Callable[[str], Path], events: Callable[[], list[str]], declaration: str
) -> None:
    declare(declaration)
    options = ("--history-benchmark", "--benchmark-disable", "-k", "open")
    result = run(MINE, *options)
    assert result.ret == pytest.ExitCode.OK
    assert events() == ["start", "end"]


def test_a_benchmark_without_a_value_fails_with_the_reason(
    run: Run, declare: Callable[[str], Path]
) -> None:
    declare(FIXTURES.replace("PARAMETER", "failing"))
    result = run(MINE, "--history-benchmark", "--benchmark-disable", "-k", "open")
    result.stdout.fnmatch_lines(["the fixture 'failing' raised RuntimeError: no docker*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
