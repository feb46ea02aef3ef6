"""The guides for Kafka and Elasticsearch name everything that the replaced classes have."""

from __future__ import annotations

import importlib
import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain_core.chat_history import BaseChatMessageHistory

DOCS = Path(__file__).parents[2] / "docs"
COMMUNITY = "langchain_community.chat_message_histories"
ELASTIC = "langchain_elasticsearch"


def members_of(package: str, name: str) -> set[str]:
    """Return the arguments of a class, and the public names that langchain-core does not define."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # langchain-community warns of its end
        replaced: Any = getattr(importlib.import_module(package), name)
    own = {
        key for one in replaced.__mro__ for key in vars(one) if one.__module__[:5] == ELASTIC[:5]
    }
    public = {key for key in own if not key.startswith("_")} - set(dir(BaseChatMessageHistory))
    return public | set(inspect.signature(replaced).parameters)


@pytest.mark.parametrize(
    ("page", "package", "name", "one"),
    [
        ("kafka.md", COMMUNITY, "KafkaChatMessageHistory", "messages_from_latest"),
        ("elasticsearch.md", COMMUNITY, "ElasticsearchChatMessageHistory", "get_user_agent"),
        ("elasticsearch.md", ELASTIC, "ElasticsearchChatMessageHistory", "get_messages"),
        ("elasticsearch.md", ELASTIC, "AsyncElasticsearchChatMessageHistory", "create_if_missing"),
    ],
)
def test_the_guide_names_every_argument_and_method_of_the_replaced_class(
    page: str, package: str, name: str, one: str
) -> None:
    text = (DOCS / page).read_text("utf-8")
    tables = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    members = members_of(package, name)
    assert {one, "session_id"} <= members
    assert not {member for member in members if f"`{member}" not in tables}
