"""The HTTP interface."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from pydantic import BaseModel, Field

from chat_app.conversations import Conversations
from chat_history_backends.kafka import KafkaChatMessageHistory, KafkaHistoryError

__all__ = ["create_app"]

logger = logging.getLogger(__name__)

UNCHANGED = "The conversation cannot be reached, and nothing was changed. Try again in a moment."
UNKNOWN = (
    "The conversation cannot be reached, and the change may have been made all the same. "
    "Read the conversation before you try again."
)


class Text(BaseModel):
    """A message of the user."""

    text: str = Field(min_length=1, max_length=20_000)


class Message(BaseModel):
    """A message of a conversation."""

    role: Literal["human", "ai"]
    text: str


def create_app(
    bootstrap_servers: str | None = None,
    model: BaseChatModel | None = None,
    timeout_seconds: float = 10.0,
) -> FastAPI:
    """Create the app.

    Args:
        bootstrap_servers: `host:port` of brokers. Defaults to the environment variable
            `KAFKA_BOOTSTRAP_SERVERS`, and to `localhost:9092` without it.
        model: The chat model. Defaults to a fake one.
        timeout_seconds: The time that a request may wait for the brokers in each call.
    """
    servers = bootstrap_servers or os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    answering = model or FakeListChatModel(responses=["I am a fake model.", "Ask me more."])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.conversations = await Conversations.start(servers, timeout_seconds)
        try:
            yield
        finally:
            await app.state.conversations.stop()

    app = FastAPI(title="chat-app", lifespan=lifespan)

    @app.post("/conversations/{conversation_id}/messages")
    async def send(history: OpenHistory, message: Text) -> Message:
        question = HumanMessage(message.text)
        answer = await answering.ainvoke([*await history.aget_messages(), question])
        # One batch, so that no conversation ends with a question whose answer is missing.
        await history.aadd_messages([question, answer])
        return _shown(answer)

    @app.get("/conversations/{conversation_id}")
    async def read(history: OpenHistory) -> list[Message]:
        return [_shown(message) for message in await history.aget_messages()]

    @app.delete("/conversations/{conversation_id}", status_code=204)
    async def clear(history: OpenHistory) -> None:
        await history.aclear()

    @app.exception_handler(KafkaHistoryError)
    async def refuse(request: Request, error: KafkaHistoryError) -> JSONResponse:
        logger.warning("%s %s: %s", request.method, request.url.path, error)  # it names the brokers
        text = UNKNOWN if error.outcome_unknown else UNCHANGED
        return JSONResponse({"detail": text}, status_code=503, headers={"Retry-After": "5"})

    return app


async def _history(
    conversation_id: UUID, request: Request
) -> AsyncIterator[KafkaChatMessageHistory]:
    """Open the history of a request, and close it after the answer."""
    conversations: Conversations = request.app.state.conversations
    async with conversations.open(str(conversation_id)) as history:
        yield history


OpenHistory = Annotated[KafkaChatMessageHistory, Depends(_history)]


def _shown(message: BaseMessage) -> Message:
    return Message(role="human" if message.type == "human" else "ai", text=message.text)
