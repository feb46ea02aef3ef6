"""The script of the processes of `bench compare`: describe a backend, or measure its operations.

    python worker.py describe|measure --backend NAME ...

The Python is that of the version's environment. The suite is the one that holds this file, so that
the same code measures both versions. The backends come from the environment.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Python puts this directory first in the path, and other modules could hide standard ones.
    del sys.path[0]

import argparse
import importlib.util
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chat_history_conformance.bench.measure.contenders import Contender
    from chat_history_conformance.bench.measure.operations import Operation
    from chat_history_conformance.bench.measure.trials import Trial
    from chat_history_conformance.declaration.backend import Backend
    from chat_history_conformance.drivers.calls import How

__all__ = ["WorkerUsageError", "main"]

_MIN_SAMPLES = 3
_SLICES = 10
_MAX_OVERHEAD = 5
"""The longest duration with all preparations, as a multiple of the measured time."""


class WorkerUsageError(Exception):
    """A wrong option of this script. The text says what to do."""


def main() -> int:
    """Run the command line and print one JSON object. Return the exit status."""
    options = _parser().parse_args()
    # The output of a backend must not become part of the answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def wait_for_slice() -> None:
        print(file=answers, flush=True)
        if not sys.stdin.readline():
            raise WorkerUsageError("the comparison has ended")
        _stay_on(options.processor)

    _import_this_suite()
    from chat_history_conformance.declaration.errors import DeclarationError
    from chat_history_conformance.execution.workspace import Workspace

    workspace = Workspace()
    try:
        backend = _backend(options.backend, options.directory)
        with workspace.inside():
            if options.command == "describe":
                answer = _description(backend)
            else:
                wait = wait_for_slice if options.interleaved else lambda: None
                answer = _measure(backend, options.operations.split(","), options.seconds, wait)
    except (WorkerUsageError, DeclarationError) as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        workspace.remove()
    print(json.dumps(answer), file=answers, flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("describe", "measure"))
    parser.add_argument("--backend", required=True, metavar="NAME")
    parser.add_argument("--directory", type=Path, help="the directory of a conftest.py")
    parser.add_argument("--operations", default="*", metavar="GLOB,...")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each operation")
    parser.add_argument(
        "--interleaved", action="store_true", help="wait for a line on stdin before each slice"
    )
    parser.add_argument("--processor", type=int, help="the number of the processor to run on")
    return parser


def _stay_on(processor: int | None) -> None:
    """Run on the processor of the other process, because no two are disturbed equally."""
    if processor is not None and sys.platform == "linux":
        available = sorted(os.sched_getaffinity(0))
        if len(available) > 1:
            os.sched_setaffinity(0, {available[processor % len(available)]})


def _import_this_suite() -> None:
    """Import the package that holds this file as `chat_history_conformance`."""
    home = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "chat_history_conformance", home / "__init__.py", submodule_search_locations=[str(home)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chat_history_conformance"] = module
    spec.loader.exec_module(module)


def _backend(name: str, directory: Path | None) -> Backend:
    """Return the version's backend, from its packages, its conftest.py or its directory."""
    from chat_history_conformance.declaration.origin import Origin
    from chat_history_conformance.declaration.parameters import published
    from chat_history_conformance.declaration.registry import names, resolve

    if directory is not None:
        # Last in the path: the installed package is measured, not the source in the directory.
        sys.path.append(str(directory.resolve()))
        conftest = directory.resolve() / "conftest.py"
        if ":" not in name and name not in names() and conftest.exists():
            Origin("conftest", "", str(conftest)).load()
    found = resolve(name)
    return found.bind(published(found.name))


def _description(backend: Backend) -> dict[str, Any]:
    packages = {found.metadata["Name"]: found.version for found in distributions()}
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "packages": {name: packages[name] for name in sorted(packages)},
        "server": backend.server,
        "operations": list(_operations(backend)),
    }


def _operations(backend: Backend) -> dict[str, tuple[Operation, How]]:
    """Return each operation in each mode of the backend, by its label."""
    from chat_history_conformance.bench.measure.operations import OPERATIONS

    # Each process would have to prepare an optional operation again, which takes too long.
    return {
        operation.label(mode): (operation, mode)
        for operation in OPERATIONS.values()
        for mode in backend.modes
        if not operation.is_optional
    }


def _measure(
    backend: Backend, patterns: list[str], seconds: float, wait: Callable[[], None]
) -> dict[str, Any]:
    from chat_history_conformance.bench.compare.decision import matching
    from chat_history_conformance.bench.measure.contenders import Contender, NotSupported

    first = Contender(backend, backend.modes[0])
    contenders = {first.mode: first}
    measured: dict[str, Any] = {}
    operations = _operations(backend)
    labels = matching(list(operations), patterns)
    if not labels:
        raise WorkerUsageError(
            f"no operation of {backend.name} matches {' or '.join(patterns)}. There are: "
            f"{', '.join(operations)}"
        )
    for label in labels:
        operation, mode = operations[label]
        if mode not in contenders:
            contenders[mode] = first.with_same_sessions(mode)
        try:
            measured[label] = _measure_one(operation, contenders[mode], seconds, wait)
        except NotSupported:
            continue
    if backend.server is not None and (left := first.remove_sessions()):
        print(left, file=sys.stderr)
    for contender in contenders.values():
        contender.stop()
    return {"operations": measured}


def _measure_one(
    operation: Operation, contender: Contender, seconds: float, wait: Callable[[], None]
) -> dict[str, Any]:
    from chat_history_conformance.bench.measure.run import count_round_trips

    wait()
    with operation.prepared(contender, operation.size) as trial:
        samples = _samples(trial, seconds, wait)
    return {
        # The minimum, because noise only adds. On a machine with neighbours the times have two
        # peaks, and a quantile would fall now into the one and now into the other.
        "seconds": min(samples),
        "samples": len(samples),
        # Once, because a comparison takes the minimum of all processes.
        "round_trips": count_round_trips(operation, contender, times=1)[0],
    }


def _samples(trial: Trial, seconds: float, wait: Callable[[], None]) -> list[float]:
    """Return times in seconds, until their sum reaches `seconds` or preparing them took too long.

    The other process of the pair works between two slices. If the machine is slow for a while, it
    is slow for both.
    """
    from chat_history_conformance.bench.measure.trials import collector_off

    trial.time()
    samples: list[float] = []
    measured = spent = 0.0
    while len(samples) < _MIN_SAMPLES or (measured < seconds and spent < _MAX_OVERHEAD * seconds):
        wait()
        began = time.perf_counter()
        slice_ends = measured + seconds / _SLICES
        slice_limit = _MAX_OVERHEAD * seconds / _SLICES
        with collector_off():
            while True:
                samples.append(trial.time())
                measured += samples[-1]
                took = time.perf_counter() - began
                if measured >= slice_ends or took >= slice_limit:
                    break
        spent += took
    return samples


if __name__ == "__main__":
    sys.exit(main())
