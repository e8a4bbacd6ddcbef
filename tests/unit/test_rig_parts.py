"""The rig's own parts, which judge everything else: they must see what is wrong."""

from __future__ import annotations

import array
import asyncio
import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from rig import rtpcheck, sip, ulaw
from rig.media import QUIET, Media, Packet
from rig.root import RigError, debian_mirror


def sine(hertz: float, seconds: float, peak: int = 8000) -> bytes:
    step = 2 * math.pi * hertz / 8000
    return array.array("h", (int(peak * math.sin(step * i)) for i in range(int(8000 * seconds)))).tobytes()


def stream(pcm: bytes, sequence: int = 65_500, timestamp: int = 2**32 - 1600) -> list[Packet]:
    """`pcm` as a faultless stream whose sequence numbers and timestamps both wrap."""
    octets = ulaw.encode(pcm)
    packets = []
    for place in range(0, len(octets) - 159, 160):
        tick = place // 160
        payload = octets[place : place + 160]
        packets.append(
            Packet(
                payload=payload,
                payload_type=0,
                sequence=(sequence + tick) & 0xFFFF,
                timestamp=(timestamp + place) & 0xFFFFFFFF,
                marker=tick == 0,
                arrival_ns=20_000_000 * tick,
                at_s=0.02 * tick,
                level=ulaw.level(payload),
            )
        )
    return packets


def later(packet: Packet, seconds: float, samples: int, *, marker: bool) -> Packet:
    return replace(
        packet,
        at_s=packet.at_s + seconds,
        timestamp=(packet.timestamp + samples) & 0xFFFFFFFF,
        marker=marker or packet.marker,
    )


def test_ulaw_is_g711() -> None:
    assert [ulaw.LINEAR[octet] for octet in (0xFF, 0x7F, 0x80, 0x00, 0xF0)] == [0, 0, 32124, -32124, 120]
    assert all(ulaw.encode(struct.pack("<h", ulaw.LINEAR[octet]))[0] == octet for octet in range(256) if octet != 127)
    assert ulaw.encode(struct.pack("<hh", 32767, -32768)) == b"\x80\x00"
    assert ulaw.level(QUIET) == 0
    assert ulaw.level(ulaw.encode(sine(400, 0.02))) == pytest.approx(8000 / math.sqrt(2), rel=0.02)


def test_a_faultless_stream_has_no_problems() -> None:
    report = rtpcheck.check(stream(sine(440, 2)))
    assert report.problems() == []
    assert report.packets == 100
    assert report.packets_per_s == pytest.approx(50)
    assert rtpcheck.on_pace(report, ppm=1)


def test_each_fault_is_seen() -> None:
    good = stream(sine(440, 2))
    faults = {
        "lost": good[:40] + good[41:],
        "out of order": [*good[:40], good[41], good[40], *good[42:]],
        "160 bytes": [*good[:40], replace(good[40], payload=bytes(80)), *good[41:]],
        "PCMU": [*good[:40], replace(good[40], payload_type=8), *good[41:]],
        "without a gap": good[:40] + [later(packet, 0, 800, marker=packet is good[40]) for packet in good[40:]],
        "jumps": good[:40] + [later(packet, 0.1, 800, marker=packet is good[40]) for packet in good[40:]],
        "no packets": [],
    }
    for text, packets in faults.items():
        assert any(text in problem for problem in rtpcheck.check(packets).problems()), text
    assert rtpcheck.check(faults["jumps"]).problems(jumps=1) == []
    assert rtpcheck.check(faults["without a gap"]).problems(jumps=1) != []
    fast = [replace(packet, at_s=packet.at_s * 0.99) for packet in good]
    assert not rtpcheck.on_pace(rtpcheck.check(fast), ppm=5000)


def test_a_sound_is_found_where_it_is() -> None:
    wanted = sine(440, 0.2) + sine(700, 0.2) + sine(550, 0.2)
    heard = rtpcheck.samples(stream(bytes(16_000) + wanted + sine(900, 1)))
    second, likeness = rtpcheck.find(wanted, heard)
    assert second == pytest.approx(1.0, abs=0.001)
    assert likeness > 0.98
    assert rtpcheck.find(sine(1200, 0.6), heard)[1] < 0.3
    with pytest.raises(ValueError):
        rtpcheck.find(bytes(1600), heard)
    assert rtpcheck.tone_share(heard[-4000:], 900) > 0.98
    assert rtpcheck.tone_share(heard[-4000:], 440) < 0.1


def test_a_jump_becomes_silence() -> None:
    good = stream(sine(440, 1))
    torn = good[:25] + [later(packet, 0.2, 1600, marker=packet is good[25]) for packet in good[25:]]
    heard = rtpcheck.samples(torn)
    assert len(heard) == 8000 + 1600
    assert not heard[4000:5600].any()
    assert heard[5600:5700].any()


def test_messages_are_read_and_written() -> None:
    message = sip.parse(b"SIP/2.0 200 OK\r\nv: a\r\nVia: b\r\nCSeq: 7 INVITE\r\nl: 2\r\n\r\nhi")
    assert (message.status, message.method, message.all("via"), message.body) == (200, "INVITE", ["a", "b"], "hi")
    assert sip.parse(message.encode()) == message
    with pytest.raises(ValueError):
        sip.parse(b"\x80\x00\x01")
    assert sip.media_address("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n") == ("127.0.0.1", 4000)
    with pytest.raises(ValueError):
        sip.media_address("v=0\r\n")


async def test_two_telephones_hear_each_other() -> None:
    one, two = Media(), Media()
    one.start(("127.0.0.1", two.port))
    two.start(("127.0.0.1", one.port))
    try:
        said = asyncio.create_task(one.say(sine(440, 0.5)))
        assert await two.heard(2) < 1.0
        await said
        assert await two.quiet(3, 0.2) > 0.4
        await one.press("7#")
    finally:
        await one.stop()
        await two.stop()
    events = [packet for packet in two.packets if packet.payload_type == sip.EVENT_PAYLOAD]
    assert [packet.payload[0] for packet in events] == [7] * 7 + [11] * 7
    assert [packet.marker for packet in events].count(True) == 2
    voice = [packet for packet in two.packets if packet.payload_type == 0]
    assert rtpcheck.find(sine(440, 0.4), rtpcheck.samples(voice))[1] > 0.95
    stereo = memoryview(two.stereo()).cast("h")
    assert max(stereo[1::2]) > 7000
    assert max(stereo[0::2]) == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "sources.list",
            "# deb http://x.example/debian x main\ndeb [arch=amd64] http://m.example/debian trixie main\n",
        ),
        (
            "sources.list.d/debian.sources",
            "Types: deb\n# http://old.example/debian\nURIs: http://s.example/debian-security\nSuites: t-security\n"
            "Components: main\n\nTypes: deb-src deb\nURIs: http://m.example/debian\nSuites: t t-updates\n"
            "Components: main\nSigned-By: /k.gpg\n",
        ),
    ],
)
def test_the_mirror_is_the_machine_s_own(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(text)
    assert debian_mirror(tmp_path) == "http://m.example/debian"


def test_no_mirror_is_said(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://archive.example/ubuntu noble main\n")
    with pytest.raises(RigError, match="no Debian archive"):
        debian_mirror(tmp_path)
