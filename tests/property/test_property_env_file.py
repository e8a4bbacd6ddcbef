"""Whatever a key looks like, it is read back from the env file as it was given; and no other line changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.setup.env_file import completed, fresh, quoted, replaced, values_of

RELOAD = "systemctl reload voice-agent"
NAMES = ("DEEPGRAM_API_KEY", "GROQ_API_KEY", "DATA_DIR")
values = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=40).filter(
    lambda text: text == text.strip()
)
wanted = st.dictionaries(st.sampled_from(NAMES), values, min_size=1)


@given(wanted)
def test_a_fresh_file_says_what_was_wanted(given_: dict[str, str]) -> None:
    assert values_of(fresh(given_, RELOAD)) == given_


@given(wanted, wanted)
def test_values_that_are_there_stay_unless_replaced(there: dict[str, str], given_: dict[str, str]) -> None:
    text = fresh(there, RELOAD)
    assert values_of(completed(text, given_)) == given_ | {name: value for name, value in there.items() if value} | {
        name: given_.get(name, "") for name, value in there.items() if not value
    }
    assert values_of(replaced(text, given_)) == there | given_


@given(st.lists(st.sampled_from(["# a comment", "", "OTHER=1", "export MORE='2'", "  # indented"])), wanted)
def test_other_lines_stay_as_they_are(lines: list[str], given_: dict[str, str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    assert completed(text, given_).splitlines()[: len(lines)] == lines


@given(st.text(st.sampled_from("ab\n\r\t\0\x1b\x85\u2028"), min_size=1).filter(lambda text: not text.isprintable()))
def test_what_is_no_line_is_refused(value: str) -> None:
    try:
        quoted(value)
    except ValueError:
        return
    raise AssertionError(f"{value!r} was taken")
