"""Both sides of a call on one time line, a stereo block of 20 ms a tick, for any number of readers.

Position p is the p-th 20 ms after the UUID. Blocks are published in order once both sides are known. The caller's side
has gaps (loss, DTX, telephone hold) and a clock of its own: its frames are placed in order as they arrive, and only
when they are more than 100 ms behind the clock is one filled with silence, flagged.
"""

from dataclasses import dataclass

from fastaudio._reference.types import Buffer

FILL_BEHIND = 5
"""Frames: from more than 100 ms behind the clock on, silence takes the place of what did not come."""
AHEAD_MAX = 25
"""Frames of surplus kept, 500 ms; what comes on top is dropped and counted in `overrun`."""
AHEAD_QUIET = 2
"""Frames of surplus that are plain jitter; above it quiet frames are left out and counted in `left_out`."""
WRITE_WINDOW = AHEAD_MAX + 8
"""Blocks ahead of a written one that may be under way: a reader must not trust the ones they overwrite."""

FILLED, HELD, SPEECH, SENT = 1, 2, 4, 8
"""Flags of a block: the caller's side is fill; playback was held; the caller speaks; the sent side is audio."""


@dataclass
class Block:
    """One 20 ms of both sides; silence until something is placed."""

    caller: bytes
    sent: bytes
    flags: int = 0


class Capture:
    """The writer's side, of `capacity` blocks."""

    def __init__(self, capacity: int, frame_bytes: int) -> None:
        self.now = 0  # ticks: positions below it are due
        self.caller_at = 0  # next position of the caller's side
        self.sent_at = 0  # next position of the sent side
        self.ready = 0  # blocks published
        self.filled = self.left_out = self.overrun = 0
        self.frame_bytes = frame_bytes
        self._capacity = capacity
        self._claim = WRITE_WINDOW
        self._filling = False
        self._blocks: dict[int, Block] = {}

    @property
    def oldest(self) -> int:
        """The first block that is certain not to be overwritten."""
        return max(0, self._claim - self._capacity)

    def block(self, position: int) -> Block:
        if position not in self._blocks:
            if position >= self._claim:
                self._claim = position + WRITE_WINDOW
                self._blocks = {at: block for at, block in self._blocks.items() if at >= self.oldest}
            self._blocks[position] = Block(bytes(self.frame_bytes), bytes(self.frame_bytes))
        return self._blocks[position]

    def tick(self, periods: int) -> None:
        """The clock moves on."""
        self.now += periods

    def arriving(self, frames: int) -> None:
        """About so many frames are about to be placed: after a fill they are taken to end now."""
        if self._filling:
            while self.caller_at + frames < self.now:
                self._fill()
            self._filling = False

    def caller(self, frame: Buffer, flags: int, quiet: bool) -> None:
        """Places a frame of the caller, or leaves it out when the caller is too far ahead of the clock."""
        ahead = self.caller_at - self.now
        if quiet and ahead > AHEAD_QUIET:
            self.left_out += 1
        elif ahead >= AHEAD_MAX:
            self.overrun += 1
        else:
            self._place(bytes(frame), flags)

    def sent(self, frame: Buffer | None, flags: int) -> None:
        """Records what was sent at the next position, None for silence."""
        block = self.block(self.sent_at)
        if frame is not None:
            block.sent = bytes(frame)
            flags |= SENT
        block.flags |= flags
        self.sent_at += 1

    def sent_nothing_until(self, position: int) -> None:
        """Ticks on which nothing was sent were silence to the caller."""
        while self.sent_at < position:
            self.sent(None, 0)

    def publish(self) -> None:
        """Fills what is more than 100 ms behind, and publishes what is due and known on both sides."""
        while self.caller_at + FILL_BEHIND < self.now:
            self._fill()
        self.sent_nothing_until(self.now)
        self.ready = min(self.caller_at, self.now)

    def _place(self, frame: bytes, flags: int) -> None:
        block = self.block(self.caller_at)
        block.caller = frame
        block.flags |= flags
        self.caller_at += 1

    def _fill(self) -> None:
        self._place(bytes(self.frame_bytes), FILLED)
        self.filled += 1
        self._filling = True


class Reader:
    """A place on the time line, with its own count of what it lost. It begins `preroll` blocks ago at the most."""

    def __init__(self, capture: Capture, preroll: int = 0) -> None:
        self._capture = capture
        self.position = max(capture.ready - preroll, 0, capture.oldest)
        self.lost = 0

    def read(self, max_blocks: int = 64, sent: bool = False) -> tuple[int, bytes, bytes | None, bytes] | None:
        """Up to `max_blocks` blocks that follow each other: (first block, caller, sent or None, flags), or None."""
        ready, oldest = self._capture.ready, self._capture.oldest
        most = min(max_blocks, ready - self.position)
        if most <= 0:
            return None
        if self.position < oldest:  # overtaken by the writer
            self.lost += oldest - self.position
            self.position = oldest
        first = self.position
        blocks = [self._capture.block(at) for at in range(first, min(first + most, ready))]
        self.position += len(blocks)
        if not blocks:
            return None
        other = b"".join(block.sent for block in blocks) if sent else None
        return first, b"".join(block.caller for block in blocks), other, bytes(block.flags for block in blocks)
