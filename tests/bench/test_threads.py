"""Test of the threads of the Kafka history, those of its client in C included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chat_history_conformance.servers.server import Server

TASKS = Path("/proc/self/task")

PROGRAM = """
import json, time
from pathlib import Path

from langchain_core.messages import HumanMessage

from chat_history_backends.kafka import KafkaChatMessageHistory
from chat_history_conformance.servers import address

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

before = threads()
handles, counts = [], {}
for number in range(50):
    handle = KafkaChatMessageHistory(f"test-of-threads-{number}", address("kafka"), reads="replay")
    handle.add_messages([HumanMessage("one")])
    assert len(handle.messages) == 1
    handles.append(handle)
    counts.setdefault("one", threads() - before)
counts["fifty"] = threads() - before
for handle in handles:
    handle.close()
until = time.monotonic() + 10  # an ending thread needs a moment
while threads() > before and time.monotonic() < until:
    time.sleep(0.01)
counts["closed"] = threads() - before
print(json.dumps(counts))
"""


@pytest.mark.skipif(not TASKS.is_dir(), reason="this system does not list the threads of a process")
def test_kafka_handles_share_their_threads_and_leave_none_after_close(kafka: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **kafka.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["one"] > 0
    assert counts["fifty"] == counts["one"]
    assert counts["closed"] == 0
