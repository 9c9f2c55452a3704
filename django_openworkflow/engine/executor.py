"""Execute one claimed run: replay, run what is new, and settle how the pass ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow import conf, signals
from django_openworkflow.engine.connections import user_connections
from django_openworkflow.engine.control import ControlFlow, Park, Release, StepRetry
from django_openworkflow.engine.execution import Execution
from django_openworkflow.engine.history import History
from django_openworkflow.engine.steps import Step
from django_openworkflow.exceptions import (
    InvalidPayload,
    RunCanceled,
    StepFailed,
    StepLimitExceeded,
)
from django_openworkflow.registry import registry
from django_openworkflow.retries import WORKFLOW_ATTEMPTS, decide
from django_openworkflow.serialization import describe_error, encode, encode_error, plain_error
from django_openworkflow.store.announcements import announce_run
from django_openworkflow.store.operations import (
    Attempt,
    ClaimedRun,
    Ledger,
    RunCompleted,
    RunFailed,
    RunOperation,
    RunParked,
    RunReleased,
    RunRescheduled,
    StepCompleted,
    StorageInterrupted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from django.dispatch import Signal

    from django_openworkflow.workflows import Workflow

_DEADLINE_EXCEEDED: Final = "Workflow run deadline exceeded"
_SILENT: Final = (RunCanceled, StorageInterrupted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The workflow's function raised this."""

    error: BaseException


class Executor:
    """Executes one claimed run in the calling thread; ``execution`` may be told things."""

    def __init__(
        self, claimed: ClaimedRun, attempts: Sequence[Attempt], ledger: Ledger, *, using: str
    ) -> None:
        self._claimed = claimed
        self._using = using
        history = History(attempts, limit=conf.get_settings().STEP_LIMIT)
        self.execution = Execution(claimed, history, ledger)

    def execute(self) -> None:
        """Do one pass. Raises neither what the workflow does nor a lost lease or database."""
        with user_connections() as connections:
            self.execution.connections = connections
            if self._claimed.is_first:
                announce_run(signals.run_started, self._claimed.lease.run_id, using=self._using)
            try:
                self._settle(self._pass())
            except (ControlFlow, *_SILENT):
                return  # told so by the ledger; whoever holds the run now goes on with it

    def _pass(self) -> Any:
        execution = self.execution
        workflow = registry.find(self._claimed.workflow_name, self._claimed.version)
        try:
            execution.history.check_limit()
            self._complete_sleeps()
            return workflow.call(Step(execution), self._claimed.input)
        except BaseException as error:  # whatever user code raises is the user's
            return Raised(error=error)

    def _complete_sleeps(self) -> None:
        """Complete sleeps that are over before user code runs, as the original does."""
        execution = self.execution
        over = execution.history.sleeps_over_by(self._claimed.claimed_at)
        if over:
            lease = self._claimed.lease
            execution.submit(*(StepCompleted(lease=lease, attempt_id=sleep.id) for sleep in over))
        for sleep in over:
            execution.history.note_completed(sleep)

    # --- settle ---------------------------------------------------------------------------------

    def _settle(self, result: Any) -> None:
        """Write how the pass ended. What ended it early wins over what user code made of that."""
        stopped = self.execution.stopped
        operation = self._stopped(stopped) if stopped else self._ended(result)
        if operation is None:
            return
        self.execution.stopped = None
        self.execution.submit(operation)
        ends: dict[type, Signal] = {
            RunCompleted: signals.run_completed,
            RunFailed: signals.run_failed,
        }
        if signal := ends.get(type(operation)):
            announce_run(signal, self._claimed.lease.run_id, using=self._using)

    def _stopped(self, stopped: BaseException) -> RunOperation | None:
        lease = self._claimed.lease
        if isinstance(stopped, Park):
            sleeps = (stopped.sleep,) if stopped.sleep else ()
            return RunParked(lease=lease, wake_at=stopped.wake_at, sleeps=sleeps)
        if isinstance(stopped, StepRetry):
            return RunRescheduled(
                lease=lease, error=stopped.error, delay=stopped.delay, is_failure=False
            )
        if isinstance(stopped, Release):
            return RunReleased(lease=lease)
        if isinstance(stopped, StepLimitExceeded):
            return self._failed(_limit_error(stopped))
        return None

    def _ended(self, result: Any) -> RunOperation:
        if isinstance(result, Raised):
            return self._raised(result.error)
        try:
            text = encode(result, what=f"output of workflow {self._claimed.workflow_name}")
        except InvalidPayload as error:
            return self._failed(describe_error(error))
        return RunCompleted(
            lease=self._claimed.lease, parent_run_id=self._claimed.parent_run_id, output=text
        )

    def _raised(self, error: BaseException) -> RunOperation:
        if isinstance(error, StepFailed):
            # The step's own policy has decided already. Source: the original's ``execution.ts``.
            return self._failed(encode_error(error.error))
        if isinstance(error, StepLimitExceeded):
            return self._failed(_limit_error(error))
        delay = self._retry_delay()
        if delay is None:
            return self._failed(describe_error(error))
        return RunRescheduled(
            lease=self._claimed.lease, error=describe_error(error), delay=delay, is_failure=True
        )

    def _retry_delay(self) -> timedelta | None:
        workflow: Workflow[Any, Any] = registry.find(
            self._claimed.workflow_name, self._claimed.version
        )
        return decide(
            workflow.retry_policy,
            self._claimed.failures + 1,
            default_attempts=WORKFLOW_ATTEMPTS,
            now=self.execution.now,
            deadline_at=self._claimed.deadline_at,
        )

    def _failed(self, error: str) -> RunFailed:
        deadline_at = self._claimed.deadline_at
        if deadline_at is not None and self.execution.now >= deadline_at:
            error = plain_error(_DEADLINE_EXCEEDED)
        return RunFailed(
            lease=self._claimed.lease, parent_run_id=self._claimed.parent_run_id, error=error
        )


def _limit_error(error: StepLimitExceeded) -> str:
    """Return the error object of the original. Source: its ``step-history.ts``."""
    return plain_error(
        str(error),
        name="StepLimitExceededError",
        code="STEP_LIMIT_EXCEEDED",
        limit=error.limit,
        stepCount=error.count,
    )
