"""The packaged script with real voices and ears: the receptionist understands the caller, and the other way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.sandbox import brain
from agent.sandbox.caller.call import _transcribe
from agent.sandbox.caller.command import packaged_script
from agent.sandbox.caller.script import Progress
from agent.speech_engines import EngineMissing, Voice, load_recogniser, load_voice
from agent.tools.call_control import standard_tools

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

PROMPT = "Company: Thames Plumbing\nTrade label: plumber\nCallout fee: £65\nCaller ID: +447700900123\n"


def test_the_leaking_tap_is_booked_by_voice() -> None:
    try:
        caller, agent, ears = load_voice("hibari-low"), load_voice("hibari"), load_recogniser("moonshine")
    except EngineMissing as error:
        pytest.skip(str(error))

    def heard(voice: Voice, text: str) -> str:
        return _transcribe(ears, voice.speak(text, 8000).samples.tobytes(), 8000)

    tools = standard_tools().schemas()
    progress = Progress(packaged_script("leaking_tap"))
    messages: list[dict[str, Any]] = [{"role": "system", "content": PROMPT}]
    calls: list[brain.ToolCall] = []

    def reply(said: str, text: str) -> brain.Answer:
        messages.extend(({"role": "assistant", "content": said}, {"role": "user", "content": text}))
        return brain.answer(messages, tools)

    said = "Hello, Thames Plumbing, good morning."
    while not any(call.name == "end_call" for call in calls):
        line = progress.choose(heard(agent, said))
        assert line is not None, f"nothing to say to {said!r}"
        assert line is not progress.script.otherwise, f"did not understand {said!r}"
        answer = reply(said, heard(caller, line.text))
        if interruption := progress.following_interrupt(line):
            answer = reply(answer.text[:12], heard(caller, interruption.text))
        if answer.call is not None:
            calls.append(answer.call)
            function = {"name": answer.call.name, "arguments": json.dumps(answer.call.arguments)}
            messages.append(
                {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
            )
            messages.append({"role": "tool", "tool_call_id": "1", "content": '{"status":"booked"}'})
            answer = brain.answer(messages, tools)
        said = answer.text

    assert progress.finished
    assert [call.name for call in calls] == ["create_booking", "end_call"]
    booking = calls[0].arguments
    assert (booking["customer_name"], booking["postcode"]) == ("Anna Smith", "SW4 7DQ")
    assert booking["address"] == "12 Baker Street"
    assert "tap is leaking" in booking["problem_description"]
