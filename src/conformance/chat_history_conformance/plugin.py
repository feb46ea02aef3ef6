"""The entry of the pytest plugin: the table of its options, and the start of a run.

pytest imports this module in every project that has the suite installed. It imports nothing else
of the suite until a backend is named.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest

if TYPE_CHECKING:
    from chat_history_conformance.supervision.supervisor import Ended

__all__ = [
    "OPTIONS",
    "Option",
    "history_lifespan",
    "pytest_addoption",
    "pytest_configure",
    "pytest_load_initial_conftests",
]


class Option(NamedTuple):
    """One option: `--history-NAME` on the command line, and `history_NAME` in an ini file.

    Attributes:
        name: Its name, without the prefix.
        help: Its help text.
        kind: A "flag", one "value", or a "list" of values (repeatable on the command line).
        metavar: The placeholder of its value in the help text.
        choices: The words that it takes, if only these.
        run: The kind of run that it is for.
        alone: Whether it may be given without a backend, and then does nothing.
    """

    name: str
    help: str
    kind: Literal["flag", "value", "list"] = "value"
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    run: Literal["any", "judging", "measuring"] = "any"
    alone: bool = False


OPTIONS = (
    Option(
        "backend",
        "Test the chat history NAME: a registered backend, one declared with @history_backend in "
        "a conftest.py, or package.module:attribute, a callable that takes a session id. "
        "Repeatable. Without paths on the command line, only the contracts run. Default: none.",
        kind="list",
        metavar="NAME",
        alone=True,
    ),
    Option(
        "report",
        "Write a report to PATH, which ends in .json, .md, .html or .svg. Repeatable. "
        "Default: none.",
        kind="list",
        metavar="PATH",
        run="judging",
    ),
    Option(
        "profile",
        "Choose how many examples each contract tries: quick, ci or thorough. Default: quick, or "
        "ci if the environment variable CI is set.",
        choices=("quick", "ci", "thorough"),
        run="judging",
        alone=True,
    ),
    Option(
        "level",
        "Fail the run only for contracts of this level or above: must, should or may. Those below "
        "are reported. Default: should.",
        choices=("must", "should", "may"),
        run="judging",
        alone=True,
    ),
    Option(
        "since",
        "Fail the run only for contracts that version VERSION of the suite already had. Newer "
        "ones are reported. Default: all contracts.",
        metavar="VERSION",
        run="judging",
        alone=True,
    ),
    Option(
        "require-verdict",
        "Fail the run if a verdict is INCOMPLETE. Default: off.",
        kind="flag",
        run="judging",
    ),
    Option(
        "allow-destructive",
        "Also try session ids that may belong to real data: the empty id, and ids that look like "
        "paths. Default: off.",
        kind="flag",
        run="judging",
    ),
    Option(
        "server",
        "Choose the server that a backend needs: an address, container, jvm, jvm:3 (a cluster of "
        "three nodes), local (an installed program) or mock. auto takes the address in "
        "HISTORY_KIND, such as HISTORY_KAFKA, else container, else jvm or local. KIND= limits the "
        "choice to one kind of server: kafka=broker:9092. Repeatable. Default: auto.",
        kind="list",
        metavar="[KIND=]WAY",
    ),
    Option(
        "server-config",
        "Read client settings (SASL, TLS, API keys) from the TOML file FILE, which has a table "
        "for each kind of server. No output shows them. Default: none.",
        metavar="FILE",
    ),
    Option(
        "offline",
        "Fail instead of downloading what is needed to start a server. Default: off.",
        kind="flag",
    ),
    Option(
        "faults",
        "Also pause, kill and restart the server that this run started. Default: off.",
        kind="flag",
        run="judging",
    ),
    Option(
        "benchmark",
        "Measure every operation with pytest-benchmark instead of running contracts, next to the "
        "raw client and the installed peers. Default: off.",
        kind="flag",
    ),
    Option(
        "payload",
        "With --history-benchmark: choose the conversation that is stored and read. mixed has the "
        "messages of people, models and tools, of 20 bytes to 20 kB; plain has short texts. "
        "Default: mixed.",
        choices=("mixed", "plain"),
        run="measuring",
    ),
    Option(
        "max-round-trips",
        "With --history-benchmark: fail if an operation takes more round trips than the TOML file "
        "FILE allows. Default: no limit.",
        metavar="FILE",
        run="measuring",
    ),
    Option(
        "write-round-trips",
        "With --history-benchmark: print the round trips of this run in the format of "
        "--history-max-round-trips. Default: off.",
        kind="flag",
        run="measuring",
    ),
    Option(
        "deviations",
        "Read known deviations from the TOML file FILE, which has a table for each backend with "
        'lines "CONTRACT" = "REASON". They are judged like those of a declaration. Default: none.',
        metavar="FILE",
        run="judging",
    ),
    Option(
        "replay",
        "First run the scripts of the failures in the report PATH.json of an earlier run again, "
        "and print whether they are fixed. Default: none.",
        metavar="PATH",
        run="judging",
    ),
    Option(
        "write-deviations",
        "Print a deviations= block that declares the failures of this run, or a table for "
        "--history-deviations if that is given or the backend has no declaration. Default: off.",
        kind="flag",
        run="judging",
    ),
)
"""All options, in the order of the help text."""

_MARKER = (
    "history(backend, family, level, mode): a contract of chat-history-conformance; "
    "select with -m \"history(family='ordering')\""
)
_ACTIONS = {"flag": "store_true", "value": "store", "list": "append"}
_INI_TYPES: dict[str, Literal["bool", "string", "args"]] = {
    "flag": "bool",
    "value": "string",
    "list": "args",
}
_INI_DEFAULTS: dict[str, Callable[[], Any]] = {"flag": bool, "value": str, "list": list}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and their ini twins."""
    group = parser.getgroup("history", "chat-history conformance")
    for option in OPTIONS:
        arguments = {"metavar": option.metavar, "choices": option.choices}
        group.addoption(
            f"--history-{option.name}",
            action=_ACTIONS[option.kind],
            default=None,
            help=option.help,
            **{name: value for name, value in arguments.items() if value is not None},
        )
        parser.addini(
            f"history_{option.name.replace('-', '_')}",
            f"The same as --history-{option.name}.",
            type=_INI_TYPES[option.kind],
            default=_INI_DEFAULTS[option.kind](),
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Supervise the process from here on, if it will run contracts.

    This comes before pytest captures output and imports a conftest.
    """
    named = early_config.known_args_namespace.history_backend
    if named or early_config.getini("history_backend"):
        from chat_history_conformance.supervision.supervisor import can_supervise, supervise

        if can_supervise():
            try:
                supervise(_finish)
            except OSError as error:
                raise pytest.UsageError(
                    f"The run cannot start: {error}. Set TMPDIR to a directory with free space."
                ) from error
    return (yield)


def _finish(ended: Ended) -> int:
    from chat_history_conformance.pytest_plugin.ending import finish

    return finish(ended)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the run that the options ask for, if they name a backend.

    Raises:
        pytest.UsageError: An option does nothing in this run.
    """
    config.addinivalue_line("markers", _MARKER)
    backends = config.getoption("--history-backend") or config.getini("history_backend")
    measuring = config.getoption("--history-benchmark")
    if backends:
        from chat_history_conformance.pytest_plugin.options import setting

        for option in OPTIONS:
            setting(config, option.name)  # a wrong value fails now, not at the end of the run
        measuring = setting(config, "benchmark")
    for option in OPTIONS:
        if config.getoption(f"--history-{option.name}"):
            _check_use(option, bool(backends), bool(measuring))
    if not backends:
        return
    if measuring:
        from chat_history_conformance.pytest_plugin.benchmarks import BenchmarkRun

        config.pluginmanager.register(BenchmarkRun(config, list(backends)), "history-benchmarks")
    else:
        from chat_history_conformance.pytest_plugin.contracts import ContractRun
        from chat_history_conformance.pytest_plugin.garbage import OlderObjects

        config.pluginmanager.register(ContractRun(config, list(backends)), "history-contracts")
        config.pluginmanager.register(OlderObjects(), "history-garbage")


@pytest.fixture(scope="session")
def history_lifespan(pytestconfig: pytest.Config) -> Mapping[str, Mapping[str, Any]]:
    """Return the objects that lifespan= of the backends of this run has yielded, by backend."""
    plugins = map(
        pytestconfig.pluginmanager.get_plugin, ("history-contracts", "history-benchmarks")
    )
    run = next((plugin for plugin in plugins if plugin is not None), None)
    if run is None:
        pytest.fail(
            "history_lifespan has something to give only in a run with --history-backend=NAME.",
            pytrace=False,
        )
    found: Mapping[str, Mapping[str, Any]] = run.provider.lifespans.objects
    return found


def _check_use(option: Option, named: bool, measuring: bool) -> None:
    """Check that an option of the command line has an effect in this run."""
    if not named:
        if not option.alone:
            raise pytest.UsageError(
                f"--history-{option.name} does nothing without --history-backend=NAME. "
                "Name the chat history to test."
            )
    elif measuring and option.run == "judging":
        raise pytest.UsageError(
            f"--history-{option.name} is for runs of the contracts, and --history-benchmark "
            "does not run them. Remove one of the two."
        )
    elif not measuring and option.run == "measuring":
        raise pytest.UsageError(
            f"--history-{option.name} does nothing without --history-benchmark. Add it."
        )
