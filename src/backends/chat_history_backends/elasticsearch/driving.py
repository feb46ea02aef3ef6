"""Carry out the steps of an operation, synchronously or on an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, TransportError

from .answers import check_answer
from .calls import Attempts, Call, Operation, no_connection, no_time
from .clients import is_patient, nodes_of, on_node, with_limit
from .errors import NodeFailedError
from .requests import Pause, Request, Step, Work

__all__ = ["drive", "drive_async"]

T = TypeVar("T")


def drive(operation: Operation[T], client: Elasticsearch) -> T:
    """Carry out an operation and return its result."""
    steps, call = operation.steps, operation.call
    answer: Any = None
    error: Exception | None = None
    while True:
        try:
            wanted = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = error = None
        if isinstance(wanted, Work):
            answer = wanted.do()
        elif isinstance(wanted, Pause):
            answer = wanted.seconds < call.seconds_left
            time.sleep(wanted.seconds if answer else 0)
        else:
            try:
                answer = _send(wanted, call, client)
            except (ApiError, TransportError, NodeFailedError) as failure:
                error = failure


def _send(request: Request, call: Call, client: Elasticsearch) -> Any:
    attempts = Attempts(request, call, is_patient(client) and not request.once, nodes_of(client))
    while True:
        try:
            with _connection(client, call):
                if not call.seconds_left:
                    raise no_time(call)
                limited, seconds = with_limit(client, call, attempts.seconds())
                answer = request.send(on_node(limited, request.node), seconds)
            check_answer(request, answer)
        except (ApiError, TransportError) as failure:
            error, pause = attempts.failed(failure)
            if pause is None:
                raise error from failure.__cause__
            time.sleep(pause)
        else:
            attempts.succeeded(answer)
            return answer


async def drive_async(operation: Operation[T], client: AsyncElasticsearch) -> T:
    """Carry out an operation on the running event loop and return its result."""
    steps, call = operation.steps, operation.call
    answer: Any = None
    error: Exception | None = None
    while True:
        try:
            wanted: Step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = error = None
        if isinstance(wanted, Work):
            answer = await asyncio.to_thread(wanted.do)
        elif isinstance(wanted, Pause):
            answer = wanted.seconds < call.seconds_left
            await asyncio.sleep(wanted.seconds if answer else 0)
        else:
            try:
                answer = await _send_async(wanted, call, client)
            except (ApiError, TransportError, NodeFailedError) as failure:
                error = failure


async def _send_async(request: Request, call: Call, client: AsyncElasticsearch) -> Any:
    attempts = Attempts(request, call, is_patient(client) and not request.once, nodes_of(client))
    while True:
        try:
            if not call.seconds_left:
                raise no_time(call)
            limited, seconds = with_limit(client, call, attempts.seconds())
            answer = await request.send(on_node(limited, request.node), seconds)
            check_answer(request, answer)
        except (ApiError, TransportError) as failure:
            error, pause = attempts.failed(failure)
            if pause is None:
                raise error from failure.__cause__
            await asyncio.sleep(pause)
        else:
            attempts.succeeded(answer)
            return answer


_SLOTS: WeakKeyDictionary[Any, tuple[int, int, threading.Semaphore]] = WeakKeyDictionary()


@contextmanager
def _connection(client: Elasticsearch, call: Call) -> Iterator[None]:
    """Wait until a connection is free, at most until the deadline of the call.

    The client itself would wait without a limit. The asynchronous client has one.
    """
    connections, slots = _slots_of(client)
    if not slots.acquire(timeout=min(call.seconds_left, threading.TIMEOUT_MAX)):
        raise no_connection(call, connections)
    try:
        yield
    finally:
        slots.release()


def _slots_of(client: Elasticsearch) -> tuple[int, threading.Semaphore]:
    transport = client.transport
    owner, connections, slots = _SLOTS.get(transport, (0, 0, threading.Semaphore()))
    if owner != os.getpid():  # a fork may have copied the semaphore while a thread held it
        connections = min(n.config.connections_per_node for n in transport.node_pool.all())
        fresh = (os.getpid(), connections, threading.Semaphore(connections))
        if owner:
            _SLOTS[transport] = fresh
        _, connections, slots = _SLOTS.setdefault(transport, fresh)
    return connections, slots
