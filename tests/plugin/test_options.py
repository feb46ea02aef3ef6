"""The choice of backends, the options with their ini twins, and usage errors."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.plugin import OPTIONS

Run = Callable[..., pytest.RunResult]

ONE = "ordering.within_batch[sync]"


def usage_error(result: pytest.RunResult) -> str:
    """Return the text of a usage error, on one line."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines + result.outlines if line.strip()]
    text = " ".join(errors)
    assert "ERROR: " in text
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    return text


def conformant(result: pytest.RunResult, name: str) -> None:
    result.stdout.fnmatch_lines([f"{name}: CONFORMANT*: 6 of 6 contracts exercised"])
    assert result.ret == pytest.ExitCode.OK


# -- naming a backend ------------------------------------------------------------------------------

SHAPES = """
    import contextlib
    import functools

    from histories import Mine

    def function(session_id):
        return Mine(session_id)

    def generator(session_id):
        yield Mine(session_id)

    async def coroutine(session_id):
        return Mine(session_id)

    async def async_generator(session_id):
        yield Mine(session_id)

    manager = contextlib.contextmanager(generator)
    async_manager = contextlib.asynccontextmanager(async_generator)
    partial = functools.partial(Mine)

    class Opener:
        def __call__(self, session_id):
            return Mine(session_id)

    an_object = Opener()
    a_lambda = lambda session_id: Mine(session_id)
    """


@pytest.mark.parametrize("name", ["memory", "sqlite"])
def test_a_registered_backend_runs_by_its_name(run: Run, name: str) -> None:
    conformant(run(f"--history-backend={name}"), name)


@pytest.mark.parametrize(
    "attribute",
    [
        "Mine",
        "function",
        "generator",
        "coroutine",
        "async_generator",
        "manager",
        "async_manager",
        "partial",
        "an_object",
        "a_lambda",
    ],
)
def test_a_callable_of_any_shape_runs_by_its_path(
    run: Run, pytester: pytest.Pytester, attribute: str
) -> None:
    pytester.makepyfile(shapes=SHAPES)
    conformant(run(f"--history-backend=shapes:{attribute}"), f"shapes:{attribute}")


DECLARING = """
    from chat_history_conformance import history_backend
    from langchain_core.messages import HumanMessage

    STORE = {}

    @history_backend("declared", lacks={"durable": "kept in memory"})
    class Declared:
        def __init__(self, session_id):
            self.stored = STORE.setdefault(session_id, [])

        @property
        def messages(self):
            return list(self.stored)

        def add_messages(self, messages):
            self.stored.extend(messages)

        def clear(self):
            self.stored.clear()

        async def aget_messages(self):
            return self.messages

        async def aadd_messages(self, messages):
            self.add_messages(messages)

        async def aclear(self):
            self.clear()
    """


def test_a_conftest_in_the_working_directory_declares_a_backend(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(DECLARING)
    result = run("--history-backend=declared")
    conformant(result, "declared")
    result.stdout.fnmatch_lines(["declared: CONFORMANT (without durable): 6 of 6 *"])


@pytest.mark.parametrize("folder", ["tests", "testing"])
def test_a_conftest_in_a_test_directory_declares_a_backend(
    run: Run, pytester: pytest.Pytester, folder: str
) -> None:
    pytester.mkdir(folder).joinpath("conftest.py").write_text(textwrap.dedent(DECLARING))
    conformant(run("--history-backend=declared"), "declared")


def test_a_conftest_in_a_parent_directory_declares_a_backend(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(DECLARING)
    pytester.makeini("[pytest]")
    below = pytester.mkdir("below")
    monkeypatch.chdir(below)
    conformant(run("--history-backend=declared"), "declared")


def test_a_conftest_in_testpaths_declares_a_backend(run: Run, pytester: pytest.Pytester) -> None:
    pytester.mkdir("checks").joinpath("conftest.py").write_text(textwrap.dedent(DECLARING))
    pytester.makeini("[pytest]\ntestpaths = checks")
    conformant(run("--history-backend=declared"), "declared")


def test_one_run_tests_several_backends(run: Run) -> None:
    result = run("--history-backend=memory", "--history-backend=histories:Backwards")
    result.assert_outcomes(passed=6, failed=6)
    result.stdout.fnmatch_lines(
        ["memory: CONFORMANT*", "histories:Backwards: NOT CONFORMANT: 6 of 6 *, 6 failed"]
    )


def test_a_backend_that_is_named_twice_runs_once(run: Run) -> None:
    run("--history-backend=memory", "--history-backend=memory").assert_outcomes(passed=6)


# -- collecting ------------------------------------------------------------------------------------


def test_the_contracts_run_alone_in_an_empty_directory(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pytester.mkdir("empty"))
    run("--history-backend=memory").assert_outcomes(passed=6)


def test_without_a_path_only_the_contracts_run(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine="def test_mine(): assert False")
    run("--history-backend=memory").assert_outcomes(passed=6)


def test_a_path_on_the_command_line_adds_its_tests(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    run("--history-backend=memory", "test_mine.py").assert_outcomes(passed=7)
    run("--history-backend=memory", ".").assert_outcomes(passed=7)


def test_the_ini_option_adds_the_contracts_to_the_tests(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    pytester.makeini("[pytest]\nhistory_backend = memory sqlite")
    run().assert_outcomes(passed=13)


def test_without_a_backend_nothing_changes(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    result = run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*chat history*")


# -- options and ini twins -------------------------------------------------------------------------


def test_every_option_has_an_ini_twin_and_a_help_text(run: Run) -> None:
    text = " ".join(run("--help").stdout.str().split())
    for option in OPTIONS:
        assert f"--history-{option.name}" in text
        assert option.help in text
        assert f"history_{option.name.replace('-', '_')} (" in text


def test_every_help_text_states_the_default() -> None:
    for option in OPTIONS:
        assert option.help[0].isupper()
        assert re.search(r"Default: [^.]+\.$", option.help), option.name


def test_the_profile_can_be_set_as_option_and_in_the_ini_file(
    run: Run, pytester: pytest.Pytester
) -> None:
    run("--history-backend=memory", "--history-profile=ci", "--co").stdout.fnmatch_lines(
        ["chat history: memory; 2 contracts (6 with each mode counted), profile ci, seed 0"]
    )
    pytester.makeini("[pytest]\nhistory_profile = thorough")
    run("--history-backend=memory", "--co").stdout.fnmatch_lines(["*profile thorough, *"])


def test_the_default_profile_is_quick_or_ci_in_a_ci(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--history-backend=memory", "--co").stdout.fnmatch_lines(["*profile quick, *"])
    monkeypatch.setenv("CI", "true")
    run("--history-backend=memory", "--co").stdout.fnmatch_lines(["*profile ci, *"])


def test_the_seed_is_that_of_hypothesis(run: Run) -> None:
    result = run("--history-backend=memory", "--hypothesis-seed=7", "--co")
    result.stdout.fnmatch_lines(["*, seed 7"])


def make_should(catalogue: dict[str, Contract], **changes: Any) -> None:
    from dataclasses import replace

    for name in catalogue:
        catalogue[name] = replace(catalogue[name], **changes)


def test_failures_below_the_level_of_the_run_do_not_fail_it(
    run: Run, pytester: pytest.Pytester, small_catalogue: dict[str, Contract]
) -> None:
    make_should(small_catalogue, level="should")
    backend = "--history-backend=histories:Backwards"
    assert run(backend).ret == pytest.ExitCode.TESTS_FAILED
    result = run(backend, "--history-level=must", "-rx")
    result.assert_outcomes(xfailed=6)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "XFAIL *not counted: message 1 came back *",
            "*: CONFORMANT: 6 of 6 *, 6 failed but not counted",
        ]
    )
    pytester.makeini("[pytest]\nhistory_level = must")
    assert run(backend).ret == pytest.ExitCode.OK


def test_failures_of_contracts_newer_than_since_do_not_fail_the_run(
    run: Run, pytester: pytest.Pytester, small_catalogue: dict[str, Contract]
) -> None:
    make_should(small_catalogue, since="0.2")
    backend = "--history-backend=histories:Backwards"
    assert run(backend, "--history-since=0.2").ret == pytest.ExitCode.TESTS_FAILED
    assert run(backend, "--history-since=0.1").ret == pytest.ExitCode.OK
    pytester.makeini("[pytest]\nhistory_since = 0.1")
    assert run(backend).ret == pytest.ExitCode.OK


def test_require_verdict_fails_an_incomplete_run(run: Run, pytester: pytest.Pytester) -> None:
    narrowed = ["--history-backend=memory", "-k", "within_batch"]
    assert run(*narrowed).ret == pytest.ExitCode.OK
    result = run(*narrowed, "--history-require-verdict")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*--history-require-verdict*"])
    pytester.makeini("[pytest]\nhistory_require_verdict = true")
    assert run(*narrowed).ret == pytest.ExitCode.TESTS_FAILED
    assert run("--history-backend=memory").ret == pytest.ExitCode.OK


def test_report_paths_are_relative_to_the_start_directory(
    run: Run, pytester: pytest.Pytester
) -> None:
    result = run("--history-backend=memory", "--history-report=one.json", "--history-report=two.md")
    assert result.ret == pytest.ExitCode.OK
    assert '"verdict": "conformant"' in Path("one.json").read_text()
    assert Path("two.md").exists()
    result.stdout.fnmatch_lines(["report: *one.json", "report: *two.md"])
    pytester.makeini("[pytest]\nhistory_report = three.json")
    run("--history-backend=memory")
    assert Path("three.json").exists()


def test_allow_destructive_can_be_set_as_option_and_in_the_ini_file(
    run: Run, pytester: pytest.Pytester, small_catalogue: dict[str, Contract]
) -> None:
    make_should(small_catalogue, needs=("disposable",))
    backend = "--history-backend=histories:Mine"
    run(backend).assert_outcomes(skipped=6)
    run(backend, "--history-allow-destructive").assert_outcomes(passed=6)
    pytester.makeini("[pytest]\nhistory_allow_destructive = true")
    run(backend).assert_outcomes(passed=6)


# -- usage errors ----------------------------------------------------------------------------------


def test_an_unknown_backend_is_a_usage_error_with_the_nearest_name(run: Run) -> None:
    text = usage_error(run("--history-backend=memroy"))
    assert "No backend named 'memroy'. Did you mean 'memory'?" in text
    assert "sqlite" in text
    assert "conftest.py" in text


def test_a_failed_import_is_a_usage_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(broken="import no_such_package")
    text = usage_error(run("--history-backend=broken:open"))
    assert "No module named 'no_such_package'" in text
    text = usage_error(run("--history-backend=no_such_module:open"))
    assert "run pytest in the directory that contains it" in text


def test_a_module_with_a_syntax_error_is_a_usage_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("broken.py").write_text("def open(:")
    assert "SyntaxError" in usage_error(run("--history-backend=broken:open"))


def test_a_module_that_exits_on_import_is_a_usage_error(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(exiting="raise SystemExit('set DATABASE_URL')")
    assert "set DATABASE_URL" in usage_error(run("--history-backend=exiting:open"))


def test_a_missing_attribute_is_a_usage_error(run: Run) -> None:
    text = usage_error(run("--history-backend=histories:mine"))
    assert "Did you mean 'Mine'?" in text


FACTORIES = """
    value = 7

    def no_argument():
        ...

    def two_arguments(session_id, url):
        ...

    def raising(session_id):
        raise LookupError("no url is set")

    def nothing(session_id):
        ...

    def number(session_id):
        return 7

    async def later_nothing(session_id):
        ...

    def generator(session_id):
        return
        yield
    """


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        ("value", "names int 7, which cannot be called"),
        ("no_argument", "cannot be called with one session id"),
        ("two_arguments", "def open_history(session_id): return two_arguments(...)"),
        ("raising", "opening a history raised LookupError: no url is set"),
        ("nothing", "NoneType is not a chat history"),
        ("number", "int is not a chat history"),
        ("later_nothing", "NoneType is not a chat history"),
        ("generator", "a generator that yielded nothing is not a chat history"),
    ],
)
def test_a_callable_that_cannot_open_a_history_is_a_usage_error(
    run: Run, pytester: pytest.Pytester, attribute: str, text: str
) -> None:
    pytester.makepyfile(factories=FACTORIES)
    assert text in usage_error(run(f"--history-backend=factories:{attribute}"))


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("deviations={'ordering.within_bach': 'r'}", "Did you mean 'ordering.within_batch'?"),
        ("deviations={'ordering.within_batch': ''}", "has no reason for"),
        ("lacks={'durabel': 'r'}", "Did you mean 'durable'?"),
        ("lacks={'durable': None}", "lacks= has no reason for 'durable'"),
        ("lacks={'sync': 'r', 'async': 'r'}", "lacks= names both sync and async"),
        ("methods={'tail': 'tail'}", "unknown read 'tail' in methods="),
        ("stop=print", "stop= is declared without start=. Declare both"),
        ("fresh=lambda: Mine", "fresh= cannot be called with 1 argument"),
        ("eventual=0", "eventual=0 is not a number of seconds"),
    ],
)
def test_a_wrong_declaration_is_a_usage_error(
    run: Run, pytester: pytest.Pytester, stated: str, text: str
) -> None:
    pytester.makeconftest(
        f"""
        from chat_history_conformance import history_backend
        from histories import Mine
        history_backend("mine", {stated})(Mine)
        """
    )
    assert text in usage_error(run("--history-backend=mine"))


def test_the_header_names_the_functions_of_a_declaration(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        DECLARING.replace('in memory"}', 'in memory"}, fresh=lambda store: Declared, eventual=0.1')
    )
    result = run("--history-backend=declared")
    result.stdout.fnmatch_lines(
        [
            "declared: declares fresh=",
            "declared: CONFORMANT (without durable, immediate_reads): 6 of 6 *",
        ]
    )


def test_two_declarations_with_one_name_stop_the_start(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from chat_history_conformance import history_backend
        from histories import Backwards, Mine
        history_backend("mine")(Mine)
        history_backend("mine")(Backwards)
        """
    )
    result = run("--history-backend=mine")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Two backends are declared as 'mine': Mine in *"])


def test_a_file_of_deviations_makes_the_run_pass_and_is_strict(
    run: Run, pytester: pytest.Pytester
) -> None:
    name = "--history-backend=histories:Backwards"
    lines = run(name, "--history-write-deviations").outlines
    start = lines.index('["histories:Backwards"]')
    table = lines[start : start + 3]
    Path("known.toml").write_text("\n".join(table))
    known = run(name, "--history-deviations=known.toml", "-n0")
    assert known.ret == pytest.ExitCode.OK
    known.stdout.fnmatch_lines(["histories:Backwards: CONFORMANT WITH 6 DEVIATIONS*"])
    Path("mine.toml").write_text("\n".join(table).replace("Backwards", "Mine"))
    fixed = run("--history-backend=histories:Mine", "--history-deviations=mine.toml")
    assert fixed.ret == pytest.ExitCode.TESTS_FAILED
    fixed.stdout.fnmatch_lines(["ordering.within_batch holds, but *Delete this line*"])


def test_replay_says_which_recorded_findings_are_fixed(run: Run, pytester: pytest.Pytester) -> None:
    broken = """
        from histories import Mine

        class history(Mine):
            @property
            def messages(self):
                return super().messages[::-1]

            async def aget_messages(self):
                raise KeyError("broken")
        """
    pytester.makepyfile(fixing=broken)
    name = "--history-backend=fixing:history"
    run(name, "--history-report=before.json")
    again = run(name, "--history-replay=before.json", "-k", "nothing")
    again.stdout.fnmatch_lines(
        [
            "replay of fixing:history: 0 fixed, 2 still failing",
            "  still failing: ordering.*: message 1 came back as message 2 of 2",
            "  still failing: ordering.*: KeyError: 'broken'",
        ],
        consecutive=False,
    )
    pytester.makepyfile(fixing=broken.replace("[::-1]", ""))
    half = run(name, "--history-replay=before.json", "-k", "nothing").stdout
    half.fnmatch_lines(["replay of fixing:history: 1 fixed, 1 still failing"])
    half.fnmatch_lines(["  fixed: ordering.*]"])
    Path("fixing.py").write_text("from histories import Mine as renamed")
    wrong = run("--history-backend=fixing:renamed", "--history-replay=before.json")
    assert "no backend of this run, only: fixing:history" in usage_error(wrong)


def test_a_report_that_cannot_be_replayed_is_a_usage_error(run: Run) -> None:
    result = run("--history-backend=memory", "--history-replay=missing.json")
    assert "missing.json: cannot be read" in usage_error(result)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (None, "known.toml cannot be read"),
        ("[mine", "known.toml cannot be read"),
        ("mine = 1", "mine = 1 is not a table"),
        ("[mine]\n'ordering.within_bach' = 'r'", "Did you mean 'ordering.within_batch'?"),
        ("[mine]\n'ordering.within_batch' = ''", "has no reason for"),
        ("[mine]\n'ordering.within_batch' = 1", "has no reason for"),
        ("[mine]\n'ordering.across_calls' = 'r'", "Delete one of the two"),
    ],
)
def test_a_wrong_file_of_deviations_is_a_usage_error(
    run: Run, pytester: pytest.Pytester, written: str | None, text: str
) -> None:
    if written is not None:
        Path("known.toml").write_text(written)
    pytester.makeconftest(
        """
        from chat_history_conformance import history_backend
        import histories

        @history_backend("mine", deviations={"ordering.across_calls": "newest first"})
        def mine(session_id):
            return histories.Mine(session_id)
        """
    )
    result = run("--history-backend=mine", "--history-deviations=known.toml")
    assert text in usage_error(result)


@pytest.mark.parametrize(
    "option",
    [
        "report=r.json",
        "deviations=known.toml",
        "write-deviations",
        "require-verdict",
        "allow-destructive",
    ],
)
def test_an_option_without_effect_is_a_usage_error(run: Run, option: str) -> None:
    text = usage_error(run(f"--history-{option}"))
    assert f"--history-{option.partition('=')[0]} does nothing without --history-backend" in text


def test_a_report_with_an_unknown_ending_is_a_usage_error(run: Run) -> None:
    text = usage_error(run("--history-backend=memory", "--history-report=report.pdf"))
    assert ".json" in text
    assert ".svg" in text


@pytest.mark.parametrize(
    ("ini", "text"),
    [
        ("history_since = new", "history_since = new is not a version"),
        ("history_level = most", "history_level = most is not known. Use must, should or may"),
        (
            "history_profile = fast",
            "history_profile = fast is not known. Use quick, ci or thorough",
        ),
    ],
)
def test_a_bad_ini_value_is_a_usage_error(
    run: Run, pytester: pytest.Pytester, ini: str, text: str
) -> None:
    pytester.makeini(f"[pytest]\n{ini}")
    assert text in usage_error(run("--history-backend=memory"))


@pytest.mark.parametrize("option", ["profile=fast", "level=most", "since=new"])
def test_a_bad_value_on_the_command_line_is_a_usage_error(run: Run, option: str) -> None:
    assert run("--history-backend=memory", f"--history-{option}").ret == pytest.ExitCode.USAGE_ERROR


# -- selecting -------------------------------------------------------------------------------------


def test_a_node_id_selects_one_contract(run: Run) -> None:
    result = run("--history-backend=memory", f"memory::{ONE}", "-v")
    result.assert_outcomes(passed=1, deselected=5)
    assert any(line.startswith(f"memory::{ONE} PASSED") for line in result.outlines)


@pytest.mark.parametrize(
    ("selector", "passed"),
    [("memory::ordering", 6), ("memory::ordering.across_calls", 3), (f"memory::{ONE}", 1)],
)
def test_a_prefix_of_a_node_id_selects_a_family_or_a_contract(
    run: Run, selector: str, passed: int
) -> None:
    run("--history-backend=memory", selector).assert_outcomes(passed=passed, deselected=6 - passed)


def test_a_node_id_selects_in_a_backend_named_by_its_path(run: Run) -> None:
    result = run("--history-backend=histories:Mine", f"histories:Mine::{ONE}")
    result.assert_outcomes(passed=1, deselected=5)


def test_a_node_id_selects_in_a_backend_of_the_ini_file(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nhistory_backend = memory")
    pytester.makepyfile(test_mine="def test_mine(): pass")
    run(f"memory::{ONE}").assert_outcomes(passed=1, deselected=5)
    run(f"memory::{ONE}", "test_mine.py").assert_outcomes(passed=2, deselected=5)


@pytest.mark.parametrize("workers", [(), ("-n2",), ("--co",)])
def test_an_unknown_node_id_is_a_usage_error_with_the_nearest_one(
    run: Run, workers: tuple[str, ...]
) -> None:
    found = run("--history-backend=memory", "memory::ordering.within_bach[sync]", *workers)
    text = usage_error(found)
    assert "No contract has the node id 'memory::ordering.within_bach[sync]'" in text
    assert "Did you mean 'memory::ordering.within_batch[sync]'?" in text


# -- the cost of being installed -------------------------------------------------------------------


def test_a_start_without_a_backend_imports_only_the_plugin_module(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(
        """
        import sys

        def pytest_sessionstart(session):
            assert session.config.pluginmanager.has_plugin("chat_history_conformance.plugin")
            ours = {name for name in sys.modules if name.startswith("chat_history_")}
            assert ours == {"chat_history_conformance", "chat_history_conformance.plugin"}
            heavy = ("hypothesis", "langchain_core", "pydantic", "jinja2")
            assert not [name for name in heavy if name in sys.modules]
        """
    )
    pytester.makepyfile(test_mine="def test_mine(): pass")
    result = pytester.runpytest_subprocess("-p", "chat_history_conformance.plugin")
    result.assert_outcomes(passed=1)


def test_declaring_a_backend_imports_no_large_library(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(
        """
        import sys

        from chat_history_conformance import history_backend

        @history_backend("mine", lacks={"durable": "no"})
        def mine(session_id):
            ...

        def pytest_sessionstart(session):
            assert not [name for name in ("hypothesis", "langchain_core") if name in sys.modules]
        """
    )
    pytester.makepyfile(test_mine="def test_mine(): pass")
    pytester.runpytest_subprocess("-p", "chat_history_conformance.plugin").assert_outcomes(passed=1)


def test_a_wrong_flag_in_an_ini_file_is_named_before_the_run(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nhistory_require_verdict = perhaps")
    result = run("--history-backend=memory")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*history_require_verdict: *'perhaps'. Use true or false."])
