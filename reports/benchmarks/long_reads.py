"""Measure the memory of a process that iterates over a very long conversation.

python reports/benchmarks/long_reads.py sqlite 1000000
HISTORY_KAFKA=localhost:9092 python reports/benchmarks/long_reads.py kafka 1000000

A first process fills the session. A second one opens it, reads the last 10 messages, and iterates
over all of them. What it prints last: seconds, and the resident memory before and at its peak.
The peak is that of Linux, which counts the buffers of clients in C too.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from chat_history_backends import registered
from chat_history_conformance.bench.measure.payload import PAYLOADS

CHUNK = 1000
MIB = 2**20


def fill(backend: str, session: str, count: int) -> None:
    """Add `count` messages of the mixed conversation."""
    history, payload = getattr(registered, backend)(session), PAYLOADS["mixed"]
    messages = payload.conversation(CHUNK)
    for start in range(0, count, CHUNK):
        history.add_messages(messages[: min(CHUNK, count - start)])


def peak_bytes() -> int:
    """Return the most resident memory since the last `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found
    return int(found[1]) * 1024


def forget_peak() -> None:
    """Let the peak begin at the present memory."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def read(backend: str, session: str, count: int) -> None:
    """Iterate over the session, and print what it took."""
    history = getattr(registered, backend)(session)
    assert len(history.last_messages(10)) == 10
    forget_peak()
    before, started = peak_bytes(), time.monotonic()
    seen = sum(1 for _ in history.iter_messages())
    seconds, peak = time.monotonic() - started, peak_bytes()
    assert seen == count, f"{seen} of {count} messages"
    print(
        f"{backend}: {seen:,} messages in {seconds:.0f} s; {before / MIB:.0f} MiB before, "
        f"{peak / MIB:.0f} MiB at the peak, {(peak - before) / MIB:.0f} MiB more"
    )


def main() -> None:
    """Fill and read in separate processes."""
    parser = argparse.ArgumentParser(description="Iterate over a very long conversation.")
    parser.add_argument("backend", choices=["sqlite", "kafka", "elasticsearch"])
    parser.add_argument("count", type=int)
    parser.add_argument("--step", choices=["fill", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--session", default=f"long-{time.time_ns()}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is None:
        for step in ("fill", "read"):
            again = [sys.executable, __file__, options.backend, str(options.count)]
            subprocess.run([*again, "--step", step, "--session", options.session], check=True)
    elif options.step == "fill":
        fill(options.backend, options.session, options.count)
    else:
        read(options.backend, options.session, options.count)


if __name__ == "__main__":
    main()
