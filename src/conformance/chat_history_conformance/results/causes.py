"""Group failures by their defect, and choose the simplest of each group.

Everything is computed from findings, so it also works for reports of earlier versions. The contract
decides nothing, except that the modes of one contract belong together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from chat_history_conformance.results.model import ContractResult, Finding

__all__ = [
    "MOST",
    "Cause",
    "Sort",
    "causes",
    "circumstances",
    "raising_mode",
    "ranking",
    "simplest",
    "sort_of",
]

MOST = 10
"""The number of causes that the terminal shows in full, and of contracts that it lists for each."""

Sort = Literal[
    "raises", "hung", "crashed", "no_list", "type", "field", "order", "lost", "stale", "other"
]
"""The sort of a defect: a call raised, the type of a message changed, and so on."""

_Base = tuple[str, ...]

_CIRCUMSTANCES: Mapping[str, tuple[str, str]] = {
    "clock": (r"^the wall clock", "if the clock does not go forward"),
    "concurrent": (r"^at the same time", "if several callers act at the same time"),
    "environment": (
        r"^another second process starts with |^the working directory is another ",
        "if a process has another environment",
    ),
    "process": (r"in (?:a|the) second process", "if two processes use a session"),
    "clear": (r"\.a?clear\(", "after a clear"),
    "closed": (r" is closed$|\.a?close\(", "after a handle was closed"),
    "ttl": (r"with_ttl\(", "with a time to live"),
    "fault": (r"^the (?:server|second process) is ", "after a fault"),
    "new": (r"^a new store, by ", "in a store that was never used"),
    "many": (r"^in each of \d+ sessions", "if there are many sessions"),
    "large": (r"numbered_messages\(| \d{3,} (?:more|messages)\b", "in a long history"),
}
_HANDLES = "if a session has several handles"
_SESSIONS = "if there are several sessions"
_OPENED = re.compile(r"^(?: *lane \d+: )?\w+ = (?:await )?open\((.*?)\)", re.MULTILINE)

_LOST = re.compile(r"lost \d+ of \d+ messages?")
_ORDER = re.compile(r"message \d+ came back (?:in place|as message) \d+ of \d+")
_TYPE = re.compile(r"message \d+ came back as (\S+) instead of (\S+?),?(?: and |$| \()")
_FIELD = re.compile(r"message \d+ came back with a different `(\w+)")
_RAISED = re.compile(r"`([\w.()]+)` (raises (\w+).*|hangs)", re.DOTALL)
_NO_LIST = re.compile(r"(`\w+`) returned (.+) instead of a list of messages")
_STALE = re.compile(r"\w+ returned an earlier state: ")
_VARYING = re.compile(r"N-\S+|chc[0-9a-f]{8,}\S*|0x[0-9a-f]+|\d+(?:\.\d+)?")
_STANDARD_TYPES = frozenset({"Human", "AI", "System"})
_ASYNC_NAMES = frozenset(
    {"aadd_messages", "aget_messages", "aclear", "aclose", "ainvoke", "astream"}
)


@dataclass(frozen=True)
class Cause:
    """Failures with one cause.

    Attributes:
        title: The defect in one line.
        results: The failures, in the order in which they were given.
        example: The failure with the simplest story. Its contract, steps and script are shown.
    """

    title: str
    results: tuple[ContractResult, ...]
    example: ContractResult

    @property
    def finding(self) -> Finding:
        """The finding of the example."""
        assert self.example.finding is not None
        return self.example.finding


def causes(results: Iterable[ContractResult]) -> list[Cause]:
    """Group the results that have a finding by cause, the cause of most failures first.

    A failure whose story needs more than the story of another one of the same sort, such as a
    second handle or a clear, is taken as a consequence of that one.

    Args:
        results: Results of one backend. Those without a finding are left out.
    """
    groups: _Groups = {}
    order: dict[str, int] = {}
    for result in results:
        if result.finding is not None:
            order[result.label] = len(order)
            root = _root(result.finding)
            key = _base(root), circumstances(root)
            groups.setdefault(key, []).append(result)
    groups = _with_types(groups)
    merged = _join_modes(_explained(groups))
    found = [
        _cause(base, sorted(members, key=lambda result: order[result.label]))
        for base, members in merged.items()
    ]
    return sorted(found, key=lambda cause: -len(cause.results))


def sort_of(finding: Finding) -> Sort:
    """Return the sort of the defect, which is the same for all contracts."""
    if finding.kind == "hung":
        return "hung"
    if finding.kind == "crashed":
        return "crashed"
    sort = _base(_root(finding))[0]
    return sort if sort in get_args(Sort) else "other"  # type: ignore[return-value]


def simplest(results: Sequence[ContractResult]) -> ContractResult:
    """Return the result with the simplest story.

    A race is not simple, however short it is. A story without a script was perhaps not tried again.
    """

    def complexity(result: ContractResult) -> tuple[object, ...]:
        finding = result.finding
        assert finding is not None
        return (
            _is_race(finding),
            not finding.reproducer,
            len(circumstances(finding)),
            len(finding.steps),
            len(finding.expected) + len(finding.returned),
            any("\\" in line or not line.isascii() for line in finding.expected),
            len(finding.summary),
            sum(map(len, finding.expected)),
        )

    return min(results, key=complexity)


def ranking(found: Sequence[Cause]) -> str:
    """Return how much the causes explain: `3 causes explain 186 of 189 failures; start with ...`.

    Causes of a single failure are left out, unless there are few causes. For a single failure, the
    text is empty.
    """
    total = sum(len(cause.results) for cause in found)
    if total < 2:
        return ""
    major = [cause for cause in found if len(cause.results) > 1]
    if len(found) <= 3 or not major:
        major = list(found)
    explained = sum(len(cause.results) for cause in major)
    number = "1 cause explains" if len(major) == 1 else f"{len(major)} causes explain"
    share = f"all {total} failures" if explained == total else f"{explained} of {total} failures"
    return f"{number} {share}; start with {found[0].example.label}: {found[0].title}"


def circumstances(finding: Finding) -> frozenset[str]:
    """Return the names of what a story needs in addition to one handle and few messages."""
    found = {
        name
        for name, (pattern, _) in _CIRCUMSTANCES.items()
        if any(re.search(pattern, step) for step in finding.steps)
    }
    opened = [match for step in finding.steps for match in _OPENED.findall(step)]
    if len(set(opened)) < len(opened) and "closed" not in found:
        found.add("handles")
    if len(set(opened)) > 1:
        found.add("sessions")
    return frozenset(found)


def _root(finding: Finding) -> Finding:
    """Return the finding about a plain add and read from which a finding follows, or itself."""
    return finding.plain or finding


# -- the defect ----------------------------------------------------------------------------------


def _base(finding: Finding) -> _Base:
    """Return the defect, without its circumstances and without quantities."""
    if match := _RAISED.match(finding.cause):
        return _base_of_exception(match)
    if finding.cause:
        return ("cause", finding.cause)
    summary = finding.summary
    match finding.kind:
        case "other" if found := _NO_LIST.match(summary):
            return ("no_list", _same_in_both_ways(found[1]), _VARYING.sub("…", found[2]))
        case "stale" if _STALE.match(summary):
            return ("stale",)
        case "altered" if found := _TYPE.match(summary):
            return ("type", found[1])
        case "altered" if found := _FIELD.match(summary):
            return ("field", found[1])
        case "reordered" if _ORDER.match(summary):
            return ("order",)
        case "lost" if _LOST.match(summary):
            return ("lost", _lost(finding))
    return ("other", finding.kind, _same_in_both_ways(_VARYING.sub("…", summary)))


def _base_of_exception(match: re.Match[str]) -> _Base:
    operation, rest, name = match[1], match[2], match[3]
    if name == "NotImplementedError":
        # A method that is not implemented says nothing about its asynchronous twin.
        return ("raises", f"raises {name}", _mode_of(operation))
    if rest in (f"raises {name}", "hangs"):
        return ("raises", rest, _same_in_both_ways(f"`{operation}`"))
    return ("raises", rest)


def raising_mode(finding: Finding) -> Literal["sync", "async"]:
    """Return whether a synchronous or an asynchronous method raised the exception of a finding."""
    match = _RAISED.match(finding.cause)
    return _mode_of(match[1]) if match else "sync"


def _mode_of(operation: str) -> Literal["sync", "async"]:
    return "async" if operation.rpartition(".")[2] in _ASYNC_NAMES else "sync"


def _same_in_both_ways(text: str) -> str:
    """Return `text` with the synchronous name of each asynchronous method."""
    named = re.sub(r"`(\w+)`", lambda m: f"`{m[1][1:]}`" if m[1] in _ASYNC_NAMES else m[0], text)
    return named.replace("`get_messages`", "`messages`")


def _lost(finding: Finding) -> str:
    """Return which messages are lost: equal ones, those of rare types, or any."""
    missing = list(finding.expected)
    for line in finding.returned:
        if line in missing:
            missing.remove(line)
    if missing and all(line in finding.returned for line in missing):
        return "equal"
    return "types" if missing and finding.returned and not _types(missing) & _STANDARD_TYPES else ""


def _types(messages: Iterable[str]) -> set[str]:
    """Return the types of messages, which a report shows first."""
    return {line.partition(" ")[0] for line in messages}


def _is_race(finding: Finding) -> bool:
    return "concurrent" in circumstances(finding) or any(
        "a race" in note or "shorten races" in note or "not fail every time" in note
        for note in finding.notes
    )


# -- groups --------------------------------------------------------------------------------------

_Groups = dict[tuple[_Base, frozenset[str]], list[ContractResult]]


def _explained(groups: _Groups) -> _Groups:
    """Merge each group into the one with the same base and the fewest circumstances among its own.

    Groups whose summary says all are merged whatever their circumstances are.
    """
    merged: _Groups = {}
    for base, needs in sorted(groups, key=lambda key: len(key[1])):
        into = next(
            (
                key
                for key in merged
                if key[0] == base and (key[1] <= needs or base[0] not in ("lost", "order", "stale"))
            ),
            (base, needs),
        )
        merged.setdefault(into, []).extend(groups[base, needs])
    return merged


def _with_types(groups: _Groups) -> _Groups:
    """Return the groups, with the losses of lone messages of rare types among those of types.

    If nothing came back, the finding alone does not say whether only this type is lost.
    """
    named: _Groups = {}
    by_type = any(base == ("lost", "types") for base, _ in groups)
    for (base, needs), members in groups.items():
        for result in members:
            home = base
            if by_type and base == ("lost", "") and result.finding is not None:
                root = _root(result.finding)
                if not root.returned and not _types(root.expected) & _STANDARD_TYPES:
                    home = ("lost", "types")
            named.setdefault((home, needs), []).append(result)
    return named


def _join_modes(groups: _Groups) -> _Groups:
    """Put failures of one contract and one kind into one group, the largest of their groups.

    Exceptions stay apart, because their texts name the defect.
    """
    homes: dict[tuple[str, str], list[tuple[_Base, frozenset[str]]]] = {}
    for key, members in groups.items():
        for result in members:
            if result.finding is not None and key[0][0] != "raises":
                homes.setdefault((result.id, _root(result.finding).kind), []).append(key)
    joined: _Groups = {key: [] for key in groups}
    for key, members in groups.items():
        for result in members:
            kind = _root(result.finding).kind if result.finding else ""
            candidates = homes.get((result.id, kind), []) if key[0][0] != "raises" else []
            home = max(candidates, key=lambda other: len(groups[other]), default=key)
            joined[home].append(result)
    return {key: members for key, members in joined.items() if members}


def _cause(key: tuple[_Base, frozenset[str]], members: list[ContractResult]) -> Cause:
    example = simplest(members)
    findings = [_root(result.finding) for result in members if result.finding is not None]
    base, needs = key
    assert example.finding is not None
    root = _root(example.finding)
    make = _TITLES.get(base[0])
    title = make(base, root, findings) if make else root.summary
    if base[0] in ("lost", "order", "stale"):
        title = f"{title}{_phrase(needs)}"
    return Cause(title, tuple(members), example)


def _phrase(needs: frozenset[str]) -> str:
    """Return the circumstance that says most, with a blank before it."""
    for name, (_, words) in _CIRCUMSTANCES.items():
        if name in needs:
            return f" {words}"
    if "handles" in needs:
        return f" {_HANDLES}"
    return f" {_SESSIONS}" if "sessions" in needs else ""


def _title_of_type(base: _Base, example: Finding, findings: Sequence[Finding]) -> str:
    sources: dict[str, dict[str, None]] = {}
    for finding in findings:
        if match := _TYPE.match(finding.summary):
            sources.setdefault(match[1], {})[match[2]] = None
    pairs = (f"{', '.join(old)} → {new}" for new, old in sources.items())
    return f"message type changed {', '.join(pairs)}"


def _title_of_exception(base: _Base, example: Finding, findings: Sequence[Finding]) -> str:
    operations = dict.fromkeys(
        match[1] for finding in findings if (match := _RAISED.match(finding.cause))
    )
    if len(operations) == 1:
        return example.cause
    names = [f"`{operation}`" for operation in operations if "." not in operation]
    if len(names) > _MOST_NAMES:
        names[_MOST_NAMES:] = [f"{len(names) - _MOST_NAMES} more methods"]
    *first, last = names or [f"`{operation}`" for operation in operations]
    verb = re.sub(r"^(raise|hang)s", r"\1", base[1])
    return f"{', '.join(first)} and {last} {verb}" if first else f"{last} {base[1]}"


def _title_of_loss(base: _Base, example: Finding, findings: Sequence[Finding]) -> str:
    if base[1] == "equal":
        return "a message equal to an earlier one is lost"
    if not base[1]:
        return "messages are lost"
    rare = dict.fromkeys(
        line.partition(" ")[0]
        for finding in findings
        for line in finding.expected
        if line not in finding.returned
    )
    *first, last = [name for name in rare if name not in _STANDARD_TYPES]
    names = f"{', '.join(first)} and {last}" if first else last
    return f"{names} messages are lost"


_MOST_NAMES = 3
"""The number of methods that the title of a cause names."""

_Title = Callable[[_Base, Finding, Sequence[Finding]], str]
_TITLES: Mapping[str, _Title] = {
    "cause": lambda base, example, findings: base[1],
    "field": lambda base, example, findings: f"`{base[1]}` of a message is changed",
    "lost": _title_of_loss,
    "order": lambda base, example, findings: "messages come back in another order",
    "raises": _title_of_exception,
    "stale": lambda base, example, findings: "a read returns an earlier state",
    "type": _title_of_type,
}
