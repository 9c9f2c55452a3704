"""Private control flow. ``BaseException``, so that ``except Exception`` lets it pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from django_openworkflow.store.operations import SleepStarted


class ControlFlow(BaseException):
    """Ends a pass early. The pass remembers it: code that swallows it changes nothing."""


class Park(ControlFlow):
    """The run waits for a time or an event and needs no worker meanwhile."""

    def __init__(
        self, *, wake_at: datetime | None = None, sleep: SleepStarted | None = None
    ) -> None:
        self.wake_at = wake_at
        self.sleep = sleep
        super().__init__("the run parks")


class StepRetry(ControlFlow):
    """A step failed and has tries left: the run goes back to pending for a while."""

    def __init__(self, error: str, delay: timedelta) -> None:
        self.error = error
        self.delay = delay
        super().__init__("a step is tried again later")


class Release(ControlFlow):
    """The worker drains: another one goes on with the run."""


class LeaseLost(ControlFlow):
    """The run belongs to somebody else by now, or has ended: write nothing more."""
