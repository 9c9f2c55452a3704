"""Wake a thread, from any other one and from a signal handler."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class WakeUp:
    """A call that ends the pause of the one thread that waits; one that came before counts as well.

    Not an ``Event``: a signal handler is run by the waiting thread itself, between any two of its
    instructions, and would wait for ever for the lock that this thread holds inside of ``wait()``.
    To put something into a ``SimpleQueue`` is safe there.
    Source: https://docs.python.org/3/library/queue.html#queue.SimpleQueue.put
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()

    def call(self) -> None:
        """End the pause, or the next one. Whoever calls has first written down what it is for."""
        if self._calls.empty():  # else the waiting thread has yet to look at what was written down
            self._calls.put(None)

    def wait(self, seconds: float) -> None:
        """Pause for so long, unless there was a call since the last pause."""
        try:
            self._calls.get(timeout=max(0.0, seconds))
        except Empty:
            return
