"""A chat over HTTP with a fake model. Its conversations are in Kafka."""

from chat_app.app import create_app
from chat_app.conversations import Conversations

__all__ = ["Conversations", "create_app"]
