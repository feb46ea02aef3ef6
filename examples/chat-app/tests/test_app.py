"""The app over HTTP, on a real broker."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from chat_app import create_app
from chat_app.app import UNCHANGED, UNKNOWN
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage
from pydantic import Field

from chat_history_conformance.servers import launcher

pytestmark = pytest.mark.anyio


class Recording(FakeListChatModel):
    """A fake model that remembers the texts of the conversation that it was asked about."""

    asked: list[list[str]] = Field(default_factory=list)

    def _call(self, messages: list[BaseMessage], *args: object, **kwargs: object) -> str:
        self.asked.append([message.text for message in messages])
        return super()._call(messages, *args, **kwargs)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Start the app and return a client for it. httpx does not run the lifespan by itself."""
    async with app.router.lifespan_context(app):
        async with AsyncClient(transport=ASGITransport(app), base_url="http://app") as client:
            yield client


def new_conversation() -> str:
    return f"/conversations/{uuid4()}"


async def send(client: AsyncClient, conversation: str, text: str) -> str:
    answer = await client.post(f"{conversation}/messages", json={"text": text})
    assert answer.status_code == 200, answer.text
    return answer.json()["text"]


async def read(client: AsyncClient, conversation: str) -> list[tuple[str, str]]:
    answer = await client.get(conversation)
    assert answer.status_code == 200, answer.text
    return [(message["role"], message["text"]) for message in answer.json()]


async def test_a_conversation_is_answered_kept_and_cleared(bootstrap_servers: str) -> None:
    model = Recording(responses=["One.", "Two."])
    conversation = new_conversation()
    turns = [("human", "first"), ("ai", "One."), ("human", "second"), ("ai", "Two.")]
    async with running(create_app(bootstrap_servers, model)) as client:
        assert await read(client, conversation) == []
        assert await send(client, conversation, "first") == "One."
        assert await send(client, conversation, "second") == "Two."
        assert await read(client, conversation) == turns
    assert model.asked == [["first"], ["first", "One.", "second"]]
    async with running(create_app(bootstrap_servers)) as client:  # as after a restart
        assert await read(client, conversation) == turns
        assert (await client.delete(conversation)).status_code == 204
        assert await read(client, conversation) == []


async def test_conversations_are_separate(bootstrap_servers: str) -> None:
    async with running(create_app(bootstrap_servers)) as client:
        one, other = new_conversation(), new_conversation()
        await asyncio.gather(*(send(client, path, path) for path in (one, other)))
        for path in (one, other):
            assert (await read(client, path))[0] == ("human", path)


@pytest.mark.parametrize("text", ["", "x" * 20_001, None])
async def test_an_unusable_message_is_refused(bootstrap_servers: str, text: str | None) -> None:
    async with running(create_app(bootstrap_servers)) as client:
        answer = await client.post(f"{new_conversation()}/messages", json={"text": text})
        assert answer.status_code == 422
        assert (await client.get("/conversations/not-a-uuid")).status_code == 422


async def test_without_a_broker_the_answer_says_what_to_do() -> None:
    threads = number_of_threads() if sys.platform == "linux" else 0
    with launcher.start("kafka", "jvm", announce=print) as broker:
        app = create_app(broker.address, timeout_seconds=2.0)
        async with running(app) as client:
            conversation = new_conversation()
            await send(client, conversation, "hello")
            before = await read(client, conversation)
            broker.kill()
            longest, answer = await longest_pause_during(client.get(conversation))
            assert answer.status_code == 503
            assert answer.json() == {"detail": UNCHANGED}
            assert broker.address not in answer.text
            assert longest < 1.0  # other requests were served meanwhile
            answer = await client.delete(conversation)
            assert (answer.status_code, answer.json()) in [
                (503, {"detail": text}) for text in (UNCHANGED, UNKNOWN)
            ]
            await asyncio.to_thread(broker.restart)
            assert await read(client, conversation) in ([], before)
            await send(client, conversation, "are you back?")
    if sys.platform == "linux":
        # asyncio keeps as many threads as it made calls at the same time.
        await asyncio.get_running_loop().shutdown_default_executor()
        assert number_of_threads() <= threads + 1


async def longest_pause_during(request):
    """Await a request, and return the longest time for which the event loop was busy."""
    task = asyncio.ensure_future(request)
    longest, before = 0.0, time.monotonic()
    while not task.done():
        await asyncio.sleep(0.01)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    return longest, task.result()


def number_of_threads() -> int:
    """Count the threads of this process, those of librdkafka included."""
    return len(os.listdir("/proc/self/task"))
