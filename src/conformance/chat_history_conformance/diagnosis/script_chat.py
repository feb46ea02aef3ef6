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
            RunnableGenerator(self._model, self._amodel),
            lambda session_id: history,
            input_messages_key="question" if keyed else None,
            history_messages_key="history" if keyed else None,
        )
        self.config: Any = {"configurable": {"session_id": "chat"}}

    def _model(self, inputs: Iterator[Any]) -> Iterator[BaseMessage]:
        for given in inputs:
            self.seen.append(given)
            yield from self.answers

    async def _amodel(self, inputs: AsyncIterator[Any]) -> AsyncIterator[BaseMessage]:
        async for given in inputs:
            self.seen.append(given)
            for answer in self.answers:
                yield answer

    def last_history(self) -> list[BaseMessage]:
        """Return the messages of the last input of the model."""
        given: Any = self.seen[-1]
        return list(given["history"] if self.keyed else given)

    def _asked(self, question: list[BaseMessage], answers: list[BaseMessage]) -> Any:
        self.answers[:] = answers
        return {"question": question} if self.keyed else question

    def invoke(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        """Run one turn."""
        self.chain.invoke(self._asked(question, answers), self.config)

    async def ainvoke(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        """Run one turn asynchronously."""
        await self.chain.ainvoke(self._asked(question, answers), self.config)

    def stream(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        """Run one turn and read the answer as a stream."""
        for _ in self.chain.stream(self._asked(question, answers), self.config):
            pass

    async def astream(self, question: list[BaseMessage], answers: list[BaseMessage]) -> None:
        """Run one turn asynchronously and read the answer as a stream."""
        async for _ in self.chain.astream(self._asked(question, answers), self.config):
            pass
