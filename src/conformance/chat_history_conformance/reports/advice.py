"""The usual cause of a finding and the remedy, chosen by the defect and then by the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from chat_history_conformance.declaration.capabilities import assumed
from chat_history_conformance.execution.contract import NEEDS_OF_MODE
from chat_history_conformance.results.causes import Sort, circumstances, raising_mode, sort_of
from chat_history_conformance.results.model import ContractResult, Rules, RuleText

__all__ = ["advised", "capability_hint"]


class _Advice(NamedTuple):
    """A usual cause and its remedy.

    Attributes:
        cause: The usual cause.
        remedy: The usual fix.
        except_in: Families of contracts, and single contracts, whose own texts are about this sort
            of finding.
    """

    cause: str
    remedy: str
    except_in: frozenset[str] = frozenset()


_ABOUT_OUTAGES = frozenset({"faults", "cluster", "interference"})

_ABOUT_EXCEPTIONS = frozenset(
    {
        "clear.idempotent",
        "clear.unused_session",
        "concurrency.first_use",
        "durability.close_idempotent",
        "errors.usable_after_refusal",
        "inputs.empty_batch",
        "integration.keyed_turns",
        "iteration.left_early",
        "iteration.others_work_meanwhile",
        "iteration.unused_session",
        "parity.handle_per_loop",
        "parity.one_handle_over_loops",
        "parity.sync_inside_loop",
        "reads.unused_session",
    }
)
"""Contracts whose usual failure is a call that raises."""

_ADVICE: Mapping[Sort, _Advice] = {
    "raises": _Advice(
        "the history or its client raised an exception that it does not handle",
        "start at the line of the history that raised",
        _ABOUT_EXCEPTIONS,
    ),
    "hung": _Advice(
        "the call waits without a limit: for a lock, for a connection of a pool in which none is "
        "left, or for an answer",
        "find out where the call waits, and give the wait a limit",
        _ABOUT_OUTAGES | {"iteration.left_early", "iteration.others_work_meanwhile"},
    ),
    "crashed": _Advice(
        "native code of a client failed, or the code ended the process",
        "run the script with `python -X faulthandler` to find the call",
    ),
    "no_list": _Advice(
        "the method has another form than langchain-core defines: an `async def` under "
        "`@property`, or a generator",
        "return a list of messages; asynchronous reads belong into `aget_messages`",
    ),
    "type": _Advice(
        "the stored record does not hold the type of the message, or the reader turns types that "
        "it does not know into another one",
        "store `message_to_dict(message)`, and read with `messages_from_dict`",
    ),
    "field": _Advice(
        "the stored record holds only some fields of a message, or not every value of them",
        "store `message_to_dict(message)`, and read with `messages_from_dict`",
        frozenset({"fidelity", "aliasing", "inputs", "isolation", "concurrency", "model"}),
    ),
    "order": _Advice(
        "a read sorts by a value that does not follow the order of the adds, such as a timestamp",
        "order by a counter that the store keeps",
        _ABOUT_OUTAGES | {"ordering", "concurrency"},
    ),
    "lost": _Advice(
        "an add returned before the message was stored, a later add replaced it, or a read does "
        "not return everything",
        "look into the store after the last add: the message is missing there or only in the read",
        _ABOUT_OUTAGES
        | {"clear", "isolation", "reads", "bounded", "iteration", "cursor", "ttl", "concurrency"}
        | {"durability", "parity", "errors"},
    ),
}

_NEEDS_OF_STORY = {"handles": "shared", "process": "durable"}
"""The capabilities that stories need."""

_MANY = 10
"""The number of failures from which on a whole mode may be missing."""


def advised(example: ContractResult, rules: Rules) -> RuleText | None:
    """Return the texts of a contract, with the cause and the remedy that fit its finding.

    The texts of a contract are about its usual finding. For example, the contracts about order
    advise a counter, which does not help if a call raises.

    Args:
        example: A result with a finding.
        rules: The texts of all contracts.
    """
    rule = rules.get(example.id)
    if rule is None or example.finding is None:
        return rule
    sort = sort_of(example.finding)
    advice, family = _ADVICE.get(sort), example.id.partition(".")[0]
    if advice is None:
        return rule
    has_own = not advice.except_in.isdisjoint({family, example.id})
    if sort == "raises":  # a method that always raises has nothing to do with the contract
        missing = "NotImplementedError" in example.finding.cause
        has_own = has_own and not missing and example.finding.plain is None
    elif family == "clear":
        has_own = has_own and "clear" in circumstances(example.finding)
    if has_own:
        return rule
    return replace(rule, cause=advice.cause, remedy=advice.remedy)


def capability_hint(results: Sequence[ContractResult], rules: Rules) -> str:
    """Return how to declare that the history lacks what all these failures need, or no text.

    Args:
        results: Failures with one cause.
        rules: The texts of all contracts.
    """
    found = [result.finding for result in results if result.finding is not None]
    if all(one.kind == "stale" for one in found) and any(
        "handles" not in circumstances(one) for one in found
    ):
        return (
            "If reads show a write only after some time by design, declare this time, or a longer "
            "one if you have: `@history_backend(NAME, eventual=SECONDS)`. Then contracts wait."
        )
    ignored = {"immediate_reads"}
    if all(result.mode == "process" for result in results):
        ignored.add("shared")  # the handles of one process do share a conversation
    needed = [_needs(result, rules, len(results)) - ignored for result in results]
    chosen: list[str] = []
    while needed and len(chosen) < 2:
        counts = {name: sum(name in needs for needs in needed) for name in assumed()}
        most = max(counts, key=lambda name: counts[name])
        if not counts[most]:
            break
        chosen.append(most)
        needed = [needs for needs in needed if most not in needs]
    if needed or not chosen or set(chosen) == {"sync", "async"}:
        return ""
    lacks = ", ".join(f'"{name}": "REASON"' for name in chosen)
    return (
        "If the history does not support this by design, declare it: "
        f"`@history_backend(NAME, lacks={{{lacks}}})`. Then no contract tries it."
    )


def _needs(result: ContractResult, rules: Rules, together: int) -> frozenset[str]:
    """Return the capabilities without which this result would not be a failure.

    Args:
        result: A failure.
        rules: The texts of all contracts.
        together: The number of failures with the same cause.
    """
    rule, finding = rules.get(result.id), result.finding
    if finding is None:
        return frozenset()
    if sort_of(finding) == "raises":
        if "(session_id)` raises " in finding.cause:
            return frozenset()  # opening a history is not a call of a mode
        # One call that raises does not mean that all calls of its mode are unsupported.
        whole = "NotImplementedError" in finding.cause or together >= _MANY
        return frozenset({raising_mode(finding)} if whole else ())
    needs = set(rule.needs if rule else ()) | set(NEEDS_OF_MODE[result.mode])
    story = circumstances(finding)
    needs |= {_NEEDS_OF_STORY.get(name, name) for name in story}
    # A wrong answer does not mean that the way of calling is unsupported. A history that lacks one
    # of the others fails without a fault, a race or a new store too.
    needs -= {"sync", "async"}
    if result.id.partition(".")[0] in _ABOUT_OUTAGES:
        needs -= {"shared", "threads", "durable"}
    if story & {"fault", "concurrent", "new"}:
        needs -= {"shared"}
    if "new" in story:
        needs -= {"threads"}
    return frozenset(needs)
