"""What a fresh process does for `bench compare`: describe a side, or measure operations on it.

`python worker.py describe|measure --backend NAME ...` with the Python of a virtual environment. The
measuring suite is the one beside this file, whatever the environment has: both sides of a
comparison are measured by the same code, and only the backend is the side's own.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # A script's own directory comes first in the path, and here lies a `statistics`.
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
    from chat_history_conformance.bench.measure.operations import Operation, Trial
    from chat_history_conformance.declaration.backend import Backend
    from chat_history_conformance.drivers.calls import How

_LEAST = 3
_SLICES = 10
_AT_MOST = 5
"""How many times as long as what is measured the whole may take, with what is done around it."""


class Wrong(Exception):
    """Wrong use; the text says what to do."""


def main() -> int:
    """Do what the command line says; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("describe", "measure"))
    parser.add_argument("--backend", required=True, metavar="NAME")
    parser.add_argument("--directory", type=Path, help="where a conftest.py may declare it")
    parser.add_argument("--operations", default="*", metavar="GLOB,...")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each operation")
    parser.add_argument(
        "--by-turns", action="store_true", help="wait for a line on stdin before each slice"
    )
    parser.add_argument("--processor", type=int, help="the nth of those there are, to stay on")
    options = parser.parse_args()
    # What a backend prints is not part of the answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def turn() -> None:
        print(file=answers, flush=True)
        if not sys.stdin.readline():
            raise Wrong("nobody gives turns any more")
        _stay_on(options.processor)

    _measuring_suite()
    from chat_history_conformance.declaration.errors import DeclarationError
    from chat_history_conformance.execution.workspace import Workspace

    workspace = Workspace()
    try:
        backend = _backend(options.backend, options.directory)
        with workspace.inside():
            if options.what == "describe":
                told = _description(backend)
            else:
                wanted = options.operations.split(",")
                told = _measured(
                    backend, wanted, options.seconds, turn if options.by_turns else lambda: None
                )
    except (Wrong, DeclarationError) as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        workspace.remove()
    print(json.dumps(told), file=answers, flush=True)
    return 0


def _stay_on(processor: int | None) -> None:
    """Run where the other process of the pair runs: no two processors are equally disturbed."""
    if processor is not None and sys.platform == "linux":
        there = sorted(os.sched_getaffinity(0))
        if len(there) > 1:
            os.sched_setaffinity(0, {there[processor % len(there)]})


def _measuring_suite() -> None:
    """Make `chat_history_conformance` the package that this file is in."""
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
    """The side's backend, from its packages, its conftest or its directory."""
    from chat_history_conformance.declaration.origin import Origin
    from chat_history_conformance.declaration.registry import names, resolve

    if directory is not None:
        # Last, so that what is installed is measured, and not its source beside it.
        sys.path.append(str(directory.resolve()))
        conftest = directory.resolve() / "conftest.py"
        if ":" not in name and name not in names() and conftest.exists():
            Origin("conftest", "", str(conftest)).load()
    return resolve(name)


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
        "operations": list(_labelled(backend)),
    }


def _labelled(backend: Backend) -> dict[str, tuple[Operation, How]]:
    """Each operation in each mode that the backend keeps, by its name in ids."""
    from chat_history_conformance.bench.measure.operations import OPERATIONS

    return {
        operation.label(mode): (operation, mode)
        for operation in OPERATIONS.values()
        for mode in backend.modes
    }


def _measured(
    backend: Backend, wanted: list[str], seconds: float, turn: Callable[[], None]
) -> dict[str, Any]:
    from chat_history_conformance.bench.compare.decision import chosen
    from chat_history_conformance.bench.measure.contenders import CannotDo, Contender

    first = Contender(backend, backend.modes[0])
    contenders = {first.how: first}
    measured: dict[str, Any] = {}
    there = _labelled(backend)
    labels = chosen(list(there), wanted)
    if not labels:
        raise Wrong(
            f"no operation of {backend.name} is {' or '.join(wanted)}. There are: "
            f"{', '.join(there)}"
        )
    for label in labels:
        operation, mode = there[label]
        if mode not in contenders:
            contenders[mode] = first.again(mode)
        contender = contenders[mode]
        try:
            measured[label] = _one(operation, contender, seconds, turn)
        except CannotDo:
            continue
    if backend.server is not None and (left := first.remove()):
        print(left, file=sys.stderr)
    for contender in contenders.values():
        contender.stop()
    return {"operations": measured}


def _one(
    operation: Operation, contender: Contender, seconds: float, turn: Callable[[], None]
) -> dict[str, Any]:
    from chat_history_conformance.bench.measure.run import round_trips

    turn()
    with operation.arrange(contender, operation.size) as trial:
        samples = _samples(trial, seconds, turn)
    return {
        # The least, because noise only adds: on a machine with neighbours, times have two heaps,
        # and a quantile is now in the one and now in the other.
        "seconds": min(samples),
        "samples": len(samples),
        # Once, since a comparison takes the least of all its processes.
        "round_trips": round_trips(operation, contender, times=1)[0],
    }


def _samples(trial: Trial, seconds: float, turn: Callable[[], None]) -> list[float]:
    """Its times, until they amount to so many seconds, or it took too long to prepare them.

    Between slices the other process of the pair has its turn: what slows the machine down for a
    while, slows both.
    """
    from chat_history_conformance.bench.measure.operations import collector_off

    trial.timed()
    samples: list[float] = []
    measured = spent = 0.0
    while len(samples) < _LEAST or (measured < seconds and spent < _AT_MOST * seconds):
        turn()
        began = time.perf_counter()
        slice_ends = measured + seconds / _SLICES
        left = _AT_MOST * seconds / _SLICES
        with collector_off():
            while True:
                samples.append(trial.timed())
                measured += samples[-1]
                took = time.perf_counter() - began
                if measured >= slice_ends or took >= left:
                    break
        spent += took
    return samples


if __name__ == "__main__":
    sys.exit(main())
