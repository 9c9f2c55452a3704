"""Hold on to a run: ask for its status, wait for its result, cancel it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from asgiref.sync import sync_to_async

from django_openworkflow import waiting
from django_openworkflow.durations import to_timedelta
from django_openworkflow.exceptions import (
    InvalidDuration,
    ResultTimeout,
    RunNotFound,
    WorkflowCanceled,
    WorkflowFailed,
)
from django_openworkflow.states import SUCCESSFUL, RunStatus

if TYPE_CHECKING:
    from uuid import UUID

    from django_openworkflow.models import WorkflowRun
    from django_openworkflow.querysets import WorkflowRunQuerySet

R_co = TypeVar("R_co", covariant=True)
Timeout: TypeAlias = float | str | timedelta | datetime | None

# Source: the original's ``client.ts`` waits five minutes by default.
DEFAULT_TIMEOUT_SECONDS: Final = 300.0


@dataclass(frozen=True)
class RunHandle(Generic[R_co]):
    """A run by its id; every question is answered from the database."""

    id: UUID

    @classmethod
    def get(cls, run_id: UUID | str) -> RunHandle[Any]:
        """Return the handle of an existing run; raises ``RunNotFound``."""
        return RunHandle(_runs().fetch(run_id).pk)

    @property
    def run(self) -> WorkflowRun:
        """The run as it is now; raises ``RunNotFound`` when it was deleted."""
        return _runs().fetch(self.id)

    @property
    def status(self) -> str:
        """The status as it is now."""
        status = _runs().filter(pk=self.id).values_list("status", flat=True).first()
        if status is None:
            raise RunNotFound(self.id)
        return str(status)

    def result(self, timeout: Timeout = DEFAULT_TIMEOUT_SECONDS) -> R_co:
        """Wait until the run has ended and return its output.

        ``timeout``: seconds, a duration, or an aware time; None waits for ever. Raises
        ``WorkflowFailed``, ``WorkflowCanceled`` or ``ResultTimeout``. All who wait in a process
        share one look at the database, with growing pauses up to a second: not for use inside a
        request, and never inside the transaction that started the run.
        """
        seconds = _seconds(timeout)
        if not waiting.wait_for_end(self.id, seconds):
            raise ResultTimeout(self.id, seconds or 0.0)
        return self._outcome()

    async def aresult(self, timeout: Timeout = DEFAULT_TIMEOUT_SECONDS) -> R_co:
        """See ``result``."""
        seconds = _seconds(timeout)
        if not await waiting.await_end(self.id, seconds):
            raise ResultTimeout(self.id, seconds or 0.0)
        return await sync_to_async(self._outcome)()

    def cancel(
        self,
        reason: str = "",
        actor: object = None,
        cascade: bool = False,  # noqa: FBT001, FBT002 - as the manager's
    ) -> WorkflowRun:
        """Cancel the run; see ``WorkflowRun.objects.cancel``."""
        return _runs().cancel(self.id, reason=reason, actor=actor, cascade=cascade)

    cancel.alters_data = True  # type: ignore[attr-defined]

    async def acancel(
        self,
        reason: str = "",
        actor: object = None,
        cascade: bool = False,  # noqa: FBT001, FBT002 - as the manager's
    ) -> WorkflowRun:
        """See ``cancel``."""
        return await sync_to_async(self.cancel)(reason=reason, actor=actor, cascade=cascade)

    def _outcome(self) -> R_co:
        run = self.run
        if run.status in SUCCESSFUL:
            return cast("R_co", run.output)
        if run.status == RunStatus.CANCELED:
            raise WorkflowCanceled(run.workflow_name, run.pk, run.cancel_reason)
        raise WorkflowFailed(run.workflow_name, run.pk, run.error)


def _seconds(timeout: Timeout) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, str | timedelta):
        return to_timedelta(timeout).total_seconds()
    if isinstance(timeout, datetime) and timeout.tzinfo is not None:
        return max(0.0, (timeout - datetime.now(UTC)).total_seconds())
    seconds = _number(timeout)
    if not 0 <= seconds < float("inf"):  # NaN is not either
        message = f"timeout must be seconds, a duration, an aware time or None, not {timeout!r}"
        raise InvalidDuration(message)
    return seconds


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return math.inf


def _runs() -> WorkflowRunQuerySet:
    from django_openworkflow.models import WorkflowRun

    runs: WorkflowRunQuerySet = WorkflowRun.objects.all()
    return runs
