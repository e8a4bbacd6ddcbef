"""atheris on the binding: any bytes, any arguments, and the compiled core says what the reference says.

    python tests/fuzz/binding/fuzz_binding.py --seconds 60            every target, one process each
    python tests/fuzz/binding/fuzz_binding.py parser                  one target, with libFuzzer's options behind it
    python tests/fuzz/binding/fuzz_binding.py call -runs=1 CRASHFILE  what was found, again

What steers the input is the coverage of the reference, which runs beside the compiled core. A wrong argument may raise
ValueError or OverflowError and nothing else; where the reference takes an argument, both must agree.
"""

from __future__ import annotations

import argparse
import os
import reprlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    print("atheris is not installed (its wheels are for x86-64 Linux): the binding is not fuzzed")
    sys.exit(int("CI" in os.environ))

with atheris.instrument_imports(include=["fastaudio._reference"]):
    from fastaudio import _core, _reference

from fastaudio.errors import ProtocolError, StaleGeneration

ROOT = Path(__file__).parents[3]
CORPUS = Path(__file__).parent.parent / "corpus"
BUILD = ROOT / "build" / "fuzz-binding"
UUID = bytes(range(16))
TICK_NS = 20_000_000
RATES = (8000, 16000, 0, 12000, 44100, 48000)


class Different(AssertionError):
    """The compiled core and the reference do not say the same."""


def same(ours: Any, theirs: Any, what: object) -> Any:
    """Both values, which must be equal."""
    if ours != theirs:
        raise Different(f"{what}: the core says {reprlib.repr(ours)}, the reference {reprlib.repr(theirs)}")
    return ours


def answer(work: Callable[[], Any]) -> Any:
    """What it returns, or what it raises of the allowed exceptions."""
    try:
        return work()
    except ProtocolError as error:
        return ProtocolError, error.reason, error.offset
    except (StaleGeneration, ValueError, OverflowError) as error:
        return type(error)


def both(twins: list[Any], method: str, *arguments: Any) -> Any:
    """The same done to the compiled one and to the reference."""
    ours, theirs = (answer(partial(getattr(twin, method), *arguments)) for twin in twins)
    return same(ours, theirs, (method, [reprlib.repr(argument) for argument in arguments]))


# ---- targets


def parser(data: bytes) -> None:
    """A stream cut where the input says."""
    source = atheris.FuzzedDataProvider(data)
    twins: list[Any] = [_core.FrameParser(), _reference.FrameParser()]
    if source.ConsumeBool():
        both(twins, "feed", _core.message(0x01, UUID))
    while source.remaining_bytes():
        both(twins, "feed", source.ConsumeBytes(source.ConsumeIntInRange(0, 700)))
        same(twins[0].error, twins[1].error, "error")


def rechunker(data: bytes) -> None:
    """Any frame size, right or wrong, and any chunks."""
    source = atheris.FuzzedDataProvider(data)
    size = source.ConsumeIntInRange(-4, 8000)
    ours, theirs = (answer(partial(module.Rechunker, size)) for module in (_core, _reference))
    if isinstance(ours, type):
        same(ours in (ValueError, OverflowError), theirs is ValueError, size)
        return
    twins = [ours, theirs]
    while source.remaining_bytes():
        if source.ConsumeIntInRange(0, 9) == 0:
            both(twins, "finish")
        else:
            both(twins, "push", source.ConsumeBytes(source.ConsumeIntInRange(0, 2000)))
        same(ours.carried, theirs.carried, "carried")


def functions(data: bytes) -> None:
    """`message`, `rms`, `rms_batch`, and the makers of units with any options."""
    source = atheris.FuzzedDataProvider(data)
    kind, frame = source.ConsumeIntInRange(-2, 300), source.ConsumeIntInRange(-2, 400)
    repeat = source.PickValueInList([1, 1, 1, 300, 70_000])
    modules: list[Any] = [_core, _reference]
    options = {
        "rms": source.ConsumeIntInRange(0, 70_000),
        "barge_ms": source.ConsumeIntInRange(0, 3000),
        "unbroken": source.ConsumeBool(),
        "release_ticks": source.ConsumeIntInRange(0, 20),
        "limit_ticks": source.ConsumeIntInRange(0, 100),
        "rewind_ms": source.ConsumeIntInRange(0, 300),
    }
    if source.ConsumeBool():
        options["hold_window"] = source.ConsumeIntInRange(0, 70)
        options["hold_need"] = source.ConsumeIntInRange(0, 70)
    pcm = source.ConsumeBytes(source.remaining_bytes())
    payload = pcm * repeat if len(pcm) * repeat <= 200_000 else pcm
    if 0 <= kind <= 255:
        both(modules, "message", kind, payload)
    else:
        expect(lambda: _core.message(kind, payload))
    both(modules, "rms", pcm)
    if frame > 0:
        both(modules, "rms_batch", pcm, frame)
    else:
        expect(lambda: _core.rms_batch(pcm, frame))
    ours, theirs = (answer(partial(module.BargeIn, **options)) for module in modules)
    same(ours if isinstance(ours, type) else None, theirs if isinstance(theirs, type) else None, options)
    if not isinstance(ours, type):
        for byte in pcm:
            both([ours, theirs], "frame", bool(byte & 1))
            both([ours, theirs], "tick", bool(byte & 6))


def expect(work: Callable[[], Any]) -> None:
    """An argument is out of range: refused, by name, and by nothing else."""
    if answer(work) not in (ValueError, OverflowError):
        raise Different("an argument out of range was taken")


def call(data: bytes) -> None:
    """A call driven by hand: the peer's bytes, the agent's wishes and the clock, in any order."""
    source = atheris.FuzzedDataProvider(data)
    options: dict[str, Any] = {
        "rate": source.PickValueInList(list(RATES)),
        "lead": source.ConsumeIntInRange(0, 3),
        "playback_slots": 32,
        "capture_blocks": 128,
        "detector": "rms",
        "bargein": {"barge_ms": source.ConsumeIntInRange(20, 400), "limit_ticks": 9, "rewind_ms": 60, "rms": 200},
    }
    twins = [module.Call(7, **options) for module in (_core, _reference)]
    events = source.PickValueInList([4, 64])
    for twin in twins:
        twin.start(UUID, events)
    readers = [twin.reader() for twin in twins]
    generation, now_ns, ended = 1, 0, False
    while source.remaining_bytes():
        match source.ConsumeIntInRange(0, 13):
            case 0 | 1:
                pcm = source.ConsumeBytes(source.ConsumeIntInRange(0, 40)) * source.ConsumeIntInRange(1, 60)
                both(twins, "write", generation, pcm)
            case 2:
                generation += both(twins, "end", generation) is True
            case 3:
                both(twins, "write", source.ConsumeIntInRange(0, generation), b"\x01\x02" * 50)
            case 4:
                flushed = source.ConsumeIntInRange(0, generation)
                both(twins, "forget", flushed)
                generation = max(generation, flushed + 1)
                both(twins, "do_flush", flushed)
            case 5:
                both(twins, "do_hold")
            case 6:
                both(twins, "do_resume", source.ConsumeIntInRange(0, 300))
            case 7:
                both(twins, "ask_space")
                both(twins, "ask_capture", both(twins, "captured") + source.ConsumeIntInRange(0, 9))
            case 8 if options["rate"]:  # a call that follows its caller has no reader before the rate is known
                both(readers, "read", source.ConsumeIntInRange(0, 70), source.ConsumeBool())
            case 9 if not ended:
                ended = both(twins, "input", source.ConsumeBytes(source.ConsumeIntInRange(0, 400)), now_ns) is not None
            case 10 if not ended:
                audio = source.ConsumeBytes(source.ConsumeIntInRange(0, 20)) * source.ConsumeIntInRange(0, 90)
                message = _core.message(0x10 + source.ConsumeIntInRange(0, 8), audio)
                ended = both(twins, "input", message, now_ns) is not None
            case 11 if source.ConsumeIntInRange(0, 7) == 0:
                both(twins, "do_close", source.ConsumeIntInRange(0, 9))
            case _:
                periods = source.PickValueInList([1, 1, 1, 1, 2, 4, 5, 30])
                now_ns += periods * TICK_NS
                late_ns = (periods - 1) * TICK_NS
                both(twins, "tick", periods, periods > 4, late_ns, source.ConsumeIntInRange(0, 9) > 0, now_ns)
        both(twins, "heard")
        both(twins, "events")
        both(twins, "counters")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "parser": parser, "rechunker": rechunker, "functions": functions, "call": call,
}  # fmt: skip


# ---- the runner


def run(name: str, seconds: int) -> bool:
    """Run a target in a process of its own and print a line; False, and what it said, when something was found."""
    found = BUILD / name
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", f"-artifact_prefix={BUILD}/{name}-"]
    command = [sys.executable, __file__, name, *options, str(found), str(CORPUS / f"binding-{name}")]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    runs = " ".join(line for line in lines if line.startswith("Done "))
    failed = done.returncode != 0
    told = [line for line in lines if not line.startswith(("#", "INFO", "WARNING"))][-30:] if failed else []
    print("\n".join([f"binding {name:<10} {'FAILED' if failed else 'ok':<7} {runs}", *told]), flush=True)
    return not failed


def main() -> int:
    """Every target for a time, or one with libFuzzer's own options."""
    if len(sys.argv) > 1 and sys.argv[1] in TARGETS:
        atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
        atheris.Fuzz()
        return 0
    choose = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choose.add_argument("--seconds", type=int, default=60, help="for each of: " + ", ".join(TARGETS))
    seconds: int = choose.parse_args().seconds
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return int(not all(list(pool.map(lambda name: run(name, seconds), TARGETS))))


if __name__ == "__main__":
    sys.exit(main())
