"""Private control flow. ``BaseException``, so that ``except Exception`` lets it pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from django_openworkflow.store.operations import WaitOperation


class ControlFlow(BaseException):
    """Ends a pass early. The pass remembers it: code that swallows it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A step that failed and is tried again after a delay."""

    error: str
    delay: timedelta


class Suspend(ControlFlow):
    """The run cannot go on now: it waits for a time, an event, or the next try of a step."""

    def __init__(
        self,
        *,
        wake_at: datetime | None = None,
        waits: tuple[WaitOperation, ...] = (),
        retry: Retry | None = None,
    ) -> None:
        self.wake_at = wake_at
        self.waits = waits
        self.retry = retry
        super().__init__("the run gives up its worker for now")

    @classmethod
    def together(cls, suspends: Iterable[Suspend]) -> Suspend:
        """Combine what parallel branches wait for: the earliest ends it for all."""
        many = list(suspends)
        moments = [one.wake_at for one in many if one.wake_at is not None]
        retries = [one.retry for one in many if one.retry is not None]
        return cls(
            wake_at=min(moments, default=None),
            waits=tuple(wait for one in many for wait in one.waits),
            retry=min(retries, key=lambda retry: retry.delay, default=None),
        )


class Release(ControlFlow):
    """The worker drains: another one goes on with the run."""


class LeaseLost(ControlFlow):
    """The run belongs to somebody else by now, or has ended: write nothing more."""
