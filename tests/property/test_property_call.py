"""A call is driven at random, and the compiled core and the reference say the same: each byte, event and counter."""

import functools
import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastaudio import _core, _reference
from fastaudio.errors import StaleGeneration

UUID = bytes(range(16))
TICK_NS = 20_000_000


@functools.cache
def noise(seed: int, peak: int) -> bytes:
    """A prime number of samples: repeated, it is not the same in two frames of any rate."""
    source = random.Random(seed)
    return b"".join(source.randint(-peak, peak).to_bytes(2, "little", signed=True) for _ in range(997))


def pcm(seed: int, samples: int, peak: int) -> bytes:
    """Noise of so many samples."""
    return (noise(seed, peak) * (samples // 997 + 1))[: 2 * samples]


class Twins(RuleBasedStateMachine):
    """One compiled call and one of the reference, side by side."""

    @initialize(
        rate=st.sampled_from([8000, 16000, *_reference.AUDIO_KINDS]),
        lead=st.integers(0, 3),
        rewind_ms=st.sampled_from([0, 35, 200]),
        detector=st.sampled_from(["rms", "rms+webrtc", "adaptive"]),
        follow=st.booleans(),
        wait=st.integers(0, 12),
        late=st.integers(1, 7),
        events=st.sampled_from([4, 1024, 1024]),
        barge_ms=st.sampled_from([60, 300]),
        limit_ticks=st.sampled_from([3, 75]),
        decide_ticks=st.sampled_from([0, 8, 50]),
    )
    def begin(
        self, rate: int, lead: int, rewind_ms: int, detector: str, follow: bool, wait: int, late: int,
        events: int, barge_ms: int, limit_ticks: int, decide_ticks: int,
    ) -> None:  # fmt: skip
        if rate not in (8000, 16000):
            detector = "rms"
        follow = follow and detector == "rms"
        options: dict[str, Any] = {
            "rate": 0 if follow else rate,
            "lead": lead,
            "playback_slots": 32,
            "capture_blocks": 128,
            "detector": detector,
            "bargein": {
                "rewind_ms": rewind_ms,
                "barge_ms": barge_ms,
                "limit_ticks": limit_ticks,
                "decide_ticks": decide_ticks,
                "release_ticks": 5,
            },
        }
        self.calls: list[Any] = [module.Call(7, **options) for module in (_core, _reference)]
        for call in self.calls:
            call.start(UUID, events)
        self.readers = [[call.reader()] for call in self.calls]
        self.lead = lead
        self.generation = 1
        self.now_ns = 0
        self.ticks = 0
        self.ended = False
        self.closed = False
        self.at_rate(rate)
        if follow:
            self.follow(rate, wait, late)

    def at_rate(self, rate: int) -> None:
        self.frame_samples = rate // 50
        self.scale = rate // 8000
        self.kind = _reference.AUDIO_KINDS[rate]

    def follow(self, rate: int, wait: int, late: int) -> None:
        """The rate is known by the caller's first audio, or not within 200 ms."""
        self.at_rate(8000)
        for n in range(wait):
            assert self.both("frame_bytes") == 320
            self.receive(b"\x03\x00\x01" + b"%d" % (n % 10) if n % 3 == 1 else b"\x12\x00\x00")
            self.tick(1, stalled=False)
        if wait < _reference.RATE_TICKS:
            self.at_rate(rate)
        self.both("late", late)
        self.receive(_core.message(self.kind, pcm(1, self.frame_samples, 99)))
        assert self.both("frame_bytes") == 2 * self.frame_samples
        self.tick(late, stalled=late > 4)
        self.readers = [[call.reader()] for call in self.calls]  # of now: nobody could read before

    def both(self, method: str, *args: Any, **options: Any) -> Any:
        """Does the same to both and checks that both answer the same, exceptions included."""
        answers = []
        for call in self.calls:
            try:
                member = getattr(call, method)
                answers.append(member(*args, **options) if callable(member) else member)
            except (StaleGeneration, ValueError) as error:
                answers.append(type(error))
        assert answers[0] == answers[1]
        return answers[0]

    # ---- the agent

    @rule(seed=st.integers(0, 99), samples=st.integers(0, 5000), cut=st.booleans(), newer=st.integers(0, 9))
    def write(self, seed: int, samples: int, cut: bool, newer: int) -> None:
        self.generation += newer == 0
        self.both("write", self.generation, pcm(seed, samples * self.scale, 9000)[int(cut) :])

    @rule(older=st.integers(1, 3), end=st.booleans())
    def write_too_late(self, older: int, end: bool) -> None:
        """To an utterance that has ended, was flushed, or (generation 0) never was one."""
        generation = max(0, self.generation - older)
        if end:
            self.both("end", generation)
        else:
            self.both("write", generation, pcm(1, 100, 9000))

    @rule()
    def end(self) -> None:
        if self.both("end", self.generation) is True:
            self.generation += 1

    @rule(older=st.integers(0, 2), forget=st.booleans())
    def flush(self, older: int, forget: bool) -> None:
        generation = max(0, self.generation - older)
        if forget:
            self.both("forget", generation)
            self.generation = max(self.generation, generation + 1)
        self.both("do_flush", generation)

    @rule(
        seed=st.integers(0, 99),
        samples=st.one_of(st.integers(0, 5000), st.integers(0, 1000)),
        tail=st.integers(0, 50),
        end=st.booleans(),
        ticks=st.one_of(st.integers(0, 30), st.integers(0, 4)),
        late=st.integers(1, 4),
    )
    def say(self, seed: int, samples: int, tail: int, end: bool, ticks: int, late: int) -> None:
        """An utterance, often of nearly whole frames, and some of its playing."""
        samples = samples * self.scale // self.frame_samples * self.frame_samples + tail
        self.both("write", self.generation, pcm(seed, samples, 9000))
        if end:
            self.end()
        for _ in range(ticks):
            self.tick(1, stalled=False)
        self.tick(late, stalled=False)

    @rule(ticks=st.integers(0, 3), rewind_ms=st.integers(0, 250), again=st.booleans(), flush=st.booleans())
    def pause(self, ticks: int, rewind_ms: int, again: bool, flush: bool) -> None:
        """Hold and resume, and changing one's mind before the next tick."""
        self.both("do_hold")
        for _ in range(ticks):
            self.tick(1, stalled=False)
        self.both("do_resume", rewind_ms)
        if again:
            self.both("do_hold")
            self.both("do_resume", rewind_ms)
        if flush:
            self.flush(0, forget=True)
        self.tick(1, stalled=False)

    @rule()
    def hold(self) -> None:
        self.both("do_hold")

    @rule(rewind_ms=st.integers(0, 250))
    def resume(self, rewind_ms: int) -> None:
        self.both("do_resume", rewind_ms)

    @precondition(lambda self: self.ticks > 40)
    @rule(trail=st.integers(0, 15))
    def close(self, trail: int) -> None:
        self.both("do_close", trail)
        self.closed = True

    @rule(more=st.integers(0, 20))
    def ask(self, more: int) -> None:
        self.both("ask_capture", self.both("captured") + more)
        self.both("ask_space")

    @rule(preroll=st.integers(0, 200))
    def open_reader(self, preroll: int) -> None:
        for call, readers in zip(self.calls, self.readers, strict=True):
            readers.append(call.reader(preroll))

    @rule(which=st.integers(0, 5), most=st.integers(0, 100), sent=st.booleans())
    def read(self, which: int, most: int, sent: bool) -> None:
        compiled, reference = (readers[which % len(readers)] for readers in self.readers)
        assert compiled.read(most, sent) == reference.read(most, sent)
        assert (compiled.position, compiled.lost) == (reference.position, reference.lost)

    # ---- the caller

    @precondition(lambda self: not self.ended)
    @rule(seed=st.integers(0, 99), frames=st.integers(1, 30), loud=st.booleans())
    def speak(self, seed: int, frames: int, loud: bool) -> None:
        """Frames of the caller arrive at once."""
        audio = pcm(seed, frames * self.frame_samples, 12000 if loud else 60)
        size = 2 * self.frame_samples
        self.receive(b"".join(
            _core.message(self.kind, audio[at : at + size]) for at in range(0, len(audio), size)))  # fmt: skip

    @precondition(lambda self: not self.ended)
    @rule(
        messages=st.lists(
            st.tuples(
                st.sampled_from([0x03, 0, 0, 0x10, 0x12, 0x18]),  # 0: the call's own kind
                st.one_of(st.integers(0, 700), st.sampled_from([160, 320, 480, 640, 960])),
                st.integers(0, 99),
            ),
            max_size=4,
        ),
        cut=st.integers(1, 400),
    )
    def receive_odd(self, messages: list[tuple[int, int, int]], cut: int) -> None:
        """Digits, other rates, odd lengths, and any split."""
        stream = b""
        for kind, length, seed in messages:
            size = max(0, length * self.scale - seed % 2)
            stream += _core.message(kind or self.kind, b"5" if kind == 0x03 else pcm(seed, size, 3000)[:size])
        for at in range(0, len(stream), cut * self.scale):
            self.receive(stream[at : at + cut * self.scale])

    @precondition(lambda self: not self.ended and self.ticks > 60)
    @rule(bad=st.sampled_from([b"\x00\x00\x00", b"\xff\x00\x01\x02", b"\x42\x00\x00", b"\x01\x00\x10" + UUID]))
    def break_off(self, bad: bytes) -> None:
        self.receive(bad)

    def receive(self, data: bytes) -> None:
        if self.both("input", data, self.now_ns) is not None:
            self.ended = True

    # ---- the clock

    @rule(ticks=st.integers(1, 30), talking=st.booleans(), seed=st.integers(0, 99))
    def run(self, ticks: int, talking: bool, seed: int) -> None:
        """Ticks in time, with the caller's frames between them."""
        for n in range(ticks):
            if not self.ended:
                frame = pcm(seed + n, self.frame_samples, 12000 if talking else 40)
                self.receive(_core.message(self.kind, frame))
            self.tick(1, stalled=False)

    @rule(periods=st.integers(0, 4), frames=st.integers(0, 6), loud=st.booleans(), twice=st.booleans())
    def run_late(self, periods: int, frames: int, loud: bool, twice: bool) -> None:
        self.late_tick(periods, frames, loud, twice)

    @rule(periods=st.integers(5, 60), behind=st.integers(-3, 40), loud=st.booleans())
    def stall(self, periods: int, behind: int, loud: bool) -> None:
        """What the caller said in the meantime waits in the socket: about as much as has passed, or less."""
        self.late_tick(periods, max(0, periods - behind), loud, twice=False)

    @rule(periods=st.integers(2, 60))
    def tick_late(self, periods: int) -> None:
        """Without input before it, nobody needs to know that it is late."""
        self.tick(periods, stalled=periods > 4)

    def late_tick(self, periods: int, frames: int, loud: bool, twice: bool) -> None:
        """As the engine does it: the time that has passed is told first, then comes what the socket holds."""
        self.both("late", periods)
        if twice:
            self.both("late", 2)
        if frames and not self.ended:
            self.speak(periods, frames, loud)
        if periods > 2:
            self.both("tick", periods - 2)  # less than was told: refused
        if periods:
            self.tick(periods, stalled=periods > 4)
        else:
            self.both("late", 1)

    @rule(ticks=st.integers(1, 3))
    def peer_takes_nothing(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick(1, stalled=False, can_send=False)

    def tick(self, periods: int, stalled: bool, can_send: bool = True) -> None:
        self.now_ns += periods * TICK_NS
        self.ticks += periods
        late_ns = (periods - 1) * TICK_NS + 123
        out = self.both("tick", periods, stalled, late_ns, can_send, self.now_ns)
        size = 3 + 2 * self.frame_samples
        frames, rest = divmod(len(out), size)
        assert rest in (0, 3)
        assert all(out[at] == self.kind for at in range(0, frames * size, size))
        assert frames <= (1 if stalled else periods) + self.lead

    # ---- what holds at any time

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "calls"):
            return
        told = self.both("events")
        for kind, call, *_ in told:
            assert call == 7
            assert _reference.EventKind(kind)
        self.both("heard")
        self.both("captured")
        counters = self.both("counters")
        assert self.calls[0].stale_bytes == self.calls[1].stale_bytes
        # Never more than the lead ahead of the clock, over the whole call.
        assert counters["frames_out"] <= self.ticks + self.lead


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=300, stateful_step_count=50)
