"""Reads a conversation's directory, and says of each mistake in which file it is, where, and what would be right."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Set
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from agent.call.company import CompanyContext
from agent.conversations.conversation import (
    FIELDS,
    PROMPT_FIELDS,
    Conversation,
    ConversationError,
    Phrases,
    estimated_tokens,
    fill,
)
from agent.conversations.placeholders import line_of, misplaced
from agent.conversations.steps import Step
from agent.conversations.tools import registry_of
from agent.language.asked import tokens_of
from agent.language.turn_words import BRITISH, PHRASE_WORDS, TurnWords, turn_words
from agent.tools.urls import UrlTool

PACKAGED = Path(__file__).parent
PROMPT_TOKENS = 500
"""The longest prompt unless a conversation says otherwise: it is read anew for each reply."""
MAX_FILE_BYTES = 256 * 1024
_OF_THE_FILE = frozenset({"persona", "answers"})
_TYPICAL = CompanyContext(
    company_name="Thames Plumbing and Heating",
    trade_label="heating engineer",
    trade_type="plumbing and heating",
    callout_fee="£65 plus VAT",
    area="London, inside the M25",
    caller_id="+447700900123",
)
"""What a prompt is filled with to count its tokens."""

_LANGUAGE = re.compile(r"|[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?")  # BCP 47; empty: the setting LANGUAGE

_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class _PhrasesTable(BaseModel):
    """The table `phrases`: a key for each field of `Phrases`, none of them needed in English."""

    model_config = ConfigDict(extra="forbid", strict=True)

    greeting: _Line | None = None
    morning: _Line | None = None
    afternoon: _Line | None = None
    evening: _Line | None = None
    still_there: _Line | None = None
    silent_goodbye: _Line | None = None
    fillers: Annotated[list[_Line], Field(min_length=1, max_length=20)] | None = None
    trouble: _Line | None = None
    goodbye: _Line | None = None
    too_long: _Line | None = None
    transferring: _Line | None = None
    nobody_free: _Line | None = None
    hello: _Line | None = None
    sorry: _Line | None = None
    sorry_goodbye: _Line | None = None
    not_heard: _Line | None = None
    closing: _Line | None = None
    limit: _Line | None = None


class _StepTable(BaseModel):
    """One of the tables `steps`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=40)
    asks: list[_Line] = Field([], max_length=50)
    says: list[_Line] = Field([], max_length=50)
    tools: list[str] = Field([], max_length=64)


class _ConversationFile(BaseModel):
    """`conversation.toml`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: _Line
    language: str = ""
    voice: str = Field("", max_length=128)
    persona: str = Field("", max_length=4000)
    boosted_terms: list[_Line] = Field([], max_length=100)
    max_prompt_tokens: int = Field(PROMPT_TOKENS, ge=50, le=8000)
    tools: list[str] = Field(min_length=1, max_length=64)
    phrases: _PhrasesTable = _PhrasesTable()
    answers: dict[str, _Line] = {}
    words: dict[str, Any] = {}
    url_tools: dict[str, UrlTool] = {}
    steps: list[_StepTable] = Field([], max_length=20)

    @field_validator("language")
    @classmethod
    def _tag(cls, value: str) -> str:
        if _LANGUAGE.fullmatch(value):
            return value
        if alike := re.fullmatch(r"([A-Za-z]{2,3})[-_]([A-Za-z]{2})", value):
            raise ValueError(f'is "{alike[1].lower()}-{alike[2].upper()}" meant?')
        raise ValueError('a language is written as "en-GB" or "de"')


def directory_of(conversation: str, names: Iterable[str]) -> Path:
    """The directory that the setting CONVERSATION means where it is no known name. Raises `ConversationError`."""
    path = Path(conversation).expanduser()
    if not (path / "conversation.toml").is_file():
        near = difflib.get_close_matches(conversation, list(names), 1)
        meant = f"is {near[0]} meant? There are" if near else "there are"
        raise ConversationError(
            f"CONVERSATION={conversation}: no directory with a conversation.toml, and no known name; {meant} "
            f"{', '.join(sorted(names))}"
        )
    return path.resolve()


def load_conversation(
    directory: Path,
    *,
    prompt_file: Path | None = None,
    default_language: str = "en-GB",
    environment: Mapping[str, str] = os.environ,
) -> Conversation:
    """Read and check the conversation in `directory`; `prompt_file` takes the place of its `prompt.md`.

    `environment` is where `${NAME}` in the headers of `url_tools` is looked up. Raises
    `ConversationError` with every mistake that was found.
    """
    toml = directory / "conversation.toml"
    file = _parse(toml)
    language = file.language or default_language
    mistakes: list[str] = []
    phrases = _phrases(file.phrases, language, toml, mistakes)
    template = _template(prompt_file or directory / "prompt.md", file, toml, mistakes, own=prompt_file is None)
    tools = registry_of(directory, file.tools, file.url_tools, environment, mistakes)
    words = _words(file.words, toml, mistakes)
    steps = _steps(file, toml, mistakes)
    if mistakes:
        raise ConversationError("\n".join(mistakes))
    return Conversation(
        name=directory.name,
        title=file.title,
        language=language,
        voice_id=file.voice,
        template=template,
        phrases=phrases,
        tools=tools,
        boosted_terms=tuple(file.boosted_terms),
        words=words,
        steps=steps,
    )


def read_text(file: Path) -> str:
    """The text of a conversation's file. Raises `ConversationError` when it cannot be read as such."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConversationError(f"cannot read {file}: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConversationError(f"{file} is longer than {MAX_FILE_BYTES // 1024} KiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConversationError(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8") from error


# ---- conversation.toml ----------------------------------------------------------------------------------------------


def _parse(file: Path) -> _ConversationFile:
    try:
        table = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise ConversationError(f"{file} is no TOML: {error}") from error
    try:
        return _ConversationFile.model_validate(table)
    except ValidationError as error:
        raise ConversationError("\n".join(f"{file}: {line}" for line in explain(error, _ConversationFile))) from error


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A line for each mistake: the key, what is wrong, and what would be right."""
    lines = []
    for problem in error.errors(include_url=False):
        place = [str(part) for part in problem["loc"]]
        key = ".".join(place)
        if problem["type"] == "extra_forbidden":
            known = _keys_at(model, place[:-1])
            near = difflib.get_close_matches(place[-1], known, 1, 0.7)
            there = f"is {near[0]} meant?" if near else f"there are {', '.join(known)}"
            lines.append(f"{key} is no key; {there}")
        elif problem["type"] == "missing":
            lines.append(f"{key} is missing")
        else:
            told = problem["msg"].removeprefix("Value error, ")
            told = told if told[:2].isupper() else told[0].lower() + told[1:]
            given = "" if "headers" in place else f", not {_short(problem['input'])}"  # a secret may stand there
            lines.append(f"{key}: {told}{given}")
    return lines


def _keys_at(model: type[BaseModel], place: list[str]) -> list[str]:
    """The keys of the table at `place`."""
    for part in place:
        field = model.model_fields.get(part)
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field is not None else []
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        model = inner or model
    return list(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _phrases(table: _PhrasesTable, language: str, file: Path, mistakes: list[str]) -> Phrases:
    given: dict[str, Any] = {name: value for name, value in table.model_dump().items() if value is not None}
    if "fillers" in given:
        given["fillers"] = tuple(given["fillers"])
    if not language.startswith("en"):
        missing = [field.name for field in fields(Phrases) if field.name not in given]
        if missing:
            mistakes.append(f"{file}: language is {language}, so phrases needs also: {', '.join(missing)}")
    for name, value in given.items():
        known = FIELDS | {"time_of_day"} if name == "greeting" else FIELDS
        for text in (value,) if isinstance(value, str) else value:
            mistakes += _placeholders_of_toml(text, known, file, f"phrases.{name}")
    return Phrases(**given)


def _words(table: Mapping[str, Any], file: Path, mistakes: list[str]) -> TurnWords:
    try:
        return turn_words(table) if table else BRITISH
    except ValueError as error:
        mistakes.append(f"{file}: words: {error}")
        return BRITISH


def _steps(table: _ConversationFile, file: Path, mistakes: list[str]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number, given in enumerate(table.steps):
        place = f"{file}: steps.{given.name}"
        if given.name in {step.name for step in steps}:
            mistakes.append(f"{place} is there twice")
        if number > 1 and not (given.asks or given.says or given.tools):
            mistakes.append(f"{place} is never reached: say in asks, says or tools how it is known")
        if unknown := [tool for tool in given.tools if tool not in table.tools]:
            mistakes.append(f"{place}.tools has {unknown[0]!r}; there are {', '.join(table.tools)}")
        asks, says = (
            _step_phrases(phrases, f"{place}.{key}", mistakes)
            for key, phrases in (("asks", given.asks), ("says", given.says))
        )
        steps.append(Step(given.name, asks, says, frozenset(given.tools)))
    return tuple(steps)


def _step_phrases(phrases: Iterable[str], place: str, mistakes: list[str]) -> frozenset[str]:
    """As they are looked up: words in lower case, a space between them."""
    found = set()
    for phrase in phrases:
        tokens = tokens_of(phrase)
        if not 0 < len(tokens) <= PHRASE_WORDS:
            mistakes.append(f"{place}: {phrase!r} has {len(tokens)} words; 1 to {PHRASE_WORDS} are looked for")
        found.add(" ".join(tokens))
    return frozenset(found - {""})


def _placeholders_of_toml(text: str, known: Set[str], file: Path, key: str) -> list[str]:
    """What is wrong with the placeholders of a key's text."""
    wrong = list(misplaced(text, known))
    source = read_text(file) if wrong else ""
    return [f"{file}, line {line_of(source, max(0, source.find(one.written)))}: {key}: {one.told}" for one in wrong]


# ---- prompt.md ------------------------------------------------------------------------------------------------------


def _template(file: Path, table: _ConversationFile, toml: Path, mistakes: list[str], *, own: bool) -> str:
    """The prompt with what `conversation.toml` puts into it; a prompt that is not the conversation's `own` may leave
    that out.
    """
    try:
        text = read_text(file)
    except ConversationError as error:
        mistakes.append(str(error))
        return ""
    known = PROMPT_FIELDS | _OF_THE_FILE
    wrong = [f"{file}, line {line_of(text, one.at)}: {one.told}" for one in misplaced(text, known)]
    answers = "\n".join(f"- {question}: {answer}" for question, answer in table.answers.items())
    for key, value in (("persona", table.persona.strip()), ("answers", answers)):
        if own and value and f"{{{key}}}" not in text:
            wrong.append(
                f"{file}: {{{key}}} stands nowhere, so what {toml.name} says under {key} would not reach the LLM"
            )
        wrong += _placeholders_of_toml(value, FIELDS, toml, key)
        text = text.replace(f"{{{key}}}", value)
    tokens = estimated_tokens(fill(text, _TYPICAL))
    if tokens > table.max_prompt_tokens:
        wrong.append(
            f"{file} has about {tokens} tokens with what is filled in, and {table.max_prompt_tokens} are allowed: each "
            "reply waits while they are read; shorten it, or set max_prompt_tokens in conversation.toml"
        )
    mistakes += wrong
    return text
