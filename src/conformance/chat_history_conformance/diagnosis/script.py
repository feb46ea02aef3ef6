"""A finding as a standalone script: plain langchain-core and the backend, without this suite."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin, origin_of
from chat_history_conformance.diagnosis.rendering import message_names
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers import clock
from chat_history_conformance.servers import variable

_EXPECT = """
def dump(message):
    if not hasattr(message, "model_dump"):
        return repr(message)
    typed = lambda value: [type(value).__name__, repr(value)]
    data = json.loads(json.dumps(message_to_dict(message), default=typed))
    return json.dumps(data, sort_keys=True)


def expect(returned, expected):
    returned, expected = [dump(m) for m in returned], [dump(m) for m in expected]
    if returned != expected:
        print("expected:", *expected, sep="\\n  ")
        print("returned:", *returned, sep="\\n  ")
        sys.exit({summary})
"""

_CLAIM = """
def claim(holds, otherwise):
    if not holds:
        sys.exit(otherwise)
"""

_REFUSED = '''
def refused(attempt):
    """The exception that the call raised, or None."""
    try:
        attempt()
    except Exception as error:
        print(f"refused: {type(error).__name__}: {error}"[:300])
        return error
'''

_TOGETHER = """
def together(*lanes):
    sys.setswitchinterval(1e-5)
    start, errors = threading.Barrier(len(lanes)), []

    def run(lane):
        start.wait()
        try:
            lane()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[lane]) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
"""

_PLEASE = """
def please(what):
    input(f"Please {what} at {os.environ[VARIABLE]}, then press Enter: ")
"""

_KEPT_IS_THERE = '''
def kept_is_there(returned, kept, unsure):
    """What was acknowledged once and in order, what raised at most once, and nothing else."""
    got = [message.content for message in returned]
    sure = [content for content in got if content not in unsure]
    if sure != kept or any(got.count(content) > 1 for content in unsure):
        print("acknowledged:", *kept, "raised:", *unsure, "returned:", *got, sep="\\n  ")
        sys.exit({summary})
'''

_KEPT = """
kept, unsure = [], []  # what was acknowledged, and what raised and may be stored or not
"""

_GIVE_UP_AFTER = '''
def give_up_after(seconds, summary):
    """End the script where what follows neither returns nor raises."""

    def give_up():
        print(summary, file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
'''

_WAIT = """
wait = asyncio.new_event_loop().run_until_complete
"""

_OPENED = """
async def opened(factory, *arguments):
    history = factory(*arguments)
    if inspect.isawaitable(history):
        history = await history
    if inspect.isasyncgen(history):
        kept_open.append(history)
        return await anext(history)
    if inspect.isgenerator(history):
        kept_open.append(history)
        return next(history)
    if not hasattr(history, "add_messages") and hasattr(history, "__aenter__"):
        return await history.__aenter__()
    if not hasattr(history, "add_messages") and hasattr(history, "__enter__"):
        return history.__enter__()
    return history


kept_open = []
"""

_ELSEWHERE = '''
class Elsewhere:
    """A second process that runs lines of this script's own code."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "elsewhere"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def start(self, code):
        print(json.dumps([nonce, code]), file=self.process.stdin, flush=True)

    def finish(self):
        answer = json.loads(self.process.stdout.readline() or '{"error": "it ended"}')
        if "error" in answer:
            sys.exit(f"in the second process: {answer['error']}")
        return messages_from_dict(answer["messages"])

    def __call__(self, code):
        self.start(code)
        return self.finish()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.__init__()


def answer_elsewhere():
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        globals()["nonce"], code = json.loads(line)
        try:
            try:
                value = eval(compile(code, "elsewhere", "eval"), globals())
            except SyntaxError:
                value = exec(code, globals())
            messages = [message_to_dict(m) for m in value] if isinstance(value, list) else []
            answer = {"messages": messages}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
'''

_ATTEMPTS = 200


def script(
    backend: Backend, label: str, summary: str, steps: Sequence[Step], *, racy: bool = False
) -> str:
    """The source of a script that does `steps` again and ends with an error if the defect shows.

    Args:
        backend: How the history is opened.
        label: The contract and its mode, for the first line.
        summary: What happened; the script says it again.
        steps: What was done, the failing check last.
        racy: Whether the defect depends on timing: the story is told many times then.
    """
    body = [line for step in steps for line in step.source().splitlines()]
    text = "\n".join(body)
    opening = _imports_of(backend, text)
    helpers = _helpers(backend, text, summary)
    used = "\n".join([text, *helpers, *opening])
    names = [name for name in message_names() if re.search(rf"\b{name}\(", text)]
    names += [
        name
        for name in ("message_to_dict", "messages_from_dict")
        if re.search(rf"\b{name}\b", used)
    ]
    modules = [
        "asyncio",
        "importlib.util",
        "inspect",
        "json",
        "os",
        "subprocess",
        "sys",
        "threading",
    ]
    modules += ["time", "uuid", "collections", "decimal", "datetime"]
    imports = [name for name in modules if re.search(rf"\b{name}\.", used) or name == "uuid"]
    lines = [f'"""{_one_line(summary)} - {backend.name}, {label}"""', ""]
    lines += [f"import {name}" for name in imports]
    if names:
        lines += ["", f"from langchain_core.messages import {', '.join(sorted(set(names)))}"]
    lines += ["", *opening, *helpers, ""]
    lines += ["def story():", *(f"    {line}" if line else "" for line in body or ["pass"]), "", ""]
    if "elsewhere(" in text or "elsewhere." in text:
        lines += [
            'if sys.argv[1:] == ["elsewhere"]:',
            "    answer_elsewhere()",
            "    sys.exit()",
            "",
        ]
        lines += ["elsewhere = Elsewhere()"]
    if racy:
        lines += [f"for _ in range({_ATTEMPTS}):  # a race does not show every time"]
        lines += ['    nonce = f"repro{uuid.uuid4().hex[:10]}"', "    story()"]
    else:
        lines += ['nonce = f"repro{uuid.uuid4().hex[:10]}"', "story()"]
    return "\n".join(lines) + "\n"


def opener(backend: Backend, session_id: str, how: str, ttl: tuple[int | None] | None) -> str:
    """The expression that opens a history of `backend` in a script; `session_id` is source."""
    call, arguments = "open_history", session_id
    if ttl is not None:
        call, arguments = "open_with_ttl", f"{session_id}, {ttl[0]!r}"
    if how == "async" or not _is_plain(backend.factory):
        return f"wait(opened({call}, {arguments}))"
    return f"{call}({arguments})"


def id_source(template: str) -> str:
    """The expression of a session id that carries the script's `nonce`."""
    for token, value in (
        ("{uuid}", "str(uuid.uuid5(uuid.NAMESPACE_OID, nonce))"),
        ("{UUID}", "str(uuid.uuid5(uuid.NAMESPACE_OID, nonce)).upper()"),
        ("{uuid-hex}", "uuid.uuid5(uuid.NAMESPACE_OID, nonce).hex"),
    ):
        if token in template:
            return f"{template!r}.replace({token!r}, {value})"
    if "{number}" in template:  # the nonce of a script ends with hexadecimal digits
        return f'{template!r}.replace("{{number}}", str(int(nonce[5:], 16)))'
    if template.startswith("{nonce}") and "{nonce}" not in template[7:]:
        return f"nonce + {template[7:]!r}" if template[7:] else "nonce"
    return f'{template!r}.replace("{{nonce}}", nonce)' if "{nonce}" in template else repr(template)


def _is_plain(factory: Any) -> bool:
    """Whether calling it gives the history itself, as far as can be seen without calling it."""
    shapes = (inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.iscoroutinefunction)
    if any(shape(factory) for shape in shapes):
        return False
    return inspect.isclass(factory) or not hasattr(factory, "__wrapped__")


def _imports_of(backend: Backend, text: str) -> list[str]:
    lines: list[str] = []
    if "open_history" in text or "open_with_ttl" not in text:
        lines += _bind("open_history", backend.origin, f"open {backend.name}")
    if "open_with_ttl" in text:
        on_factory = getattr(backend.factory, "with_ttl", None) is not None
        if on_factory:
            lines += _bind("open_history", backend.origin, f"open {backend.name}")
            lines += ["open_with_ttl = open_history.with_ttl"]
        else:
            origin = origin_of(backend.with_ttl) if backend.with_ttl else None
            lines += _bind("open_with_ttl", origin, f"open {backend.name} with a time to live")
    if re.search(r"\bcorrupt\(", text):
        origin = origin_of(backend.corrupt) if backend.corrupt else None
        lines += _bind("corrupt", origin, "damage the last stored record of a session")
    return list(dict.fromkeys(lines))


def _bind(name: str, origin: Origin | None, purpose: str) -> list[str]:
    if origin is None:
        return [f"{name} = ...  # {purpose}: its factory is a function inside a function"]
    head, _, rest = origin.attribute.partition(".")
    if origin.file is None:
        if not rest:
            renamed = "" if head == name else f" as {name}"
            return [f"from {origin.module} import {head}{renamed}"]
        return [f"from {origin.module} import {head}", f"{name} = {origin.attribute}"]
    return [
        f'spec = importlib.util.spec_from_file_location("declaring", {origin.file!r})',
        "declaring = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(declaring)",
        f"{name} = declaring.{origin.attribute}",
    ]


def _helpers(backend: Backend, text: str, summary: str) -> list[str]:
    wanted: list[str] = []
    if re.search(r"\bwait\(", text):
        wanted.append(_WAIT)
    if re.search(r"\bopened\(", text):
        wanted.append(_OPENED)
    if re.search(r"\bexpect\(", text):
        wanted.append(_EXPECT.replace("{summary}", repr(_one_line(summary))))
    if re.search(r"\bplease\(", text) and backend.server is not None:
        wanted.append(_PLEASE.replace("VARIABLE", repr(variable(backend.server))))
    if re.search(r"\b(kept|unsure)\b", text):
        wanted.append(_KEPT)
    if re.search(r"\bkept_is_there\(", text):
        wanted.append(_KEPT_IS_THERE.replace("{summary}", repr(_one_line(summary))))
    for name, source in (
        ("claim", _CLAIM),
        ("refused", _REFUSED),
        ("together", _TOGETHER),
        ("give_up_after", _GIVE_UP_AFTER),
    ):
        if re.search(rf"\b{name}\(", text):
            wanted.append(source)
    if "elsewhere" in text:
        wanted.append(_ELSEWHERE)
    if "SetClock(" in text:
        wanted.append(
            "\n"
            + inspect.getsource(clock.SetClock)
            .replace("  # type: ignore[no-untyped-def]", "")
            .replace("  # type: ignore[misc, valid-type]", "")
        )
    return list(_spaced(wanted))


def _spaced(sources: Iterable[str]) -> Iterable[str]:
    for source in sources:
        yield ""
        yield source.strip("\n")
        yield ""


def _one_line(text: str) -> str:
    return " ".join(text.replace('"""', "'''").replace("\\", "/").split())
