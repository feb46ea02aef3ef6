"""Small concurrent executions, and an exhaustive search for an order that explains a recording.

An execution runs on a plain list. Each call takes effect at one point of its interval; an add is
stored message by message. Calls that raise have an unknown outcome: they take effect at any later
time, or never, or partly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from chat_history_conformance.campaign.recording import (
    NO_END,
    Meta,
    Operation,
    OperationError,
    Recording,
)

UNKNOWN = OperationError("ConnectionError", "outcome unknown", True)


def execution(
    random: Random, calls: int, *, clears: bool = True, limited: bool = True
) -> Recording:
    """Return the recording of a right history: up to three clients, one session."""
    clocks = dict.fromkeys(("a", "b", "c"), 0.0)
    operations: list[Operation] = []
    effects: list[tuple[float, int, int]] = []  # time, operation, message
    names = iter(f"m{number}" for number in range(1, 1000))
    kinds = ["add", "add", "read", "read", *(["clear"] if clears else []), *(["last"] * limited)]
    for number in range(calls):
        client = random.choice(list(clocks))
        began = clocks[client] + random.choice([0.5, 1, 2])
        ended = began + random.choice([0.5, 1, 3, 6])
        clocks[client] = ended
        kind = random.choice(kinds)
        call = Operation(kind, client, "p", "s", "sync", began, ended)  # type: ignore[arg-type]
        if kind == "add":
            texts = tuple(next(names) for _ in range(random.randint(1, 3)))
            call = replace(call, messages=texts)
        if kind == "last" or (kind == "read" and limited and random.random() < 0.3):
            call = replace(call, count=random.randint(1, 3))
        if kind in ("add", "clear") and random.random() < 0.25:
            call = replace(call, error=UNKNOWN)
        operations.append(call)
        effects += _points(random, number, call)
    state: list[str] = []
    final_effects = sorted(effects)
    for _, number, index in final_effects:
        call = operations[number]
        if call.kind == "add":
            state.append(call.messages[index])
        elif call.kind == "clear":
            state.clear()
        else:
            operations[number] = replace(call, messages=shown(state, call))
    ordered = tuple(sorted(operations, key=lambda call: (call.began, call.ended)))
    return Recording(Meta(), ordered, final={"s": tuple(state)})


def shown(state: list[str] | tuple[str, ...], call: Operation) -> tuple[str, ...]:
    """Return what a read returns in a state."""
    if call.count is None:
        return tuple(state)
    return tuple(state[-call.count :] if call.kind == "last" else state[: call.count])


def _points(random: Random, number: int, call: Operation) -> list[tuple[float, int, int]]:
    high = call.ended
    if call.error:
        if random.random() < 0.3:
            return []
        high = call.ended + random.choice([0.0, 2.0, 10.0, 50.0])
    count = len(call.messages) if call.kind == "add" else 1
    points = sorted(random.uniform(call.began, high) for _ in range(count))
    stored = range(count)
    if call.error and call.kind == "add":
        stored = range(random.randint(0, count))
    return [(points[index], number, index) for index in stored]


def explained(recording: Recording) -> bool:
    """Return whether some order of the calls explains all reads and the final state.

    It tries all orders, so the recording must be small.
    """
    return _Search(recording).found()


class _Search:
    def __init__(self, recording: Recording) -> None:
        self.final = recording.final.get("s")
        # A step is: earliest time, latest time, the call, the message.
        self.steps: list[tuple[float, float, Operation, int]] = []
        for call in recording.operations:
            if call.kind == "add":
                for index in range(len(call.messages)):
                    late = math.inf if call.error else call.ended
                    self.steps.append((call.began, late, call, index))
            elif call.kind == "clear":
                late = math.inf if call.error else call.ended
                self.steps.append((call.began, late, call, 0))
            elif not call.error:
                self.steps.append((call.began, call.ended, call, 0))
        self.seen: set[tuple[int, tuple[str, ...]]] = set()

    def found(self) -> bool:
        return self._from(0, ())

    def _from(self, done: int, state: tuple[str, ...]) -> bool:
        if (done, state) in self.seen:
            return False
        self.seen.add((done, state))
        rest = [number for number in range(len(self.steps)) if not done >> number & 1]
        due = min((self.steps[number][1] for number in rest), default=math.inf)
        if due == math.inf and (self.final is None or state == self.final):
            return True
        for number in rest:
            began, _, call, index = self.steps[number]
            if began > due:
                continue
            after = self._after(call, index, state)
            if after is None:
                continue
            now = done | 1 << number
            if call.kind == "add":
                # A message that an add passed over is never stored.
                for other in rest:
                    _, _, add, before = self.steps[other]
                    if add is call and before < index:
                        if not call.error:
                            break
                        now |= 1 << other
                else:
                    if self._from(now, after):
                        return True
                continue
            if self._from(now, after):
                return True
        return False

    def _after(self, call: Operation, index: int, state: tuple[str, ...]) -> tuple[str, ...] | None:
        if call.kind == "add":
            return (*state, call.messages[index])
        if call.kind == "clear":
            return ()
        return state if shown(state, call) == call.messages else None


class _Mutation:
    """A recording that is changed."""

    def __init__(self, random: Random, recording: Recording) -> None:
        self.random = random
        self.final = list(recording.final["s"])
        self.operations = list(recording.operations)
        self.added = [text for one in self.operations if one.kind == "add" for text in one.messages]
        self.reads = [
            place
            for place, one in enumerate(self.operations)
            if one.kind in ("read", "last") and one.messages
        ]

    def show(self, place: int, messages: Iterable[str]) -> None:
        """Let a read show other messages."""
        self.operations[place] = replace(self.operations[place], messages=tuple(messages))

    def drop(self) -> None:
        """Remove a message everywhere."""
        gone = self.random.choice(self.added or [""])
        self.final = [text for text in self.final if text != gone]
        for place in self.reads:
            self.show(place, (text for text in self.operations[place].messages if text != gone))

    def cut(self) -> None:
        """Remove a message from the final read."""
        if self.final:
            del self.final[self.random.randrange(len(self.final))]

    def double(self) -> None:
        """Store a message twice."""
        self._insert(self.final)

    def bring_back(self) -> None:
        """Store a message that is not there at the end."""
        self._insert([text for text in self.added if text not in self.final])

    def _insert(self, choices: list[str]) -> None:
        if choices:
            place = self.random.randrange(len(self.final) + 1)
            self.final.insert(place, self.random.choice(choices))

    def swap(self) -> None:
        """Swap two messages in the final read, and sometimes in all reads."""
        if len(self.final) < 2:
            return
        number = self.random.randrange(len(self.final) - 1)
        one, other = self.final[number : number + 2]
        swapped = {one: other, other: one}
        self.final = [swapped.get(text, text) for text in self.final]
        for place in self.reads if self.random.random() < 0.5 else ():
            texts = self.operations[place].messages
            if swapped.keys() <= set(texts):
                self.show(place, (swapped.get(text, text) for text in texts))

    def hide(self) -> None:
        """Remove a message from one read."""
        if self.reads:
            place = self.random.choice(self.reads)
            texts = list(self.operations[place].messages)
            del texts[self.random.randrange(len(texts))]
            self.show(place, texts)

    def empty(self) -> None:
        """Let a read show nothing."""
        if self.reads:
            self.show(self.random.choice(self.reads), ())


def mutated(random: Random, recording: Recording) -> Recording:
    """Return a recording with one change that a broken history could make, or with none."""
    one = _Mutation(random, recording)
    random.choice(
        [one.drop, one.cut, one.double, one.bring_back, one.swap, one.swap, one.hide, one.empty]
    )()
    return replace(recording, operations=tuple(one.operations), final={"s": tuple(one.final)})


def consumption(random: Random) -> Recording:
    """Return the recording of right consuming reads: at least once, in order, nothing skipped."""
    operations: list[Operation] = []
    state: list[str] = []
    position, now = 0, 0.0
    for number in range(random.randint(3, 25)):
        now += random.choice([1.0, 2.0])
        what = random.random()
        if what < 0.35:
            texts = tuple(f"m{number}-{index}" for index in range(random.randint(1, 3)))
            error = UNKNOWN if random.random() < 0.2 else None
            stored = texts[: random.randint(0, len(texts))] if error else texts
            state += stored
            operations.append(
                Operation("add", "w", "p", "s", "sync", now, now + 0.5, texts, error=error)
            )
        elif what < 0.42:
            state.clear()
            position = 0
            operations.append(Operation("clear", "c", "p", "s", "sync", now, now + 0.5))
        elif what < 0.6:
            operations.append(
                Operation("read", "r", "p", "s", "sync", now, now + 0.5, tuple(state))
            )
        else:
            count = random.randint(1, 3)
            got = tuple(state[position : position + count])
            fate = random.random()
            call = Operation("consume", "k", "p", "s", "sync", now, now + 0.5, count=count)
            if fate < 0.1:  # It raises and has consumed nothing.
                call = replace(call, error=UNKNOWN)
            elif fate < 0.2:  # It raises and hands its messages over.
                call = replace(call, error=replace(UNKNOWN, messages=got))
                position += random.choice([0, len(got)])
            elif fate < 0.25:  # Its process dies.
                call = replace(call, error=OperationError(NO_END, "", True))
                position += random.choice([0, len(got)])
            elif fate < 0.35:  # Another consumer overlaps, and both get the messages.
                operations.append(replace(call, client="l", began=now + 0.2, messages=got))
                call = replace(call, messages=got)
                position += len(got)
            else:
                call = replace(call, messages=got)
                position += len(got)
            operations.append(call)
    final = {"s": tuple(state)} if random.random() < 0.7 else {}
    ordered = tuple(sorted(operations, key=lambda call: (call.began, call.ended)))
    return Recording(Meta(), ordered, final=final)
