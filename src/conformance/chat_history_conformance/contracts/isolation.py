"""Isolation: histories with different session ids share nothing.

One rule applies to all ids. A history keeps two ids apart, or refuses one of them with an error
before it stores anything: when the handle is opened, or when the first message is added. After a
history has accepted a message under an id, the message can be read and cleared under that id.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import (
    ASYNC,
    ENUMERATED,
    HANDLES,
    SYNC,
    contract,
)
from chat_history_conformance.contracts.ordering import FAMILIAR, of_this_example
from chat_history_conformance.diagnosis.script_claims import are_no_files
from chat_history_conformance.execution.profiles import PROFILES
from chat_history_conformance.execution.session import Handle, Session

Pair = tuple[str, str]

_EXAMPLE = (
    "langchain_core/chat_history.py, BaseChatMessageHistory: the example keeps one file for each "
    "session_id"
)
_APART = (
    "The history either keeps such ids apart, or refuses one of them with an error before anything "
    "is stored."
)


def _accepted(s: Session, ids: Iterable[str]) -> list[Handle]:
    """Open a handle for each id that is not refused, and add a message to each."""
    handles: list[Handle] = []
    for number, session in enumerate(ids):
        # One after the other, so that a history that loads when it is opened finds other messages.
        handle, _ = s.try_open(session)
        if handle is not None and handle.try_add([HumanMessage(f"m{number}")]) is None:
            handles.append(handle)
    return handles


def _are_kept_apart(s: Session, pairs: Sequence[Pair]) -> None:
    handles = _accepted(s, dict.fromkeys(session for pair in pairs for session in pair))
    for handle in handles:
        handle.reads_back()
    if handles:
        handles[0].clear()
    for handle in handles:
        handle.reads_back()


def _paired(session: str, *others: str) -> list[Pair]:
    """Pair `session` with each of `others`, each id after the nonce of the example."""
    return [(f"{{nonce}}{session}", f"{{nonce}}{other}") for other in others]


def _long(*ends: str) -> list[Pair]:
    """Pair long ids with these ends; some stores keep a digest of a long id."""
    return _paired(*(f"-{'x' * 80}{end}" for end in ends))


_COLLIDING = ("plumless", "buckeroo", "AaAa", "BBBB", "AaBB", "ab", "ba")
"""Ids of which some have one CRC-32, one `String.hashCode` of Java, or one sum of characters."""


@contract(
    "isolation.distinct_ids",
    rule="Histories with different session ids never share a message, and clearing one of them "
    "does not change another.",
    source=f"{_EXAMPLE}; a session id identifies one conversation",
    cause="Messages are kept in an object that does not depend on the session id: a global list, "
    "a class attribute, a mutable default argument, or one cached history for all sessions. Or "
    "the key is a short hash of the id.",
    remedy="Make the whole session id part of the key of every read, write and deletion.",
    seen="dapr/dapr-agents#196: concurrent runs all write one shared session; "
    "langchain-ai/langchain#10764: a list as a class attribute",
    modes=HANDLES,
    program=st.tuples(
        st.lists(
            st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8),
            min_size=2,
            max_size=4,
            unique=True,
        ),
        st.integers(1, 2),
        strategies.some_of(_COLLIDING),
    ),
)
def different_session_ids_share_nothing(
    s: Session, program: tuple[list[str], int, list[str]]
) -> None:
    ids, rounds, colliding = program
    handles = [s.open(f"{{nonce}}-{session}") for session in dict.fromkeys([*ids, *colliding])]
    for turn in range(rounds):
        for number, handle in enumerate(handles):
            handle.add([HumanMessage(f"m{turn * len(handles) + number}")])
    for handle in handles:
        handle.reads_back()
    handles[0].clear()
    for handle in handles:
        handle.reads_back()


@contract(
    "isolation.same_messages",
    since="0.2",
    rule="The same messages, with the same ids, can be added to several sessions. Each session "
    "keeps them, and clearing one of the sessions does not remove them from another.",
    source=f"{_EXAMPLE}; applications copy a conversation into another session, to fork it or to "
    "try again",
    cause="The key of a stored message is its own id, and the key does not contain the session.",
    remedy="Make the session id part of the key of every message, or use a key of the store.",
    seen="lobehub/lobehub#6385 and vellum-ai/vellum-assistant#32407: ON CONFLICT DO NOTHING on "
    "the id of the message",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(FAMILIAR),
    examples=ENUMERATED,
)
def several_sessions_can_hold_the_same_messages(s: Session, messages: list[BaseMessage]) -> None:
    handles = [s.open(f"{{nonce}}-{number}") for number in range(2)]
    for handle in handles:
        handle.add([of_this_example(s, message) for message in messages])
    for handle in handles:
        handle.reads_back()
    handles[0].clear()
    for handle in handles:
        handle.reads_back()


_GROUPS, _PER_GROUP, _LANES = 4, 32, 8
_SESSIONS = _GROUPS * _PER_GROUP


@contract(
    "isolation.many_sessions",
    since="0.2",
    rule=f"Writing to many other sessions removes no message of a session (tested with "
    f"{_SESSIONS}, in profile ci with {_SESSIONS * PROFILES['ci'].effort}).",
    source=f"{_EXAMPLE}; a server has one session for each conversation of each user",
    cause="Conversations are kept in a cache of a fixed number of sessions. The session that was "
    "used least recently is dropped, and it is stored nowhere else.",
    remedy="Store every session before the add returns, and read it again if it is not cached.",
    seen="nesquena/hermes-webui#5357 and ai-dynamo/aiperf#1325: a cache of a fixed number of "
    "sessions; pallets-eco/flask-caching#312: writes remove others if there are more than 500",
    needs=("shared",),
    modes=(SYNC, ASYNC),
    examples=1,
)
def writing_to_many_sessions_removes_no_messages(s: Session, _: None) -> None:
    s.open("{nonce}-first").add([HumanMessage("m0"), HumanMessage("m1")])
    for _group in range(_GROUPS * s.effort):
        s.write_sessions(_PER_GROUP, _LANES, [HumanMessage("m0")])
    s.open("{nonce}-first").reads_back()
    for number in range(0, _SESSIONS * s.effort, _PER_GROUP):
        s.open(f"{{nonce}}-{number}").reads_back()


@contract(
    "isolation.case",
    rule=f"Session ids that differ only in upper and lower case are different ids. {_APART}",
    source=f"{_EXAMPLE}; `str` distinguishes upper and lower case",
    cause="A column has a case-insensitive collation, a file system ignores case, or a store "
    "allows only lower-case names.",
    remedy="Use a binary collation, or encode upper-case letters, or refuse such ids.",
    seen="alexedwards/scs#226: MySQL's default collation makes tokens that differ in case equal",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            *_paired("-chat", "-Chat", "-CHAT"),
            *_paired("-σας", "-ΣΑΣ"),
            *_paired("-ß", "-ẞ", "-ss"),
            *_long("chat", "CHAT"),
        ]
    ),
    examples=ENUMERATED,
)
def ids_that_differ_in_case_are_kept_apart(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


@contract(
    "isolation.uuid_spellings",
    rule="Session ids that spell one UUID in different ways (upper case, without hyphens, in "
    f"braces, as a URN) are different ids. {_APART}",
    source=f"{_EXAMPLE}; `str` compares characters",
    cause="The id is kept in a column of type UUID, or is converted to a UUID on the way.",
    remedy="Keep the id as text, or accept one spelling and refuse the others.",
    seen="langchain-postgres 0.0.19: session_id is a column of type UUID",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            ("{uuid}", spelling)
            for spelling in ("{UUID}", "{uuid-hex}", "{{uuid}}", "urn:uuid:{uuid}")
        ]
    ),
)
def ids_that_spell_one_uuid_are_kept_apart(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


@contract(
    "isolation.normalisation",
    rule="Session ids that look or sort alike but consist of different characters are different "
    "ids: composed and decomposed accents, letters with and without accents, full-width and "
    f"narrow characters, ligatures. {_APART}",
    source=f"{_EXAMPLE}; `str` compares code points",
    cause="A collation ignores accents or width, or a file system or a client normalises names.",
    remedy="Use a binary collation, or encode characters outside ASCII, or refuse them.",
    seen="convention: MySQL's utf8mb4 default collation ignores accents, and HFS+ decomposes names",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            *_paired("-caf\u00e9", "-cafe\u0301", "-cafe"),
            *_paired("-\uff11", "-1"),
            *_paired("-\ufb01", "-fi"),
            *_paired("-\u212b", "-\u00c5", "-A"),
            *_paired("-\uac00", "-\u1100\u1161"),
            *_long("caf\u00e9", "cafe\u0301", "cafe"),
            *_long("\uff11", "1"),
        ]
    ),
    examples=ENUMERATED,
)
def ids_that_look_alike_are_kept_apart(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


@contract(
    "isolation.surrounding_blanks",
    rule="Session ids that differ in leading or trailing spaces, tabs or line ends are different "
    f"ids. {_APART}",
    source=f"{_EXAMPLE}; `str` compares whitespace too",
    cause="Ids are stripped, or compared by SQL's rule that ignores trailing spaces.",
    remedy="Use the id unchanged (in SQL, in a binary column), or refuse such ids.",
    seen="openai/openai-agents-python#4741: trailing spaces under MySQL's PAD SPACE collations",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            *_paired("-a", "-a ", "-a  ", "-a\t", "-a\n", "-a\u00a0", "-a\u3000"),
            ("{nonce}-a", " {nonce}-a"),
            ("{nonce}-a", "\n{nonce}-a"),
            *_long("a", "a ", "a\n"),
        ]
    ),
    examples=ENUMERATED,
)
def whitespace_around_an_id_is_part_of_it(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


@contract(
    "isolation.punctuation",
    rule="Session ids that differ only in punctuation are different ids, and so are an id and its "
    f"URL-escaped form. {_APART}",
    source=f"{_EXAMPLE}; `str` distinguishes punctuation",
    cause="Characters that a store does not allow are dropped, or all replaced by the same "
    "character.",
    remedy="Encode such characters one to one (percent signs, hexadecimal), or refuse them.",
    seen="langchain-community 0.4.2, chat_message_histories/singlestoredb.py and "
    "langchain-singlestore 1.7.0: every character except letters, digits and underscores is "
    "removed",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            *_paired("a.b", "a_b", "a-b", "a:b", "a/b", "ab", "a b", "a%2Eb"),
            *_paired("a b", "a+b", "a%20b"),
            *_paired("a'b", "a''b", "a\\'b"),
            *_long("a.b", "a_b", "a b"),
        ]
    ),
    examples=ENUMERATED,
)
def ids_that_differ_in_punctuation_are_kept_apart(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


_PATTERNS = [
    *[("{nonce}-ab", f"{{nonce}}-{pattern}") for pattern in ("*", "%", "??", "__", "a_", "a[ab]")],
    *[("{nonce}-ab", f"{{nonce}}-{pattern}") for pattern in (".*", "a.", "ab$", "a\\b", "(ab)")],
    ("{nonce}-ab", "^{nonce}-ab"),
    ("{nonce}-ab", "{nonce}-x|{nonce}-ab"),
]
"""Pairs of an id and a second id that matches the first if it is used as a pattern."""


@contract(
    "isolation.patterns",
    rule="A session id is not a pattern. `*`, `?`, `%`, `_`, brackets, anchors and backslashes "
    "are ordinary characters in it, and reading such a session returns no messages of other "
    f"sessions. {_APART}",
    source=f"{_EXAMPLE}; a session id is a name",
    cause="The id is put into LIKE, GLOB, SCAN, KEYS, a regular expression or a query string.",
    remedy="Compare ids for equality. If the store offers only a pattern, escape the id.",
    seen="NousResearch/hermes-agent#79722: wildcards in a LIKE filter matched other sessions",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(_PATTERNS),
    examples=ENUMERATED,
)
def an_id_is_not_a_pattern(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


_PREFIXES = _paired("-1", "-10", "-1-1", "-1:messages", "-1:1", "-1#0", "-1.1", "-1_1", "-1|1")
"""Pairs of an id and a longer id that begins with it; stores put such separators after an id."""


@contract(
    "isolation.prefixes",
    rule="A session id that is the beginning of another session id is a different id, whatever "
    f"follows it. Reading the shorter one returns nothing of the longer one. {_APART}",
    source=f"{_EXAMPLE}; `str` compares all characters",
    cause="Keys are built by joining the id to a suffix (`id:messages`, `id#0`), and are read by "
    "prefix.",
    remedy="Compare the id as a separate field. Or escape the separator in it, or put its length "
    "in front of it.",
    seen="langchain-google-bigtable 0.8.0, chat_message_history.py: rows are read by `^id#.*`; "
    "openai-agents 0.24.0, redis_session.py: `{id}` and `{id}:messages` are both keys",
    modes=(SYNC, ASYNC),
    program=strategies.some_of([*_PREFIXES, *_long("1", "10", "1:1")]),
    examples=ENUMERATED,
)
def an_id_does_not_match_longer_ids(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


_LENGTHS = (40, 63, 100, 128, 200, 249, 255, 300, 512, 1_100)


@contract(
    "isolation.long_ids",
    rule="Long session ids that differ only in their last characters are different ids (tested up "
    f"to {_LENGTHS[-1]:,} characters). {_APART}",
    source=f"{_EXAMPLE}; `str` has no maximum length",
    cause="Ids are cut to the width of a column, or are not indexed beyond some length.",
    remedy="Refuse an id that is too long, or store a digest of it.",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: session_id VARCHAR(255); "
    "langchain-oracledb 1.6.0: VARCHAR2(255)",
    modes=(SYNC, ASYNC),
    program=strategies.some_of([_paired(f"-{'x' * n}a", f"-{'x' * n}b")[0] for n in _LENGTHS]),
    examples=ENUMERATED,
)
def long_ids_are_not_cut(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


@contract(
    "isolation.digits",
    rule="Session ids that are equal as numbers but different as text, such as `1`, `01`, `1.0` "
    f"and `1e0`, are different ids. {_APART}",
    source=f"{_EXAMPLE}; a session id is a `str`",
    cause="Ids that look like numbers are stored or compared as numbers, by the column or by the "
    "client.",
    remedy="Declare the column as text and bind the id as text.",
    seen="langchain-neo4j 0.11.0 and langchain-arangodb 2.1.0 take `str | int` ids; whether 1 and "
    "'1' are one session depends on the store",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            *[("{number}", other) for other in ("0{number}", "{number}.0", "{number}e0")],
            *[("{number}", other) for other in ("+{number}", "-{number}", "{number}.00")],
            *_paired("-1", "-01", "-1.0", "-1e0"),
        ]
    ),
    examples=ENUMERATED,
)
def ids_that_look_like_numbers_are_text(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


_KEY_ENDS = ("", "0", "1", "10", "11", "-1", ":1", "_1", "/1", ".1", "#1")
"""Ends of ids, which with a number behind them may be the key of a message of another id."""
_NUMBERED = 12
"""Messages of each session, so that their numbers have one digit and two."""


@contract(
    "isolation.numbered_keys",
    since="0.2",
    rule="Sessions do not share messages if the id of one is that of another with digits behind "
    f"it, even if each has {_NUMBERED} messages. {_APART}",
    source=f"{_EXAMPLE}; a session id identifies one conversation",
    cause="The key of a message is the session id with a number behind it, so that message 11 of "
    "session `a` has the key of message 1 of session `a1`.",
    remedy="Keep session id and number in two columns, or put a separator between them that no id "
    "contains, or the length of the id before it.",
    seen="dotCMS/core#35874: keys of sessions without a delimiter after their prefix",
    modes=(SYNC, ASYNC),
    examples=1,
)
def ids_with_digits_behind_them_share_no_messages(s: Session, _: None) -> None:
    handles = _accepted(s, [f"{{nonce}}{end}" for end in _KEY_ENDS])
    for number, handle in enumerate(handles):
        handle.add([HumanMessage(f"m{number}.{place}") for place in range(1, _NUMBERED)])
    for handle in handles:
        handle.reads_back()
    if handles:
        handles[0].clear()
    for handle in handles:
        handle.reads_back()


@contract(
    "isolation.control_characters",
    rule="Session ids that differ only in invisible characters (NUL, control characters, "
    f"zero-width characters, half surrogate pairs) are different ids. {_APART}",
    source=f"{_EXAMPLE}; `str` may hold any code point",
    cause="Some part of the store ends a text at NUL, or replaces characters that it cannot "
    "encode.",
    remedy="Escape such characters, or refuse them. Never encode with errors='replace' or "
    "'ignore'.",
    seen="convention: C strings end at NUL, and SQLite's text functions stop there too",
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            *_paired("-a", "-a\x00", "-a\x00b", "-a\ufeff"),
            *_paired("-ab", "-a\x01b", "-a\u200bb", "-a\u00adb", "-a\x7fb"),
            *_paired("-a\nb", "-a\r\nb", "-a b"),
            *_paired("-a\ud800", "-a\ud801", "-a?", "-a\ufffd", "-a"),
            *_long("ab", "a\u200bb"),
        ]
    ),
    examples=ENUMERATED,
)
def invisible_characters_in_an_id_count(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


_AWKWARD = [
    "'",
    '"',
    "''",
    "\\",
    ";--",
    "`",
    "{}",
    "{0}",
    "%s",
    "%",
    ":x",
    "$1",
    "$(x)",
    "&&",
    "@",
    "-",
]


@contract(
    "isolation.any_id_works",
    rule="A session id may contain any characters: messages that are added under it can be read "
    "back and cleared. Otherwise the id is refused with an error before anything is stored.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory: the example takes any str; "
    "applications use e-mail addresses, UUIDs and names as ids",
    cause="The id is pasted into a query, a path, a URL or a format string without escaping.",
    remedy="Bind the id as a parameter, or escape it. If the store cannot hold an id, refuse it "
    "when the history is opened.",
    seen="langchain-ai/langchain-redis#67: an id with hyphens raises a syntax error in the query; "
    "llama-index-storage-chat-store-azure 0.6.0: the id is put in quotes in a filter",
    modes=(SYNC, ASYNC),
    program=st.tuples(
        strategies.some_of(_AWKWARD),
        st.lists(
            # Ids must not point out of the working directory.
            strategies.session_ids().filter(lambda session: ".." not in session),
            max_size=3,
        ),
    ),
    is_long=True,
)
def any_id_works_or_is_refused(s: Session, program: tuple[list[str], list[str]]) -> None:
    awkward, others = program
    handles = _accepted(s, dict.fromkeys(f"{{nonce}}-{end}" for end in [*awkward, *others]))
    for handle in handles:
        handle.reads_back()
    for handle in handles:
        handle.clear()
        handle.reads_back()


@contract(
    "isolation.path_like",
    rule=f"Session ids that are different spellings of one path are different ids. {_APART}",
    source=f"{_EXAMPLE}; a session id is a name, not a path",
    cause="The id is used as the name of a file or the path of a URL, and these are normalised.",
    remedy="Encode slashes, backslashes and dots, or refuse them.",
    seen="langchain-ai/langchain#36890: session ids of FileChatMessageHistory are paths",
    needs=("disposable",),
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        [
            ("{nonce}-a", "./{nonce}-a"),
            ("{nonce}-a", "{nonce}-a/"),
            ("{nonce}-a", "{nonce}-a/."),
            ("{nonce}-a", "{nonce}-b/../{nonce}-a"),
            ("{nonce}-d/e", "{nonce}-d//e"),
            ("{nonce}-d/e", "{nonce}-d/./e"),
            ("{nonce}-d/e", "{nonce}-d\\e"),
        ]
    ),
)
def spellings_of_a_path_are_kept_apart(s: Session, pairs: list[Pair]) -> None:
    _are_kept_apart(s, pairs)


@contract(
    "isolation.stays_inside",
    rule="A session id cannot lead out of the directory that holds the histories. With ids such "
    "as `../x` nothing is written next to or above the working directory.",
    source="convention: session ids often come from a request, and a path in one must not choose "
    "where a server writes",
    cause="The id is joined to a directory unchanged.",
    remedy="Encode every character except letters and digits before using the id in a path, or "
    "refuse the id.",
    seen="langchain-ai/langchain#36890: path traversal in FileChatMessageHistory; "
    "langchain_core/chat_history.py: the example joins the id to the path",
    needs=("disposable",),
    modes=(SYNC, ASYNC),
    program=strategies.some_of(
        ["../{nonce}-a", "../../{nonce}-a", "{nonce}-b/../../{nonce}-a", "..\\{nonce}-a"]
    ),
    examples=4,
    company="alone",
)
def an_id_does_not_lead_out_of_the_directory(s: Session, ids: list[str]) -> None:
    accepted = _accepted(s, ids)
    for above in ("..", "../.."):
        found = [name for name in os.listdir(above) if name.startswith(s.nonce)]
        s.check(
            are_no_files,
            above,
            s.id_ref("{nonce}"),
            kind="other",
            summary=f"a session id led out of the working directory: {above!r} contains "
            f"{len(found)} of its files",
        )
    for handle in accepted:
        handle.reads_back()


@contract(
    "isolation.empty_id",
    rule="The empty session id, and the names `.` and `..`, are refused with an error, or work "
    "like any other id: the session shares no messages with other sessions, and all its handles "
    "see one conversation.",
    source=f"{_EXAMPLE}; the empty string is a str",
    cause="An empty id is treated as a missing one. It then means all sessions, a default "
    "session, or a new random one.",
    remedy="Compare the id with None instead of testing its truth value, or refuse the empty id.",
    seen="langchain-neo4j 0.11.0 and langchain-arangodb 2.1.0 refuse it by `if not session_id`",
    needs=("disposable",),
    modes=(SYNC, ASYNC),
    program=st.sampled_from(["", ".", ".."]),
    examples=6,
    company="alone",
)
def the_empty_id_works_or_is_refused(s: Session, session: str) -> None:
    b = s.open()
    b.add([HumanMessage("m0")])
    a, _ = s.try_open(session)
    if a is not None and a.try_add([HumanMessage("m1")]) is None:
        a.clear()  # such an id cannot carry a nonce, and may have been used before
        b.reads_back()
        a.add([HumanMessage("m2")])
        (s.open(session) if "shared" not in s.subject.backend.lacks else a).reads_back()
    b.reads_back()


@contract(
    "isolation.lookalike_clear",
    rule="Clearing a session removes nothing of another session whose id matches the cleared id "
    f"as a pattern or begins with it. {_APART}",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.clear: removes all messages "
    "from the store of this history",
    cause="`clear` deletes by pattern or by prefix (LIKE, SCAN, a key range), even if reading "
    "does not.",
    remedy="Delete only records with exactly this id. If the store offers only a pattern, escape "
    "the id.",
    seen="langchain-google-bigtable 0.8.0, chat_message_history.py clear: drop_by_prefix(session "
    "id) without a separator, so that `user1` wipes `user10`",
    modes=(SYNC, ASYNC),
    program=st.tuples(strategies.some_of(_PATTERNS), strategies.some_of(_PREFIXES)).map(
        lambda drawn: [*((long, short) for short, long in drawn[1]), *drawn[0]]
    ),
    examples=20,
    is_long=True,
)
def clear_does_not_touch_sessions_with_similar_ids(s: Session, pairs: list[Pair]) -> None:
    kept = dict.fromkeys(pair[0] for pair in pairs)
    handles = {handle.session: handle for handle in _accepted(s, [*kept, *(p[1] for p in pairs)])}
    for _, cleared in pairs:
        if cleared in handles and cleared not in kept:
            handles[cleared].clear()
    for session in kept:
        if session in handles:
            handles[session].reads_back()
