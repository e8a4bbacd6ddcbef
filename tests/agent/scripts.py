"""What simulated callers say in more than one of these tests."""

from __future__ import annotations

from typing import Final

BOOKING: Final = """
say: My kitchen tap is leaking
say: Yes that's fine
say: SW4 7DQ
say: Yes that's right
say: Twelve Baker Street
say: Anna Smith
say: No thanks
"""
"""A plumber's visit is booked, from the trouble to the goodbye."""
