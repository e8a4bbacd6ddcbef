"""What the scripted receptionist understands of what a recogniser writes."""

from __future__ import annotations

import pytest

from agent.sandbox import heard


@pytest.mark.parametrize(
    ("text", "postcode"),
    [
        ("M1 4BT", "M1 4BT"),
        ("It's m14bt", "M1 4BT"),
        ("it is M1 4BT thanks", "M1 4BT"),
        ("It's M. one for Bt..", "M1 4BT"),
        ("em one four bee tea", "M1 4BT"),
        ("Mike one, four Bravo Tango.", "M1 4BT"),
        ("M-1-4-B-T", "M1 4BT"),
        ("M for mother, one, four, B for bravo, T for tango", "M1 4BT"),
        ("it will be M1 4BT", "M1 4BT"),
        ("It's S W one A, two A A", "SW1A 2AA"),
        ("s, w, one, a, two, a.. a", "SW1A 2AA"),
        ("e c one a one b b", "EC1A 1BB"),
        ("double you one a two a a", "W1A 2AA"),
        ("b s one five double t", "BS1 5TT"),
        ("N W one zero, six T P", "NW10 6TP"),
        ("NW10 6TP", "NW10 6TP"),
        ("SW1A OAA", "SW1A 0AA"),
        ("not M1 4BT, it's M2 5BT", "M2 5BT"),
        ("twenty two Mill Lane", None),
        ("my tap is leaking", None),
        ("the code is 12 34", None),
        ("QX1 4BT", None),
        ("", None),
    ],
)
def test_postcodes(text: str, postcode: str | None) -> None:
    assert heard.find_postcode(text) == postcode


def test_postcode_by_the_phonetic_alphabet_comes_back() -> None:
    for postcode in ("M1 4BT", "SW1A 2AA", "NW10 6TP", "XA1 1AA".replace("XA", "EX")):
        assert heard.find_postcode(heard.say_postcode(postcode)) == postcode


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("twelve Mill Lane", "12 Mill Lane"),
        ("It's number 22 Acacia Avenue.", "22 Acacia Avenue"),
        ("twenty two Acacia Avenue", "22 Acacia Avenue"),
        ("one two three High Street", "123 High Street"),
        ("Flat 3, 10 Park Road", "Flat 3, 10 Park Road"),
        ("yeah it's Rose Cottage, Church Lane", "Rose Cottage, Church Lane"),
        ("yes", None),
        ("twelve", None),
        ("what was that", None),
    ],
)
def test_addresses(text: str, address: str | None) -> None:
    assert heard.find_address(text) == address


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Sarah Jones.", "Sarah Jones"),
        ("It's sarah jones", "Sarah Jones"),
        ("Yeah, my name's Dave", "Dave"),
        ("Mr Patel please", "Mr Patel"),
        ("Put it under O'Brien, thanks", "O'Brien"),
        ("yes", None),
        ("what", None),
        ("12", None),
    ],
)
def test_names(text: str, name: str | None) -> None:
    assert heard.find_name(text) == name


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", True),
        ("Yeah, that's fine", True),
        ("no problem", True),
        ("That's right", True),
        ("No, that's right for the other house", False),
        ("No.", False),
        ("that's not right", False),
        ("The tap", None),
    ],
)
def test_yes_and_no(text: str, answer: bool | None) -> None:
    assert heard.yes_or_no(text) is answer


def test_numbers() -> None:
    assert heard.digits_in("oh seven seven double oh, nine hundred and 123 456") == "07700" + "9" + "123456"
    assert heard.digits_in("07700 900123") == "07700900123"
