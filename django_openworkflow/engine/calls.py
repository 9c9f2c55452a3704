"""One call of a function step, phase by phase, without any input or output of its own.

The sync and the async ``Step`` both drive it: open, start, run the body, complete or fail.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from django_openworkflow.engine.control import StepRetry
from django_openworkflow.engine.execution import Execution, current_body
from django_openworkflow.exceptions import (
    InvalidPayload,
    StepCallRefused,
    StepFailed,
)
from django_openworkflow.identifiers import new_id
from django_openworkflow.retries import STEP_ATTEMPTS, RetryPolicy, checked_policy, decide
from django_openworkflow.serialization import decode, describe_error, encode, encode_error
from django_openworkflow.states import StepKind, StepStatus
from django_openworkflow.store import operations as ops
from django_openworkflow.store.operations import Attempt

if TYPE_CHECKING:
    from collections.abc import Iterator


class FunctionCall:
    """The call of one step in one pass. Raises at once where the call cannot be made."""

    def __init__(self, execution: Execution, name: str, policy: RetryPolicy | None) -> None:
        self._execution = execution
        self._policy = checked_policy(policy)
        self.key = execution.enter(name)
        self.saved = execution.saved(self.key, StepKind.FUNCTION)
        if self.saved is None:
            self._raise_if_exhausted()
        self._resumed = False
        self._attempt: Attempt | None = None

    def _raise_if_exhausted(self) -> None:
        history = self._execution.history
        failures = history.failures(self.key)
        if not failures:
            return
        error = history.last_error(self.key)
        is_final = error.get("retryable") is False
        if is_final or not self._policy.allows(failures, default_attempts=STEP_ATTEMPTS):
            raise StepFailed(self.key, failures, error)

    def start(self) -> ops.StepStarted:
        """Return the record that must be accepted before the body may run.

        A row that an interrupted pass left behind is taken over instead of adding another one.
        """
        execution = self._execution
        leftover = execution.history.running.get(self.key)
        if leftover is None:
            execution.count_attempt()
        self._attempt = leftover or Attempt(
            id=new_id(),
            step_name=self.key,
            kind=StepKind.FUNCTION,
            status=StepStatus.RUNNING,
            context=None,
            output=None,
            error=None,
            child_run_id=None,
            created_at=execution.now,
        )
        return ops.StepStarted(
            lease=execution.claimed.lease,
            attempt_id=self._attempt.id,
            step_name=self.key,
            kind=StepKind.FUNCTION,
            resumed=leftover is not None,
        )

    @contextmanager
    def body(self) -> Iterator[None]:
        """Surround the user's function: healthy connections before, none left in a transaction."""
        connections = self._execution.connections
        connections.refresh()
        token = current_body.set(self.key)
        alias = None
        try:
            yield
        finally:
            current_body.reset(token)
            alias = connections.open_transaction()
            if alias:
                connections.roll_back(alias)
        if alias:
            message = (
                f'Step "{self.key}" left a transaction open on database "{alias}"; '
                "it was rolled back"
            )
            raise StepCallRefused(message)

    def encode(self, result: object) -> str | None:
        """Return the result as it will be stored, or raise ``InvalidPayload``."""
        return encode(result, what=f'output of step "{self.key}"')

    def complete(self, text: str | None) -> ops.StepCompleted:
        """Return the record of a body that returned."""
        return ops.StepCompleted(
            lease=self._execution.claimed.lease, attempt_id=self._started.id, output=text
        )

    def fail(self, error: BaseException) -> ops.StepFailed:
        """Return the record of a body that raised. A result that cannot be stored is final."""
        text = describe_error(error)
        if isinstance(error, InvalidPayload):
            text = encode_error({**decode(text), "retryable": False})
        self._attempt = replace(self._started, status=StepStatus.FAILED, error=decode(text))
        return ops.StepFailed(
            lease=self._execution.claimed.lease, attempt_id=self._started.id, error=text
        )

    def raise_failure(self, error: BaseException, text: str) -> None:
        """After the failure was recorded: raise the retry to come, or ``StepFailed``."""
        execution = self._execution
        execution.check()
        execution.history.note_failure(self._started)
        failures = execution.history.failures(self.key)
        delay = decide(
            self._policy,
            failures,
            default_attempts=STEP_ATTEMPTS,
            now=execution.now,
            deadline_at=execution.claimed.deadline_at,
        )
        if delay is None or isinstance(error, InvalidPayload):
            raise StepFailed(self.key, failures, self._started.error) from error
        execution.stop(StepRetry(text, delay))

    @property
    def _started(self) -> Attempt:
        if self._attempt is None:
            message = "start() comes before the body"
            raise RuntimeError(message)
        return self._attempt
