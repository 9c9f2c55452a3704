"""Function steps: run a body once, save how it ended, and give the same answer ever after."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_openworkflow.engine.control import Retry, Suspend
from django_openworkflow.engine.effects import CallBody, CallTransaction, Post, Submit
from django_openworkflow.engine.execution import Undo
from django_openworkflow.engine.watching import watched
from django_openworkflow.exceptions import InvalidInput, InvalidPayload, StepFailed
from django_openworkflow.identifiers import new_id
from django_openworkflow.retries import STEP_ATTEMPTS, RetryPolicy, checked_policy, decide
from django_openworkflow.serialization import decode, describe_error, encode, encode_error
from django_openworkflow.states import StepKind, StepStatus
from django_openworkflow.store import operations as ops
from django_openworkflow.store.operations import Attempt, StorageInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_openworkflow.engine.effects import StepProgram
    from django_openworkflow.engine.execution import Execution


class FunctionCall:
    """The call of one function step in one pass. Made, it has its durable name."""

    def __init__(
        self,
        execution: Execution,
        name: str,
        *,
        policy: RetryPolicy | None = None,
        compensate: Any = None,
    ) -> None:
        if compensate is not None and not callable(compensate):
            message = f"compensate must be a function of the step's result, not {compensate!r}"
            raise InvalidInput(message)
        self._execution = execution
        self._policy = checked_policy(policy)
        self._compensate: Callable[[Any], object] | None = compensate
        self.key = execution.enter(name)
        self._saved = execution.saved(self.key, StepKind.FUNCTION)
        self._attempt: Attempt | None = None
        self._start_again: ops.StepStarted | None = None

    def run(self, fn: Callable[[], Any]) -> StepProgram:
        """Run the body on its own; its checkpoint is written with what comes next."""
        if self._saved is not None:
            return self._replayed(self._saved)
        self._check_failures()
        yield Submit(operations=(self._start(),))
        try:
            body = watched(self._execution.claimed, self.key, fn)
            result = yield CallBody(step_name=self.key, fn=body)
            operation = self._complete(result)
        except BaseException as error:  # whatever user code raises is the user's
            yield from self._failed(error)
        yield Post(operation=operation)
        return self._done(operation)

    def transact(self, fn: Callable[[], Any]) -> StepProgram:
        """Run the body and its checkpoint in one transaction: both take effect, or neither."""
        if self._saved is not None:
            return self._replayed(self._saved)
        self._check_failures()
        yield Submit(operations=(self._start(),))
        try:
            body = watched(self._execution.claimed, self.key, fn)
            operation = yield CallTransaction(
                step_name=self.key, fn=body, checkpoint=self._complete
            )
        except StorageInterrupted:
            raise
        except BaseException as error:  # whatever user code raises is the user's
            yield from self._failed(error)  # a cancel that rolled it back is how it ended, too
        return self._done(operation)

    # --- replay ---------------------------------------------------------------------------------

    def _replayed(self, saved: Attempt) -> Any:
        if self._compensate is not None:
            undo = Undo(key=self.key, compensate=self._compensate, saved=saved)
            self._execution.undos.append(undo)
        return saved.output

    def _check_failures(self) -> None:
        """Raise what earlier failures of this step come to: for good, or not yet again."""
        history = self._execution.history
        failures = history.failures(self.key)
        if not failures:
            return
        error = history.last_error(self.key)
        is_final = error.get("retryable") is False
        if is_final or not self._policy.allows(failures, default_attempts=STEP_ATTEMPTS):
            raise StepFailed(self.key, failures, error)
        failed_at = history.last_failed_at(self.key)
        left = (
            failed_at + self._policy.delay(failures) - self._execution.now
            if failed_at
            else timedelta()
        )
        if left > timedelta(milliseconds=1):  # woken early, for a parallel branch
            self._execution.suspend(Suspend(retry=Retry(error=encode_error(error), delay=left)))

    # --- a new attempt --------------------------------------------------------------------------

    def _start(self) -> ops.StepStarted:
        """Return the record that must be accepted before the body may run.

        A row that an interrupted pass left behind is taken over instead of adding another one.
        """
        execution = self._execution
        leftover = execution.history.running.get(self.key)
        if leftover is None:
            execution.begin(self.key)
        self._attempt = leftover or Attempt(
            id=new_id(),
            step_name=self.key,
            kind=StepKind.FUNCTION,
            status=StepStatus.RUNNING,
            created_at=execution.now,
        )
        start = ops.StepStarted(
            lease=execution.claimed.lease,
            attempt_id=self._attempt.id,
            step_name=self.key,
            kind=StepKind.FUNCTION,
            resumed=leftover is not None,
            has_undo=self._compensate is not None,
        )
        self._start_again = None if start.resumed else start
        return start

    def _complete(self, result: object) -> ops.StepCompleted:
        text = encode(result, what=f'output of step "{self.key}"')
        return ops.StepCompleted(
            lease=self._execution.claimed.lease,
            attempt_id=self._started.id,
            output=text,
            started=self._start_again,
        )

    def _done(self, operation: ops.StepCompleted) -> Any:
        return decode(operation.output)

    def _failed(self, error: BaseException) -> StepProgram:
        """Record a failure, then raise the next try or ``StepFailed``. Never returns."""
        self._execution.check_lost(error)
        text = describe_error(error)
        is_final = isinstance(error, InvalidPayload)  # the same again would be refused again
        if is_final:
            text = encode_error({**decode(text), "retryable": False})
        lease = self._execution.claimed.lease
        failure = ops.StepFailed(
            lease=lease, attempt_id=self._started.id, error=text, started=self._start_again
        )
        yield Submit(operations=(failure,))
        self._execution.check_interrupted(error)
        failures = self._note_failure(text)
        delay = decide(
            self._policy,
            failures,
            default_attempts=STEP_ATTEMPTS,
            now=self._execution.now,
            deadline_at=self._execution.claimed.deadline_at,
        )
        if delay is None or is_final:
            raise StepFailed(self.key, failures, decode(text)) from error
        self._execution.suspend(Suspend(retry=Retry(error=text, delay=delay)))

    def _note_failure(self, text: str) -> int:
        history = self._execution.history
        history.note_failure(
            replace(
                self._started,
                status=StepStatus.FAILED,
                error=decode(text),
                finished_at=self._execution.now,
            )
        )
        return history.failures(self.key)

    @property
    def _started(self) -> Attempt:
        if self._attempt is None:
            message = "a step's body runs after its start was recorded"
            raise RuntimeError(message)
        return self._attempt
