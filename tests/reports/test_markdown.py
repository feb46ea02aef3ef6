"""Reports as Markdown."""

from __future__ import annotations

import re
from dataclasses import replace

from chat_history_conformance.reports import markdown
from chat_history_conformance.results.model import MODES
from tests.reports.samples import (
    RULES,
    SMALL,
    backend,
    finding,
    full_run,
    plain,
    result,
    run,
    texts,
)

SMALL_MARKDOWN = """\
# Chat history conformance

- `mine`: ❌ **NOT CONFORMANT (without durable)**: 2 of 3 contracts exercised, 1 failed, \
1 not applicable

version 0.1.0, profile ci, seed 0, python 3.11.7, langchain-core 1.8.1, server kafka 4.1.1 (jvm)

| family | `mine` |
|---|---|
| `ordering` | ✗ 1, ✓ 1 |
| `ttl` | – 1 |

✗ failed, – not applicable, ✓ passed

## `mine`

❌ **NOT CONFORMANT (without durable)**: 2 of 3 contracts exercised, 1 failed, 1 not applicable

Not supported:

- `durable`: kept in memory

### Failures

#### lost 1 of 2 messages

`ordering.one_batch[sync]`

1. `A adds Human 'a|b'`
2. `A reads`

```
expected        returned
Human 'a|b'  -
AI '名'         AI '名'
```

<details><summary>Script that reproduces this</summary>

````python
print('```')
````

</details>

> **Rule:** `add_messages([a, b])` on an empty history makes `messages` equal to `[a, b]`, \
whatever the contents, the ids and the wall clock are. \
(langchain\\_core/chat\\_history.py, BaseChatMessageHistory.add\\_messages)

Usual cause: an add returned before the message was stored, a later add replaced it, or a read \
does not return everything

What to do: look into the store after the last add: the message is missing there or only in the read


### Not applicable

- 1 contract: `with_ttl` is not there<br>
  `ttl.never[sync]`
"""


def test_a_small_run_in_markdown() -> None:
    assert markdown.render(SMALL, RULES) == SMALL_MARKDOWN


def test_failures_with_one_cause_appear_once_in_markdown() -> None:
    text = markdown.render(full_run())
    assert text.count("#### 62 failures: `aadd_messages` raises NotImplementedError (other)") == 1
    assert "`clear.empties[async,mixed]`" in text


def test_wide_messages_are_placed_one_below_the_other() -> None:
    wide = finding("altered", expected=("x" * 90, "same"), returned=("y" * 90, "same"))
    text = markdown.render(run(backend("mine", [result("a.b", "failed", finding=wide)])))
    stacked = f"```diff\n--- expected\n+++ returned\n- {'x' * 90}\n+ {'y' * 90}\n  same\n```"
    assert stacked in text


def spelled(number: int) -> str:
    """Return a word for a number, because numbers do not distinguish causes."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def test_the_other_contracts_with_a_cause_have_one_line_each() -> None:
    cause = "`add_messages` raises Gone"
    results = [
        result(
            f"a.{name}", "failed", mode=mode, finding=finding("other", summary=cause, cause=cause)
        )
        for name in ("one", "two")
        for mode in MODES
    ]
    text = markdown.render(run(backend("mine", results)))
    assert "#### 8 failures: `add_messages` raises Gone (other)\n\nSeen in `a.one[sync]`" in text
    assert "The same cause in 1 more contract:\n\n- `a.two[sync,async,mixed,process]`\n" in text
    assert text.count("1. `open handle A") == 1


def test_a_step_of_several_lines_keeps_them_in_markdown() -> None:
    found = finding("lost", steps=("at the same time:\nlane 1: a.messages",))
    text = markdown.render(run(backend("mine", [result("a.b", "failed", finding=found)])))
    assert "1. `at the same time:`<br>`lane 1: a.messages`" in text


def test_markdown_is_shortened_to_fit_a_comment_and_says_so() -> None:
    many = [
        result(
            f"family.contract_{number}",
            "failed",
            finding=finding("other", summary=f"{spelled(number)} went wrong"),
        )
        for number in range(2_000)
    ]
    report = run(backend("mine", many))
    text = markdown.render(report)
    assert len(text) < 65_536
    assert "shortened; the other formats show all of it" in text
    assert re.search(r"^- \d+ more, left out here$", text, re.MULTILINE)
    assert "contract_1999" in markdown.render(report, limit=None)


def test_messages_cannot_add_markup_to_markdown() -> None:
    text = markdown.render(full_run(), RULES)
    fence, prose = "", []
    for line in text.splitlines():
        opening = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif opening:
            fence = opening[0]
        else:
            prose.append(re.sub(r"(`+)(?!`).*?[^`]\1(?!`)", "", line.replace(r"\`", "")))
    assert not fence
    outside = "\n".join(prose)
    assert not re.search(r"(?<!\\)<(?!!-- -->|br>|/?details>|/?summary>)", outside)
    assert not re.search(r"@\w|(?<!^)#\d", outside)
    assert outside.count("<details>") == outside.count("</details>") == text.count("</details>\n")


def test_markdown_shows_every_text_of_the_run() -> None:
    def words(text: str) -> str:
        """Return `text` without the characters that Markdown escapes."""
        return re.sub(r"[^\w<>]|_", "", plain(re.sub("<!-- -->|<br>", "", text)))

    shown = words(markdown.render(full_run(), limit=None))
    missing = [text for text in texts(full_run()) if words(text) not in shown]
    assert not missing


def test_a_rule_links_to_the_page_of_its_contract() -> None:
    address = "https://example.org/contracts/ordering.one_batch/"
    rules = {name: replace(rule, url=address) for name, rule in RULES.items()}
    assert f"> **Rule [`ordering.one_batch`]({address}):** " in markdown.render(SMALL, rules)
    assert "> **Rule:** " in markdown.render(SMALL, RULES)
