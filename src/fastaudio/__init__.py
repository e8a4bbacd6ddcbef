"""The compiled media core of a voice agent: AudioSocket, the 20 ms clock, playback, capture and barge-in."""

try:
    from fastaudio._core import END_REASONS
except ImportError as error:  # pragma: no cover - what a source tree without a build says
    raise ImportError(
        "fastaudio's compiled core is missing: install the wheel (pip install fastaudio-agent), or in a source "
        "tree run make build"
    ) from error
