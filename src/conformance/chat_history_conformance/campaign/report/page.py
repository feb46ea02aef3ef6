"""The result of a campaign as one HTML page without scripts, and its timeline as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from chat_history_conformance.bench.report.shapes import Chart
from chat_history_conformance.campaign.report.result import Class, Latency, Result, Shown
from chat_history_conformance.campaign.report.timeline import (
    NARROW,
    WIDE,
    growth_charts,
    timeline_chart,
)
from chat_history_conformance.reports import html
from chat_history_conformance.reports.templating import render as render_template

__all__ = ["picture", "render"]


@dataclass(frozen=True)
class _Row:
    """A kind of calls in the table of times."""

    name: str
    returned: tuple[str, ...]
    raised: tuple[str, ...]


@dataclass(frozen=True)
class _Fault:
    """A fault in the list below the picture."""

    number: int
    name: str
    member: str
    time: str
    took: str
    detail: str


@dataclass(frozen=True)
class _Page:
    """The values that `templates/page.html` shows."""

    title: str
    style: str
    facts: Sequence[tuple[str, str]]
    command: str
    clean: bool
    verdict: str
    exercised: str
    classes: Sequence[Class]
    lacks: Sequence[tuple[str, str]]
    timelines: Sequence[tuple[str, Chart]]
    faults: Sequence[_Fault]
    rows: Sequence[_Row]
    errors: Sequence[tuple[str, str, int]]
    growth: Sequence[tuple[str, Sequence[Chart]]]
    version: str


def render(result: Result) -> str:
    """Return the result of a campaign as an HTML page."""
    from chat_history_conformance import __version__

    campaign = result.campaign
    found = sum(one.count for one in result.classes)
    page = _Page(
        title=f"Campaign: {campaign.backend}",
        style="\n".join(
            [html.resource("page.css"), _resource("bench.report", "plot.css"), _own_style()]
        ),
        facts=_facts(result),
        command=campaign.command,
        clean=result.clean,
        verdict="no defect" if result.clean else f"{found:,} defect{'s' * (found != 1)}",
        exercised=f"{campaign.events} faults, {sum(result.operations.values()):,} calls, "
        f"{result.acknowledged_messages:,} acknowledged messages in "
        f"{result.acknowledged_calls:,} adds",
        classes=result.classes,
        lacks=sorted(campaign.lacks.items()),
        timelines=[("wide", timeline_chart(result)), ("narrow", timeline_chart(result, NARROW))],
        faults=[_fault(number, one) for number, one in enumerate(result.timeline.faults, 1)],
        rows=[
            _Row(f"{one.kind}, {one.mode}", _times(one.returned), _times(one.raised))
            for one in result.calls
        ],
        errors=[
            (kind, error, count)
            for kind, types in result.raised.items()
            for error, count in sorted(types.items(), key=lambda item: -item[1])
        ],
        growth=[
            ("wide", growth_charts(result.growth, result.timeline.seconds, WIDE / 3 - 8)),
            ("narrow", growth_charts(result.growth, result.timeline.seconds, NARROW)),
        ],
        version=__version__,
    )
    return render_template("campaign/page.html", page=page)


def picture(result: Result) -> str:
    """Return the timeline of a campaign as an SVG file."""
    return render_template("campaign/picture.svg", chart=timeline_chart(result))


def _facts(result: Result) -> list[tuple[str, str]]:
    campaign = result.campaign
    facts = [
        ("backend", campaign.backend),
        ("server", campaign.server),
        ("nodes", str(campaign.nodes)),
        ("seed", str(campaign.seed)),
        ("date", campaign.date),
        ("length", f"{campaign.seconds:.0f} s"),
        *sorted(campaign.versions.items()),
    ]
    return [(name, value) for name, value in facts if value]


def _fault(number: int, fault: Shown) -> _Fault:
    minutes, seconds = divmod(fault.began, 60)
    return _Fault(
        number,
        fault.name,
        fault.member or "all",
        f"{minutes:.0f}:{seconds:04.1f}",
        f"{fault.ended - fault.began:.1f} s",
        fault.detail,
    )


def _times(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return ("0", "", "", "")
    times = (latency.p50, latency.p99, latency.max)
    return (f"{latency.count:,}", *(_duration(time) for time in times))


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _own_style() -> str:
    file = resources.files(__package__) / "campaign.css"
    return file.read_text(encoding="utf-8")


def _resource(package: str, name: str) -> str:
    file = resources.files(f"chat_history_conformance.{package}") / "templates" / name
    return file.read_text(encoding="utf-8")
