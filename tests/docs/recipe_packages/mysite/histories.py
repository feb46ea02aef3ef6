"""A chat history that uses the ORM of Django."""

import json
from collections.abc import Sequence

from django.db import transaction
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from mysite.models import StoredMessage


class DjangoHistory(BaseChatMessageHistory):
    """A conversation in the table of `StoredMessage`. Its asynchronous methods use a thread."""

    def __init__(self, session_id: str) -> None:
        self._session = json.dumps(session_id)

    @property
    def messages(self) -> list[BaseMessage]:
        rows = StoredMessage.objects.filter(session=self._session).order_by("id")
        return messages_from_dict(
            [json.loads(text) for text in rows.values_list("text", flat=True)]
        )

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        texts = [json.dumps(message_to_dict(message)) for message in messages]
        with transaction.atomic():
            StoredMessage.objects.bulk_create(
                StoredMessage(session=self._session, text=text) for text in texts
            )

    def clear(self) -> None:
        StoredMessage.objects.filter(session=self._session).delete()
