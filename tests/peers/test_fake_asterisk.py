"""The fake Asterisk is strict: each thing that a version does not forgive ends the call there, with its log line."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import pytest
from rig import versions
from rig.fake import CHANNEL, SILENCE, FakeCall, NextFrame, Outcome
from rig.versions import MID, MID_FIRST, MID_WIDE, NEW, NEW_WRONG_OFFSET, OLD, VERSIONS, Version

FRAME = b"\x10\x01\x40" + b"\x01\x00" * 160
WIDE = b"\x12\x02\x80" + b"\x02\x00" * 320
GOODBYE = b"\x00\x00\x00"
AFTER_PAUSE_S = 0.06
"""Far beyond 5 ms, and beyond what a stall of this host is forgiven."""


@dataclass
class Server:
    """The server's end of the one call, driven by the test."""

    call: FakeCall
    socket: socket.socket

    def send(self, *pieces: bytes | float) -> None:
        """Each piece by itself on the wire; a number is a pause in seconds."""
        for piece in pieces:
            if isinstance(piece, bytes):
                self.socket.sendall(piece)
            else:
                time.sleep(piece)

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # the other side may have closed already
            self.socket.shutdown(socket.SHUT_WR)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is sent while this is entered is found together, however much of the host's time lies between."""
        self.call.stall()
        until(lambda: self.call.stands)
        yield
        until(lambda: self._on_the_way() == 0)
        self.call.go_on()

    def _on_the_way(self) -> int:
        """Bytes, and the end of the stream as one more, that the fake's end has not acknowledged."""
        return int.from_bytes(fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def message(self) -> tuple[int, bytes]:
        kind, length = struct.unpack("!BH", self.exactly(3))
        return kind, self.exactly(length)

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the fake has closed"
            data += more
        return data

    def outcome(self, timeout_s: float = 3.0) -> Outcome:
        return self.call.result(timeout_s)


@contextmanager
def answered(version: Version, **options: object) -> Iterator[Server]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        call = FakeCall(version, listener.getsockname()[1], **options).start()  # type: ignore[arg-type]
        listener.settimeout(3)
        connection, _ = listener.accept()
        connection.settimeout(3)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection:
                server = Server(call, connection)
                assert server.message() == (versions.UUID, call.uuid.bytes)
                yield server
        finally:
            call.abandon()


def until(condition: Callable[[], object], limit_s: float = 3.0) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda v: v.name)
each_mode = pytest.mark.parametrize("version", versions.MODES.values(), ids=versions.MODES)


@every_version
def test_good_frames_are_heard_and_the_callers_come_every_20_ms(version: Version) -> None:
    with answered(version, next_frame=lambda tick: struct.pack("<160h", *[tick] * 160)) as server:
        for tick in range(10):
            assert server.message() == (versions.AUDIO, struct.pack("<160h", *[tick] * 160))
            server.send(FRAME)
        until(lambda: len(server.call.heard) == 10)
        assert {(message.rate, message.pcm) for message in server.call.heard} == {(8000, FRAME[3:])}
        server.call.hang_up()
        outcome = server.outcome()
        assert (outcome.returned, outcome.try_status) == (-1, "FAILED")
        assert outcome.log == [("WARNING", versions.CALLER_GONE % (CHANNEL, f"127.0.0.1:{server.call._server[1]}"))]


@every_version
def test_the_hangup_message_lets_the_dialplan_go_on_but_in_old_versions(version: Version) -> None:
    with answered(version) as server:
        server.send(FRAME + GOODBYE)
        server.finish()
        outcome = server.outcome()
        assert len(server.call.heard) == 1
        assert outcome.returned == (-1 if version is OLD else 0)
        assert outcome.try_status == ("FAILED" if version is OLD else "SUCCESS")
        assert outcome.said(versions.NOT_RECEIVED) == (version is OLD)


@every_version
@pytest.mark.parametrize("kind", [0x01, 0x02, 0x03, 0x0F, 0x19, 0xFF])
def test_only_hangup_and_audio_may_be_sent(version: Version, kind: int) -> None:
    with answered(version) as server:
        server.send(bytes((kind, 0, 2)) + b"xx")
        if version is OLD:
            server.send(FRAME)
            until(lambda: server.call.heard)
            server.call.hang_up()
            assert server.outcome().said(versions.NOT_AUDIO)
            assert len(server.call.heard) == 1
        else:
            outcome = server.outcome()
            assert outcome.returned == -1
            assert [text.split("'")[0] for _, text in outcome.log] == [
                versions.WRONG_KIND,
                versions.NOT_RECEIVED.split("'")[0],
            ]


@every_version
def test_wide_audio_is_audio_only_where_it_is_known(version: Version) -> None:
    with answered(version) as server:
        server.send(WIDE + FRAME)
        if version in (OLD, MID, MID_FIRST):
            if version is OLD:
                until(lambda: server.call.heard)
                assert [message.rate for message in server.call.heard] == [8000]
            else:
                assert server.outcome().said(versions.WRONG_KIND)
        else:
            until(lambda: len(server.call.heard) == 2)
            assert [message.rate for message in server.call.heard] == [16000, 8000]


@every_version
def test_audio_of_length_0_is_fatal_but_in_old_versions(version: Version) -> None:
    with answered(version) as server:
        server.send(b"\x10\x00\x00" + FRAME)
        if version is OLD:
            until(lambda: server.call.heard)
            assert len(server.call.heard) == 1
        else:
            assert server.outcome().said(versions.NO_LENGTH_ZERO)


@every_version
def test_an_odd_last_byte_is_no_sample(version: Version) -> None:
    with answered(version) as server:
        server.send(b"\x10\x00\x03abc" + FRAME)
        until(lambda: len(server.call.heard) == 2)
        assert server.call.heard[0].pcm == b"ab"


@every_version
@pytest.mark.parametrize("cut", [3, 4, 322])
def test_a_payload_may_not_pause(version: Version, cut: int) -> None:
    with answered(version) as server:
        server.send(FRAME[:cut])
        outcome = server.outcome()  # the rest would come behind this
        assert outcome.returned == -1
        assert outcome.said(versions.NO_PAYLOAD)
        assert outcome.said(versions.PAUSED) == (version.payload_pause_ms == 5)
        assert server.call.heard == []


@pytest.mark.parametrize("version", [MID, NEW], ids=lambda v: v.name)
def test_a_payload_may_come_in_pieces_without_a_pause(version: Version) -> None:
    """Tried a few times: a host that is busy may pause for more than 5 ms by itself."""
    heard = b""
    for _ in range(10):
        with answered(version) as server:
            server.send(FRAME[:40], *(FRAME[at : at + 40] for at in range(40, 323, 40)))
            until(lambda: server.call.heard or server.call.over)
            heard = server.call.audio
        if heard:
            break
    assert heard == FRAME[3:]


@every_version
def test_the_end_of_the_stream_inside_a_payload_is_fatal(version: Version) -> None:
    with answered(version) as server:
        with server.at_once():
            server.send(FRAME[:100])
            server.finish()
        outcome = server.outcome()
        assert outcome.returned == -1
        assert outcome.said(versions.CUT_PAYLOAD)


@every_version
def test_the_end_of_the_stream_is_a_hangup_and_old_versions_spin_on_it(version: Version) -> None:
    with answered(version) as server:
        server.send(FRAME)
        server.finish()
        if version is OLD:
            until(lambda: server.call.spins > 20)
            assert not server.call.over
            server.call.hang_up()
            assert server.outcome().returned == -1
        else:
            outcome = server.outcome()
            assert (outcome.returned, outcome.log) == (0, [])


@every_version
def test_a_reset_is_fatal(version: Version) -> None:
    with answered(version) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.socket.close()
        outcome = server.outcome()
        assert outcome.returned == -1
        assert any("Connection reset by peer" in text or "Broken pipe" in text for _, text in outcome.log) or (
            outcome.said(versions.NO_KIND)
        )


@pytest.mark.parametrize("cut", [1, 2])
def test_a_torn_header_in_each_version(cut: int) -> None:
    """Sent in two pieces: right only with the loop of 22.9; then nothing more: stuck for ever in every NEW."""
    heard: dict[str, object] = {}
    for version in VERSIONS:
        with answered(version) as server:
            server.send(FRAME[:cut])
            until(lambda: server.call.stuck or server.call.over)
            with suppress(OSError):  # where the call is over by then
                server.send(FRAME[cut:], AFTER_PAUSE_S, FRAME, AFTER_PAUSE_S)
            if version is NEW:
                until(lambda: len(server.call.heard) == 2)
            elif version is OLD:
                assert server.outcome().said(versions.NO_LENGTH)
            heard[version.name] = server.call.heard[0].pcm if server.call.heard else None
    assert heard.pop(NEW.name) == FRAME[3:]
    assert FRAME[3:] not in heard.values()


@pytest.mark.parametrize("version", [NEW, NEW_WRONG_OFFSET], ids=lambda v: v.name)
def test_a_header_that_is_begun_and_not_finished_hangs_the_call(version: Version) -> None:
    with answered(version) as server:
        server.send(FRAME[:2])
        until(lambda: server.call.stuck)
        sent = server.call.frames_sent
        server.call.hang_up()
        time.sleep(AFTER_PAUSE_S)
        assert not server.call.over, "not even the caller's hangup ends it"
        assert server.call.frames_sent == sent, "nor is the caller heard"
        server.call.abandon()
        assert server.outcome().returned == -1


@each_mode
def test_two_seconds_without_anything_from_either_side(version: Version) -> None:
    began = time.monotonic()
    with answered(version, next_frame=lambda tick: None) as server:
        if version is OLD:
            time.sleep(2.2)
            assert not server.call.over
        else:
            assert server.outcome(4).said(versions.IDLE)
            assert time.monotonic() - began >= 1.9


@each_mode
def test_a_caller_who_speaks_keeps_a_mute_server_alive(version: Version) -> None:
    with answered(version) as server:
        time.sleep(2.2)
        assert not server.call.over


@every_version
def test_digits_go_out_at_their_end_and_voice_stops_for_them(version: Version) -> None:
    with answered(version) as server:
        server.message()
        server.call.press("5#")
        until(lambda: not server.call._keys)
        server.call.hang_up("fin")
        kinds, digits = [], b""
        with suppress(AssertionError):  # the fake has closed
            while True:
                kind, payload = server.message()
                kinds.append(kind)
                digits += payload if kind == versions.DTMF else b""
        assert digits == (b"5#" if version.sends_dtmf else b"")
        if version.sends_dtmf:
            first = kinds.index(versions.DTMF)
            assert kinds[first : first + 2] == [versions.DTMF] * 2, "no voice between: the second key is down"


@every_version
def test_a_server_that_does_not_read_ends_the_call_with_a_short_write(version: Version) -> None:
    loud = bytes(60_000)
    frames: NextFrame = lambda tick: loud  # noqa: E731
    with answered(version, next_frame=frames) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        outcome = server.outcome(10)
        assert outcome.returned == -1
        assert outcome.said(versions.NOT_WRITTEN)
        assert outcome.said(versions.NOT_FORWARDED)


@every_version
def test_a_flooding_server_is_read_before_the_caller(version: Version) -> None:
    heard_at_tick: list[int] = []
    calls: list[FakeCall] = []

    def frame(tick: int) -> bytes:
        heard_at_tick.append(len(calls[0].heard) if calls else 0)
        return SILENCE

    with answered(version, next_frame=frame) as server:
        server.message()
        calls.append(server.call)
        with server.at_once():
            ticks = len(heard_at_tick)
            server.send(FRAME * 150)
        until(lambda: len(heard_at_tick) > ticks)
        assert heard_at_tick[ticks] == 150
        assert server.call.audio == FRAME[3:] * 150


def test_nobody_there_is_told_to_the_dialplan() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    outcome = FakeCall(NEW, port).start().result()
    assert (outcome.returned, outcome.try_status) == (-1, "FAILED")
    assert outcome.log == [("ERROR", versions.NOT_CONNECTED)]


def test_what_the_versions_differ_in_is_what_their_source_says() -> None:
    assert [v.no_delay for v in VERSIONS] == [False, False, True, True, True, True]
    assert [v.payload_pause_ms for v in VERSIONS] == [0, 0, 5, 5, 5, 5]
    assert [len(v.audio_kinds) for v in VERSIONS] == [1, 1, 1, 9, 9, 9]
    assert MID_WIDE.header == MID.header == "one read"
