"""`history-conformance bench compare`: its options, and what becomes of them."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

_EPILOG = """\
A side is a commit (HEAD~1, a branch, a tag), a path (a directory with pyproject.toml or setup.py,
whose uncommitted changes count, or a wheel) or a requirement (NAME==VERSION); git:, path: or pip:
before it says which is meant. Exit status: 0, 1 where head got worse, 2 where nothing can be said.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compare` to the commands of `bench`."""
    from pathlib import Path

    parser = commands.add_parser(
        "compare",
        help="what a change does to the speed: two versions measured by turns",
        description="Measure two versions of a package by turns, in fresh processes, and tell "
        "what got slower.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", required=True, metavar="SIDE", help="what it was")
    parser.add_argument("--head", default=".", metavar="SIDE", help="what it is (default: .)")
    parser.add_argument(
        "--backend",
        required=True,
        action="append",
        metavar="NAME",
        help="as for --history-backend; can be repeated",
    )
    parser.add_argument(
        "--operations", nargs="+", default=[], metavar="GLOB", help="only these: 'add_*' 'clear'"
    )
    measuring = parser.add_argument_group("measuring and deciding")
    measuring.add_argument(
        "--pairs", type=int, default=20, metavar="N", help="processes of each side (default: 20)"
    )
    measuring.add_argument(
        "--seconds",
        type=float,
        default=0.05,
        metavar="S",
        help="how long each operation is measured in each process (default: 0.05)",
    )
    measuring.add_argument(
        "--threshold",
        type=float,
        default=5.0,
        metavar="PERCENT",
        help="the change that matters (default: 5)",
    )
    measuring.add_argument(
        "--confidence",
        type=float,
        default=0.99,
        metavar="SHARE",
        help="of the intervals (default: 0.99)",
    )
    installing = parser.add_argument_group("installing the sides")
    installing.add_argument(
        "--extras",
        type=_names,
        default=[],
        metavar="A,B",
        help="extras to install (default: those called as the backends)",
    )
    installing.add_argument(
        "--with",
        dest="beside",
        action="append",
        default=[],
        metavar="REQUIREMENT",
        help="install this too, on both sides; can be repeated",
    )
    installing.add_argument(
        "--python", default=sys.executable, metavar="EXE", help="of both sides (default: this one)"
    )
    installing.add_argument(
        "--cache", type=Path, metavar="DIRECTORY", help="where installed commits are kept"
    )
    serving = parser.add_argument_group("the server, where a backend needs one")
    serving.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="[KIND=]WAY",
        help="as --history-server: auto (default), container, jvm, mock or an address",
    )
    serving.add_argument(
        "--server-config", type=Path, metavar="FILE", help="as --history-server-config"
    )
    serving.add_argument(
        "--offline", action="store_true", help="download nothing, packages included"
    )
    reporting = parser.add_argument_group("reports")
    reporting.add_argument("--html", type=Path, metavar="PATH", help="write a page with plots")
    reporting.add_argument("--md", type=Path, metavar="PATH", help="write a comment as Markdown")
    reporting.add_argument("--json", type=Path, metavar="PATH", help="write all of it as JSON")
    parser.set_defaults(run=_run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(options: argparse.Namespace) -> int:
    from chat_history_conformance.bench.compare.decision import Settings
    from chat_history_conformance.bench.compare.processes import Progress
    from chat_history_conformance.bench.compare.run import Request, Unable, run
    from chat_history_conformance.bench.report import comparison_html, comparison_pages
    from chat_history_conformance.reports import check_place, write_text

    before = signal.signal(signal.SIGTERM, _interrupt)
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
            beside=options.beside,
            python=options.python,
            cache=options.cache,
            ways=options.server,
            server_config=options.server_config,
            offline=options.offline,
        )
        outputs: list[tuple[Path, comparison_pages.Render]] = [
            (path, render)
            for path, render in (
                (options.html, comparison_html.html),
                (options.md, comparison_pages.markdown),
                (options.json, comparison_pages.document),
            )
            if path is not None
        ]
        for path, _ in outputs:
            check_place(path)
        compared = run(request, progress)
        for path, render in outputs:
            write_text(path, render(compared))
    except (Unable, ValueError, OSError) as error:
        progress.clear()
        print(f"history-conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.clear()
        print("history-conformance: stopped; nothing was compared", file=sys.stderr)
        return 130
    finally:
        progress.clear()
        signal.signal(signal.SIGTERM, before)
    # A terminal of Windows may have no arrow.
    encoding = sys.stdout.encoding or "utf-8"
    print(comparison_pages.terminal(compared).encode(encoding, "replace").decode(encoding), end="")
    return 1 if compared.regressions else 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
