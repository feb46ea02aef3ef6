"""Check the language of docstrings, comments, messages, test names and documentation.

    python tools/plain_english.py [--counts] PATH ...

Prints each place that uses a word or an opening from the lists below, and ends with status 1 if
there is one. `tests/docs/test_language.py` runs it over the whole project. The rules are explained
in CONTRIBUTING.md. A line that needs such a word ends with `# plain: why`, or in Markdown with
`<!-- plain: why -->`.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Problem", "check", "files_below", "main", "prose_of", "rates"]

INSTEAD = {
    r"told|tells?|telling": "report, print, show",
    r"besides?": "next to, in addition to",
    r"anew": "again",
    r"by turns": "alternately, interleaved",
    r"nobody|whoever|whomever|wherever|whichever": "name the subject",
    r"(?:gives?|given|giving|gave) up": "does not support, opts out of, stops waiting",
    r"informs": "is reported but does not fail the run",
    r"(?<!there )(?:is|are|was|were) none": "is not one",
    r"(?<!there )(?:is|are|was|were) no (?!longer|more|less|one\b|better|worse)\w+": "is not a",
    r"stands?(?! for\b)|stood": "is, appears",
    r"of (?:its|their|his|her|your|our|my) own": "its own ..., separate",
    r"in (?:the )?place of": "instead of",
    r"lest|hence|thereof|therein|whence|thither|hitherto": "use a plain word",
    r"for want of": "without",
    r"is had|are had|to be had": "is available",
    r"mend(?:s|ed|ing)?": "fix",
    r"foreseen|beforehand": "use a plain word",
}
"""Words to avoid, as regular expressions, each with what to write instead."""

OPENINGS = re.compile(r"(?:What|Where|Who|Whose|How|Whether|Whatever)\b")
"""Words that a docstring does not begin with: a verb or a noun does."""

_WORDS = [
    (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), instead)
    for pattern, instead in INSTEAD.items()
]
_ALLOWED = re.compile(r"(?:#|<!--) ?plain: \w")


class Prose(NamedTuple):
    """A piece of text that people read."""

    line: int
    text: str
    kind: str  # "docstring", "comment", "message", "name" or "page"


class Problem(NamedTuple):
    """A word or an opening to avoid."""

    path: str
    line: int
    text: str
    advice: str


def prose_of(path: Path) -> Iterator[Prose]:
    """Yield what people read in a Python or Markdown file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from _prose_of_page(source)
        return
    tree = ast.parse(source)
    docstrings = list(_docstrings(tree))
    for constant in docstrings:
        yield Prose(constant.lineno, str(constant.value), "docstring")
    known = {id(constant) for constant in docstrings}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in known and " " in node.value.strip():
                yield Prose(node.lineno, node.value, "message")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            yield Prose(node.lineno, node.name.replace("_", " "), "name")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Prose(token.start[0], token.string.lstrip("# "), "comment")


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield every string that is a statement: it documents a module, a class or a constant."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for first in body if isinstance(body, list) else []:
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value


def _prose_of_page(source: str) -> Iterator[Prose]:
    """Yield the lines of a page; code blocks hold code and output, not prose."""
    fenced = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield Prose(number, re.sub(r"`[^`]*`", "`code`", line), "page")


def check(path: Path) -> Iterator[Problem]:
    """Yield the problems of one file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for prose in prose_of(path):
        opens = prose.kind == "docstring" and OPENINGS.match(prose.text.lstrip())
        if opens and not _ALLOWED.search(lines[prose.line - 1]):
            first = prose.text.strip().splitlines()[0]
            yield Problem(str(path), prose.line, first, "begin with a verb or a noun")
        for offset, text in enumerate(prose.text.splitlines()):
            number = prose.line + offset
            if number <= len(lines) and _ALLOWED.search(lines[number - 1]):
                continue
            for word, instead in _WORDS:
                for found in word.finditer(text):
                    yield Problem(str(path), number, text.strip(), f"{found.group()!r}: {instead}")


def rates(paths: Iterable[Path]) -> dict[str, float]:
    """Count "where" and "what is" in 10,000 words of docstrings and comments."""
    words, counts = 0, {"where": 0, "what is": 0}
    patterns = {
        "where": re.compile(r"\bwhere\b", re.IGNORECASE),
        "what is": re.compile(r"\bwhat (?:is|was|it|the)\b", re.IGNORECASE),
    }
    for path in paths:
        for prose in prose_of(path):
            if prose.kind in ("docstring", "comment"):
                words += len(prose.text.split())
                for name, pattern in patterns.items():
                    counts[name] += len(pattern.findall(prose.text))
    return {name: 10_000 * count / max(words, 1) for name, count in counts.items()}


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the Python and Markdown files in `paths`, directories read recursively."""
    for path in paths:
        if path.is_dir():
            yield from sorted([*path.rglob("*.py"), *path.rglob("*.md")])
        else:
            yield path


def main(arguments: list[str] | None = None) -> int:
    """Print the problems of the named files and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--counts", action="store_true", help="print the problems per file")
    options = parser.parse_args(arguments)
    files = list(files_below(options.paths))
    count = 0
    for file in files:
        problems = list(check(file))
        count += len(problems)
        if options.counts and problems:
            print(f"{len(problems):5} {file}")
        elif not options.counts:
            for problem in problems:
                print(f"{problem.path}:{problem.line}: {problem.advice}\n    {problem.text[:120]}")
    code = [file for file in files if file.suffix == ".py"]
    shown = ", ".join(f"{name!r} {rate:.0f}" for name, rate in rates(code).items())
    print(f"{count} problems in {len(files)} files; in 10,000 words: {shown}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
