"""The command `history-conformance bench compare`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from chat_history_conformance.cli.ending import terminated_as_interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chat_history_conformance.bench.compare.decision import Comparison

__all__ = ["add_parser"]

_EPILOG = """\
A VERSION is a commit (HEAD~1, a branch, a tag), a path (a directory with pyproject.toml or
setup.py, including its uncommitted changes, or a wheel) or a requirement (NAME==VERSION). Write
git:, path: or pip: before it to choose one of them. The exit status is 0 if nothing got worse, 1 if
an operation got worse, and 2 if the versions could not be compared.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compare` to the commands of `bench`."""
    from pathlib import Path

    parser = commands.add_parser(
        "compare",
        help="compare the speed of two versions",
        description="Measure two versions of a package alternately, in fresh processes, and report "
        "the operations that got slower.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", required=True, metavar="VERSION", help="the version before")
    parser.add_argument(
        "--head", default=".", metavar="VERSION", help="the version after (default: .)"
    )
    parser.add_argument(
        "--backend",
        required=True,
        action="append",
        metavar="NAME",
        help="the backend, as for pytest --history-backend; can be repeated",
    )
    parser.add_argument(
        "--operations",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="measure only these, such as 'add_*' 'clear'",
    )
    measuring = parser.add_argument_group("measuring and deciding")
    measuring.add_argument(
        "--pairs", type=int, default=20, metavar="N", help="processes of each version (default: 20)"
    )
    measuring.add_argument(
        "--seconds",
        type=float,
        default=0.05,
        metavar="S",
        help="time to measure each operation in each process (default: 0.05)",
    )
    measuring.add_argument(
        "--threshold",
        type=float,
        default=5.0,
        metavar="PERCENT",
        help="smallest change that matters (default: 5)",
    )
    measuring.add_argument(
        "--confidence",
        type=float,
        default=0.99,
        metavar="SHARE",
        help="confidence of the intervals (default: 0.99)",
    )
    installing = parser.add_argument_group("installing the versions")
    installing.add_argument(
        "--extras",
        type=_names,
        default=[],
        metavar="A,B",
        help="extras to install (default: those with the name of a backend)",
    )
    installing.add_argument(
        "--with",
        dest="requirements",
        action="append",
        default=[],
        metavar="REQUIREMENT",
        help="install this with both versions; can be repeated",
    )
    installing.add_argument(
        "--python",
        default=sys.executable,
        metavar="EXE",
        help="interpreter of both versions (default: this one)",
    )
    installing.add_argument(
        "--cache", type=Path, metavar="DIRECTORY", help="uv's cache (default: that of the user)"
    )
    serving = parser.add_argument_group("the server, if a backend needs one")
    serving.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="[KIND=]WAY",
        help="as pytest --history-server: auto (default), container, jvm, mock or an address",
    )
    serving.add_argument(
        "--server-config", type=Path, metavar="FILE", help="as pytest --history-server-config"
    )
    serving.add_argument(
        "--offline", action="store_true", help="download nothing, not even packages"
    )
    reporting = parser.add_argument_group("reports")
    reporting.add_argument("--html", type=Path, metavar="PATH", help="write a page with plots")
    reporting.add_argument("--md", type=Path, metavar="PATH", help="write Markdown, for a comment")
    reporting.add_argument("--json", type=Path, metavar="PATH", help="write all results as JSON")
    parser.set_defaults(run=_run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(options: argparse.Namespace) -> int:
    from chat_history_conformance.bench.compare.decision import Settings
    from chat_history_conformance.bench.compare.processes import Progress
    from chat_history_conformance.bench.compare.run import ComparisonError, Request, run
    from chat_history_conformance.bench.report import html, markdown, terminal
    from chat_history_conformance.reports import check_place, write_text

    progress = Progress()
    try:
        settings = Settings(
            options.pairs, options.threshold / 100, options.confidence, options.seconds
        )
        request = Request(
            base=options.base,
            head=options.head,
            backends=list(dict.fromkeys(options.backend)),
            operations=options.operations,
            settings=settings,
            extras=options.extras,
            requirements=options.requirements,
            python=options.python,
            cache=options.cache,
            servers=options.server,
            server_config=options.server_config,
            offline=options.offline,
        )
        outputs: list[tuple[Path, Callable[[Comparison], str]]] = [
            (path, render)
            for path, render in (
                (options.html, html.comparison),
                (options.md, markdown.comparison),
                (options.json, _document),
            )
            if path is not None
        ]
        for path, _ in outputs:
            check_place(path)
        with terminated_as_interrupted():
            compared = run(request, progress)
        for path, render in outputs:
            write_text(path, render(compared))
    except (ComparisonError, ValueError, OSError) as error:
        progress.clear()
        print(f"history-conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.clear()
        print("history-conformance: stopped; nothing was compared", file=sys.stderr)
        return 130
    finally:
        progress.clear()
    # The encoding of a terminal on Windows may lack the arrow.
    encoding = sys.stdout.encoding or "utf-8"
    print(terminal.comparison(compared).encode(encoding, "replace").decode(encoding), end="")
    return 1 if compared.regressions else 0


def _document(compared: Comparison) -> str:
    """Return a comparison as JSON; pydantic is imported only for this."""
    from chat_history_conformance.bench.compare import document
    from chat_history_conformance.bench.report import comparison

    return document.render(compared, comparison.headline(compared))
