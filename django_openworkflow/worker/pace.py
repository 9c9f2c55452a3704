"""How long a worker pauses between two polls."""

from __future__ import annotations

import random
from typing import Final

# After a notification: soon enough to find what was not notified because of it.
_FOLLOW_UP_SECONDS: Final = 0.005


class Pace:
    """Pauses that double from the first to the longest while nothing is found.

    The longest comes with up to half of it on top, by chance, so that many workers that have
    nothing to do do not all ask at the same time, and each less than once in a second by default.
    """

    def __init__(self, poll_seconds: tuple[float, float]) -> None:
        self._first, self._longest = poll_seconds
        self._next = self._first

    def hurry(self) -> None:
        """Begin anew, with shorter pauses: there was a notification."""
        self._next = min(_FOLLOW_UP_SECONDS, self._first)

    def pause(self, *, has_claimed: bool, is_full: bool) -> float:
        """Return the seconds of the next pause. A worker without a free slot has no need to ask."""
        if is_full:
            return self._longest
        if has_claimed:
            self._next = min(self._next, self._first)
        pause = self._next
        if pause >= self._longest:
            return self._longest * random.uniform(1.1, 1.5)  # noqa: S311 - jitter
        self._next = min(2 * pause, self._longest)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
