"""Parity: the asynchronous methods exist, work, and agree with the synchronous ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, ENUMERATED, MIXED, SYNC, contract
from chat_history_conformance.diagnosis.code import Code, Ref, call, fill, lazily
from chat_history_conformance.diagnosis.rendering import show, source
from chat_history_conformance.diagnosis.script_claims import (
    below,
    contents,
    contents_besides,
    have_no_doubles,
    keep_order,
    was_accepted,
)
from chat_history_conformance.diagnosis.script_loops import (
    blocked_seconds,
    cancelled_at,
    under_a_loop,
    wait,
)
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.session import Handle, Session

Batches = list[list[BaseMessage]]

_ASYNC = (
    "langchain_core/chat_history.py, BaseChatMessageHistory: async variants all have default "
    "implementations that call the sync variants"
)
_LONG_LENGTH = 200
_TASKS = 4
_REPEATS = 5
_STANDSTILL_SECONDS = 0.05
"""Shortest standstill that is a finding, in seconds. The coarsest clocks tick every 0.016 s."""


@contract(
    "parity.async_methods",
    rule="`aadd_messages`, `aget_messages` and `aclear` exist, can be awaited, and do the same as "
    "their synchronous counterparts.",
    source=_ASYNC,
    cause="A method is overridden and raises, or returns a coroutine that is never awaited. Or "
    "the synchronous method that the default calls does not exist.",
    remedy="Delete the override, because the default works. Or await the coroutine that it calls.",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py: async methods raise "
    "ValueError unless the history was created with async_mode; langchain-postgres 0.0.19: the "
    "same without async_connection",
    modes=(ASYNC,),
    program=strategies.batches(max_batches=2),
    examples=10,
)
def the_async_methods_work(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
        a.reads_back()
    a.clear()
    a.reads_back()


@contract(
    "parity.agree",
    rule="The synchronous and the asynchronous methods of one handle work on one conversation, in "
    "any mixture: a message that is added one way is read the other way, and a clear removes it "
    "for both.",
    source=_ASYNC,
    cause="The two ways have separate caches, buffers or tables, or store different forms.",
    remedy="Let one of them call the other, or let both call the same functions that write and "
    "read records.",
    seen="microsoft/semantic-kernel#14017: add_message skips what add_message_async does; "
    "llama-index-storage-chat-store-redis 0.8.0: siblings return raw bytes",
    modes=(MIXED,),
    program=st.tuples(
        st.integers(0, 1),
        st.lists(st.sampled_from(["add", "one", "read", "clear"]), min_size=1, max_size=8),
    ),
)
def sync_and_async_methods_share_one_conversation(
    s: Session, program: tuple[int, list[str]]
) -> None:
    shift, operations = program
    a = s.open()
    for _ in range(shift):  # calls alternate: an extra one swaps sync and async for the rest
        a.reads_back()
    for number, operation in enumerate(operations):
        if operation == "add":
            a.add([HumanMessage(f"m{number}"), HumanMessage(f"m{number}b")])
        elif operation == "one":
            a.add_one(HumanMessage(f"m{number}"))
        elif operation == "clear":
            a.clear()
        else:
            a.reads_back()
    a.reads_back()
    a.reads_back()


@contract(
    "parity.loop_not_blocked",
    level="should",
    rule="While an asynchronous method waits for its store, the event loop can run other tasks. A "
    f"method fails if it blocks the loop for {_STANDSTILL_SECONDS * 1000:g} ms or more in each of "
    f"{_REPEATS} calls. Computation, such as decoding messages, does not count.",
    source=f"{_ASYNC} in an executor, so that the loop stays free",
    cause="An `async def` calls a blocking client, or sleeps with `time.sleep`.",
    remedy="Delete the override, because the default uses an executor. Or await an asynchronous "
    "client or `asyncio.to_thread`.",
    seen="langchain-ai/langchain#16728: a review notes that reading in `__str__` might block the "
    "event loop; langchain-core 1.7.2, InMemoryChatMessageHistory.aadd_messages runs inline, which "
    "is harmless there",
    modes=(ASYNC,),
    examples=1,
    company="alone",
)
def async_methods_do_not_block_the_event_loop(s: Session, _: None) -> None:
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(_LONG_LENGTH)])
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("messages", ()),
        ("add_messages", ([HumanMessage("again")],)),
        ("clear", ()),
    ]
    for operation, args in calls:
        least = _least_standstill(s, a, operation, args)
        name = a.phrase(operation, args, "async").invocation.name
        s.check(
            below,
            Ref("least", least),
            _STANDSTILL_SECONDS,
            kind="blocked_loop",
            summary=f"`{name}` blocked the event loop for {least * 1000:.0f} ms or more in every "
            "call",
        )


def _least_standstill(s: Session, a: Handle, operation: str, args: tuple[Any, ...]) -> float:
    """Return the shortest standstill of several calls, in seconds.

    The first call that blocks the loop for less than the limit is the last one.
    """
    phrase = a.phrase(operation, args, "async")
    if not phrase.invocation.awaited:
        return 0.0
    history, spelt = s.subject.local.history(a.key), phrase.invocation
    measured: list[float] = []

    def measure() -> Any:
        return blocked_seconds(partial(getattr(history, spelt.name), *spelt.args, **spelt.kwargs))

    once = call(wait, lazily(blocked_seconds, phrase.bare()))
    code = fill("least = min({} for _ in range({}))", once, str(_REPEATS))
    text = f"{phrase.text()}, up to {_REPEATS} times, next to another task"
    s.steps.append(Step(text, code))
    for _ in range(_REPEATS):
        measured.append(s.carry_out(spelt.name, lambda: s.subject.local.run(measure, "async")))
        if measured[-1] < _STANDSTILL_SECONDS:
            break
    times = ", ".join(f"{seconds * 1000:.0f}" for seconds in measured)
    s.steps[-1] = s.steps[-1].with_result(f"blocked for {times} ms")
    return min(measured)


_Moment = tuple[int, int]
"""The number of one of the waits of a call, and turns of the event loop after its begin.

A wait of the call itself does not depend on how long the store takes. A few turns later, the tasks
for which it waits have gone on too, if the store is fast.
"""
_ORDINALS = {1: "first", 2: "second", 3: "third", 5: "fifth"}
_MOMENTS: tuple[_Moment, ...] = ((1, 0), (1, 1), (1, 2), (1, 4), (2, 0), (3, 0), (5, 0))


@contract(
    "parity.cancellation",
    level="should",
    rule="A cancelled `aadd_messages` leaves the history usable. Earlier and later messages are "
    "read in order, on the same handle and on another one. Each message of the cancelled batch is "
    "read at most once, in the order of the batch; the history may store all, some or none of "
    "them.",
    source="convention: if a client disconnects, web frameworks cancel the task of its request, "
    "in the middle of any await",
    cause="A lock, a transaction or a connection is not released when CancelledError is raised. "
    "Or the cancelled add is treated as a failed attempt and repeated.",
    remedy="Use `async with` and `finally`. Shield operations that must not be interrupted.",
    seen="openai/openai-agents-python#1658: add_items is cancelled before the state is saved",
    modes=(ASYNC,),
    program=st.tuples(strategies.some_of(_MOMENTS), st.integers(1, 3), st.integers(0, 1)),
    examples=ENUMERATED,
    company="apart",
)
def a_cancelled_add_leaves_the_history_usable(
    s: Session, program: tuple[list[_Moment], int, int]
) -> None:
    moments, size, before = program
    a = s.open()
    kept = [f"before{number}" for number in range(before)]
    batches: list[list[str]] = []
    # What a keeps in a transaction that is still open, only a reads.
    handles = [a] if "shared" in s.subject.backend.lacks else [a, s.open()]
    if kept:
        a.add([HumanMessage(text) for text in kept])
    for number, moment in enumerate(moments):
        batch = [f"cancelled{number}.{place}" for place in range(size)]
        batches.append(batch)
        _cancel(s, a, "add_messages", ([HumanMessage(text) for text in batch],), moment)
        a.add([HumanMessage(f"after{number}")])
        kept.append(f"after{number}")
        for handle in handles:
            _expect_kept_besides(s, handle, batches, kept)


def _expect_kept_besides(s: Session, a: Handle, batches: list[list[str]], kept: list[str]) -> None:
    """Read, and fail unless all that is kept comes, and of the cancelled messages none twice."""
    came = contents(a.read())
    shown = [show(text) for text in came]
    cancelled = [text for batch in batches for text in batch]
    lost = max(0, len(kept) - sum(text not in cancelled for text in came))
    s.check(
        contents_besides,
        a.result,
        cancelled,
        kept,
        kind="lost" if lost else "altered",
        summary=f"a cancelled add {f'lost {lost} of' if lost else 'changed'} the {len(kept)} other "
        "messages",
        expected=kept,
        returned=shown,
    )
    stored = [str(text) for text in came if text in cancelled]
    s.check(
        have_no_doubles,
        a.result,
        cancelled,
        kind="duplicated",
        summary=f"{len(stored) - len(set(stored))} of {len(cancelled)} messages of a cancelled add "
        "came back twice",
        returned=shown,
    )
    for batch in batches:  # a thread may store one after the next one
        s.check(
            keep_order,
            a.result,
            batch,
            kind="reordered",
            summary="the messages of a cancelled add came back in another order than in its batch",
            returned=shown,
        )


def _arguments(operation: str) -> tuple[Any, ...]:
    """Return the arguments of a call that is cancelled."""
    return ([HumanMessage("cancelled")],) if operation == "add_messages" else ()


def _cancel(
    s: Session, a: Handle, operation: str, args: tuple[Any, ...], moment: _Moment, times: int = 1
) -> BaseException | None:
    """Cancel a call at a moment, and return the other error of the last one."""
    number, turns = moment
    phrase = a.phrase(operation, args, "async")
    history, spelt = s.subject.local.history(a.key), phrase.invocation
    if not spelt.awaited:
        s.not_applicable(f"`{spelt.name}` cannot be awaited")

    def cancelled() -> Any:
        return cancelled_at(number, turns, lambda: getattr(history, spelt.name)(*spelt.args))

    once = call(cancelled_at, source(number), source(turns), fill("lambda: {}", phrase.bare()))
    code = fill("raised = {}", call(wait, once))
    when = f"{turns} turn{'s' * (turns > 1)} of the event loop after" if turns else "at"
    text = f"{phrase.text()}, cancelled {when} its {_ORDINALS[number]} wait"
    if times > 1:
        code = fill("for _ in range({}):\n{}", str(times), code.indented())
        text = f"{text}, {times} times"
    s.steps.append(Step(text, code))
    raised: BaseException | None = None
    for _ in range(times):
        raised = s.carry_out(spelt.name, lambda: s.subject.local.run(cancelled, "async"))
    return raised


_CANCELLED = 12
"""Cancelled calls in a row: more than common pools have connections."""


@contract(
    "parity.cancelled_calls",
    since="0.2",
    level="should",
    rule=f"Many cancelled calls leave the history usable. After {_CANCELLED} reads and "
    f"{_CANCELLED} adds were cancelled, at any of their awaits, the other messages can be read and "
    "the conversation continues.",
    source="convention: if a client disconnects, web frameworks cancel the task of its request, "
    "in the middle of any await",
    cause="A connection, a slot of a pool or a lock is given back after an `Exception`, but "
    "CancelledError is no `Exception`.",
    remedy="Use `async with` and `finally`.",
    seen="psycopg/psycopg#1208 and MagicStack/asyncpg#464: a cancelled operation does not give its "
    "connection back",
    modes=(ASYNC,),
    program=strategies.some_of(
        [(operation, moment) for moment in _MOMENTS for operation in ("messages", "add_messages")]
    ),
    examples=ENUMERATED,
    company="apart",
)
def many_cancelled_calls_leave_the_history_usable(
    s: Session, calls: list[tuple[str, _Moment]]
) -> None:
    a = s.open()
    kept = ["m0", "m1"]
    a.add([HumanMessage(text) for text in kept])
    for operation, moment in calls:
        _cancel(s, a, operation, _arguments(operation), moment, _CANCELLED)
    for _ in range(2):
        came = contents(a.read())
        s.check(
            contents_besides,
            a.result,
            ["cancelled"],
            kept,
            kind="lost",
            summary=f"after cancelled calls {sum(text in kept for text in came)} of {len(kept)} "
            "other messages came back in order",
            expected=kept,
            returned=[show(text) for text in came],
        )
        a.add([HumanMessage("m2")])
        kept.append("m2")


@contract(
    "parity.cancelled_error",
    since="0.2",
    level="should",
    rule="A cancelled call ends with CancelledError, or returns if it was finished. It raises no "
    "other exception.",
    source="docs.python.org, Coroutines and Tasks, Task Cancellation: code that catches "
    "CancelledError should propagate it, because `asyncio.timeout` and task groups use it",
    cause="The method catches every exception, or CancelledError, and raises another one.",
    remedy="Clean up in `finally`, or end the `except` block with `raise`.",
    seen="langflow-ai/langflow#13827",
    modes=(ASYNC,),
    program=strategies.some_of(
        [
            (operation, moment)
            for moment in _MOMENTS
            for operation in ("messages", "add_messages", "clear")
        ]
    ),
    examples=ENUMERATED,
    company="apart",
)
def a_cancelled_call_raises_no_other_error(s: Session, calls: list[tuple[str, _Moment]]) -> None:
    for operation, moment in calls:
        a = s.open()  # so that an earlier cancellation cannot make the call fail
        args = _arguments(operation)
        name = a.phrase(operation, args, "async").invocation.name
        raised = _cancel(s, a, operation, args, moment)
        s.check(
            was_accepted,
            Ref("raised", raised),
            kind="wrong_error",
            summary=f"a cancelled `{name}` raised {type(raised).__name__} instead of "
            "CancelledError",
        )
        a.release()


@contract(
    "parity.handle_per_loop",
    level="should",
    rule="Histories that are opened, used and closed on one event loop after another work on each "
    "loop, even after the earlier loops have ended, as with `asyncio.run`.",
    source="convention: tests, notebooks, task queues and Streamlit start an event loop for each "
    "piece of work",
    cause="A client, a pool or a lock of the module is bound to the first loop that used it.",
    remedy="Keep such objects per running loop, or in the handle.",
    seen="langchain-ai/langgraph#6693: `Event loop is closed` under ASGI; bytedance/deer-flow#2302",
    needs=("shared",),
    modes=(ASYNC,),
    program=st.integers(1, 2),
    examples=2,
    company="apart",
)
def each_event_loop_can_have_its_own_handles(s: Session, loops: int) -> None:
    keeper = s.open()
    keeper.add([HumanMessage("m0")])
    for number in range(loops):
        with s.another_loop():
            handle = s.open()
            handle.add([HumanMessage(f"m{number + 1}")])
            handle.reads_back()
            handle.release()
    keeper.reads_back()


@contract(
    "parity.tasks_on_each_loop",
    since="0.2",
    level="should",
    rule=f"{_TASKS} tasks can write at the same time on one event loop after another, each through "
    "a separate handle to a separate session.",
    source="convention: tests, notebooks, task queues and Streamlit start an event loop for each "
    "piece of work",
    cause="A lock, a semaphore or a queue of the class is bound to the loop on which a task first "
    "had to wait for it.",
    remedy="Keep such objects per running loop, or in the handle.",
    seen="DeytaHQ/khora#1160: asyncio.Lock is bound to a different event loop",
    needs=("threads",),
    modes=(ASYNC,),
    program=st.integers(2, 3),
    examples=2,
    company="apart",
)
def tasks_can_wait_for_one_another_on_each_event_loop(s: Session, loops: int) -> None:
    for loop in range(loops):
        with s.another_loop():
            handles = [s.open(f"{{nonce}}-{loop}-{number}") for number in range(_TASKS)]
            batch: list[BaseMessage] = [HumanMessage("m0"), HumanMessage("m1")]
            s.together([[(handle, "add_messages", (batch,))] for handle in handles])
            for handle in handles:
                handle.model.add(batch)
                handle.reads_back()
                handle.release()


@contract(
    "parity.one_handle_over_loops",
    level="may",
    rule="One handle can be used from several event loops, one after the other.",
    source="convention: an application keeps a handle and calls `asyncio.run` for each turn",
    cause="The handle's client, pool or lock is bound to the first loop that used it. Many "
    "asynchronous clients work like this, and their documentation says so.",
    remedy="Keep such objects per running loop, or document that a handle belongs to one loop.",
    seen="langchain-ai/langgraph#6693; llama-index-storage-chat-store-azure 0.6.0, base.py: sync "
    "methods run one async client on a fresh loop each",
    modes=(ASYNC,),
    program=st.booleans(),
    examples=2,
    company="apart",
)
def one_handle_works_on_several_event_loops(s: Session, used_before: bool) -> None:
    a = s.open()
    if used_before:
        a.add([HumanMessage("m0")])
    for number in range(2):
        with s.another_loop():
            a.add([HumanMessage(f"m{number + 1}")])
            a.reads_back()


@contract(
    "parity.sync_inside_loop",
    level="should",
    rule="The synchronous methods work while an event loop is running in the same thread.",
    source="convention: in notebooks every call is made under a running loop, and asynchronous "
    "applications call synchronous libraries",
    cause="The synchronous method runs its asynchronous counterpart with `asyncio.run` or "
    "`run_until_complete`, which a running loop forbids.",
    remedy="Use a synchronous client. Or run a loop in a separate thread, and call "
    "`asyncio.run_coroutine_threadsafe`.",
    seen="langchain-ai/langchain#22933: add_messages in an async mode raises RuntimeError, and "
    "nothing is saved",
    modes=(SYNC,),
    program=strategies.batches(max_batches=1),
    examples=2,
    company="apart",
)
def the_sync_methods_work_while_a_loop_is_running(s: Session, batches: Batches) -> None:
    a = s.open()
    (batch,) = batches
    phrase = a.phrase("add_messages", (batch,), "sync")
    history, spelt = s.subject.local.history(a.key), phrase.invocation

    def add() -> None:
        getattr(history, spelt.name)(*spelt.args)

    _under_a_loop(s, phrase.text(), phrase.bare(), spelt.name, add)
    a.model.add(batch)
    a.reads_back()
    _under_a_loop(s, "a.clear()", Code("a.clear()"), "clear", lambda: history.clear())
    a.model.clear()
    a.reads_back()


def _under_a_loop(
    s: Session, text: str, code: Code, operation: str, action: Callable[[], None]
) -> None:
    code = call(wait, lazily(under_a_loop, code))
    s.steps.append(Step(f"{text}  under a running event loop", code))
    s.carry_out(operation, lambda: s.subject.local.run(action, "async"))
