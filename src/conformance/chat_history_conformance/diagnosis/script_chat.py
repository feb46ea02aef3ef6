"""A chat with a fake model, for the run and for scripts."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableGenerator
from langchain_core.runnables.history import RunnableWithMessageHistory

__all__ = ["FakeChat"]


class FakeChat:
    """`RunnableWithMessageHistory` on a history, around a model with prepared answers."""

    def __init__(self, history: Any, keyed: bool) -> None:
        self.keyed = keyed
        self.answers: list[BaseMessage] = []
        self.seen: list[Any] = []  # the inputs of the model
        self.chain = RunnableWithMessageHistory(
            RunnableGenerator(self.model, self.amodel),
            lambda session_id: history,
            input_messages_key="question" if keyed else None,
            history_messages_key="history" if keyed else None,
        )
        self.config: Any = {"configurable": {"session_id": "chat"}}

    def model(self, inputs: Iterator[Any]) -> Iterator[BaseMessage]:
        for given in inputs:
            self.seen.append(given)
            yield from self.answers

    async def amodel(self, inputs: AsyncIterator[Any]) -> AsyncIterator[BaseMessage]:
        async for given in inputs:
            self.seen.append(given)
            for answer in self.answers:
                yield answer

    def last_history(self) -> list[BaseMessage]:
        """Return the messages of the last input of the model."""
        given: Any = self.seen[-1]
        return list(given["history"] if self.keyed else given)

    def asked(self, question: list[BaseMessage], answers: list[BaseMessage]) -> Any:
        self.answers[:] = answers
        return {"question": question} if self.keyed else question

    def invoke(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        self.chain.invoke(self.asked(question, answers), self.config)

    async def ainvoke(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        await self.chain.ainvoke(self.asked(question, answers), self.config)

    def stream(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        for _ in self.chain.stream(self.asked(question, answers), self.config):
            pass

    async def astream(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        async for _ in self.chain.astream(self.asked(question, answers), self.config):
            pass
