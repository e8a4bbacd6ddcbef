"""AGI's text: what Asterisk writes is understood, and everything else raises `AgiError` and nothing more."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telephony.agi import (
    AgiError,
    AgiReply,
    ChannelGoneError,
    parse_reply,
    parse_request,
    quoted,
    set_variable,
)
from agent.telephony.texts import MAX_TEXT, caller_name, caller_number, clean


def unquoted(line: str) -> list[str]:
    """A command's words as Asterisk reads them (`parse_args` in res_agi.c): quotes toggle, backslash escapes."""
    words: list[str] = []
    word, inside, escaped, begun = "", False, False, False
    for character in line:
        if escaped:
            word, escaped = word + character, False
        elif character == "\\":
            escaped = begun = True
        elif character == '"':
            inside, begun = not inside, True
        elif character in " \t" and not inside:
            words, word, begun = ([*words, word] if begun else words), "", False
        else:
            word, begun = word + character, True
    return [*words, word] if begun else words


def test_a_request_of_asterisk_is_understood() -> None:
    request = parse_request(
        [
            "agi_network: yes",
            "agi_network_script: start?x=1",
            "agi_request: agi://127.0.0.1:4573/start?x=1",
            "agi_channel: PJSIP/trunk-00000001",
            "agi_callerid: 07700900123",
            "agi_calleridname: Ann: the (first)",
            "agi_accountcode: ",
            "agi_arg_1: ",
            "agi_arg_2: 02012345678",
        ]
    )
    assert request.script == "start"
    assert request.arguments == ("", "02012345678")
    assert request.argument(7) == ""
    assert request.header("calleridname") == "Ann: the (first)"
    assert request.header("accountcode") == request.header("rdnis") == ""
    assert "07700" not in repr(request)


def test_the_first_of_two_equal_headers_counts() -> None:
    request = parse_request(["agi_network_script: next", "agi_arg_1: a", "agi_network_script: start", "agi_arg_1: b"])
    assert (request.script, request.arguments) == ("next", ("a",))


@pytest.mark.parametrize("lines", [[], ["GET / HTTP/1.1"], ["agi_network: yes"], ["agi_network_script=start"]])
def test_what_is_no_request_is_refused(lines: list[str]) -> None:
    with pytest.raises(AgiError):
        parse_request(lines)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("200 result=1", AgiReply(200, 1)),
        ("200 result=1 (1700000000.7)", AgiReply(200, 1, "1700000000.7")),
        ("200 result=1 (a (b) c)", AgiReply(200, 1, "a (b) c")),
        ("200 result=0", AgiReply(200, 0)),
        ("200 result=0 endpos=160", AgiReply(200, 0, "endpos=160")),
        ("520-Invalid command syntax.  Proper usage follows:", None),
    ],
)
def test_replies_are_understood(line: str, reply: AgiReply | None) -> None:
    assert parse_reply(line) == reply


@pytest.mark.parametrize(
    "line", ["HANGUP", "511 Command Not Permitted on a dead channel or intercept routine", "200 result=-1"]
)
def test_a_dead_channel_is_told_apart(line: str) -> None:
    with pytest.raises(ChannelGoneError):
        parse_reply(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("510 Invalid or unknown command", "refused"),
        ("520 End of proper usage.", "refused"),
        ("200 OK", "bad_reply"),
        ("", "bad_reply"),
        ("HTTP/1.1 200 OK", "bad_reply"),
    ],
)
def test_other_replies_are_refused(line: str, reason: str) -> None:
    with pytest.raises(AgiError) as caught:
        parse_reply(line)
    assert caught.value.reason == reason


@given(st.lists(st.text() | st.from_regex(r"agi_[a-z]{1,5}: .*", fullmatch=True), max_size=5))
def test_any_request_is_understood_or_refused(lines: list[str]) -> None:
    with contextlib.suppress(AgiError):
        assert parse_request([*lines, "agi_network_script: start"]).script


@given(st.text() | st.from_regex(r"\d{3}[ -](result=.{0,9})?", fullmatch=True))
def test_any_reply_is_understood_or_refused(line: str) -> None:
    with contextlib.suppress(AgiError):
        reply = parse_reply(line)
        assert reply is None or reply.code == 200


@given(st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" ")))
def test_asterisk_reads_back_what_was_quoted(text: str) -> None:
    if not text.isprintable():
        return
    assert unquoted(set_variable("X", text)) == ["SET", "VARIABLE", "X", text]


@pytest.mark.parametrize("text", ["a\nEXEC System x", "a\rb", "\0", "\x7f", "\u2028"])
def test_an_argument_of_two_lines_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        quoted(text)


@given(st.text(max_size=2000))
def test_clean_text_is_one_short_line(text: str) -> None:
    assert clean(text).isprintable()
    assert len(clean(text)) <= MAX_TEXT
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("text", "name"), [(r"\"x\" y", '"x" y'), (r"a\\", "a\\"), (r"\n", r"\n"), ("unknown", ""), ("\\", "\\")]
)
def test_a_name_is_unquoted(text: str, name: str) -> None:
    assert caller_name(text) == name


@pytest.mark.parametrize(
    ("number", "presentation", "known"),
    [
        ("+447700900123", "0", True),
        ("+447700900123", "", True),
        ("+447700900123", "1", True),
        ("+447700900123", "allowed_not_screened", True),
        ("+447700900123", "32", False),
        ("+447700900123", "35", False),
        ("+447700900123", "67", False),
        ("+447700900123", "prohib_passed_screen", False),
        ("+447700900123", "unavailable", False),
        ("unknown", "0", False),
        ("Anonymous", "0", False),
        ("<unknown>", "", False),
    ],
)
def test_withheld_numbers_are_empty(number: str, presentation: str, known: bool) -> None:
    assert caller_number(number, presentation) == (number if known else "")
