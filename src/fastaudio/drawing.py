"""What pictures of audio share: colours, and a waveform. Needs numpy and matplotlib; nothing here opens a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, PAPER = "#1f2933", "#9aa5b1", "#ffffff"
SIDES: Final[dict[str, str]] = {"caller": "#2f6fb5", "agent": "#c2571a"}
DECISIONS: Final[dict[str, str]] = {"hold": "#b7791f", "resume": "#2f855a", "barge-in": "#c53030"}

HEIGHT: Final = 0.6
"""How far full scale goes from the middle of a waveform."""
SLICES: Final = 2000


def draw_wave(area: Axes, track: bytes, rate: int, middle: float, colour: str, first_s: float, last_s: float) -> None:
    """Draw 16-bit PCM as an envelope: the lowest and highest sample of each of 2000 slices of the time shown."""
    import numpy as np

    samples = np.frombuffer(track[: len(track) & ~1], "<i2")
    samples = samples[round(first_s * rate) : round(last_s * rate)]
    step = max(1, round((last_s - first_s) * rate / SLICES))
    count = len(samples) // step
    if count == 0:
        return
    slices = samples[: count * step].reshape(count, step) / 32768.0
    # A square root lets quiet speech be seen beside loud speech.
    low, high = (np.sign(edge) * np.sqrt(np.abs(edge)) * HEIGHT for edge in (slices.min(axis=1), slices.max(axis=1)))
    times = first_s + np.arange(count) * step / rate
    area.fill_between(times, middle + low, middle + high, color=colour, linewidth=0.0)
