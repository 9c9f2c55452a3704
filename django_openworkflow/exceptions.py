"""Every error a user can meet: one base, one sentence per class, the facts as attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID


class _Whole:
    """An error that is pickled and copied with its sentence and its facts.

    Python would call the class again with the sentence as its only argument.
    """

    args: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[BaseException], args: tuple[Any, ...], facts: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class OpenWorkflowError(_Whole, Exception):
    """Base of all errors raised by this package."""


# --- runs ---------------------------------------------------------------------------------------


class RunNotFound(OpenWorkflowError):
    """No run with this id exists in the configured namespace."""

    def __init__(self, run_id: UUID | str) -> None:
        self.run_id = run_id
        super().__init__(f"Workflow run {run_id} does not exist")


class RunNotCancelable(OpenWorkflowError):
    """The run has already ended otherwise, so it cannot be canceled."""

    def __init__(self, run_id: UUID | str, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"Cannot cancel workflow run {run_id} with status {status}")


class RunNotRetryable(OpenWorkflowError):
    """Only failed and canceled runs can be put back to pending."""

    def __init__(self, run_id: UUID | str, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"Cannot retry workflow run {run_id} with status {status}")


class WorkflowCanceled(OpenWorkflowError):
    """The run whose result was asked for has been canceled."""

    def __init__(self, workflow_name: str, run_id: UUID | str, reason: str = "") -> None:
        self.workflow_name = workflow_name
        self.run_id = run_id
        self.reason = reason
        super().__init__(f"Workflow {workflow_name} was canceled")


class WorkflowFailed(OpenWorkflowError):
    """The run whose result was asked for has failed; ``error`` is what the run stored."""

    def __init__(self, workflow_name: str, run_id: UUID | str, error: Any) -> None:
        self.workflow_name = workflow_name
        self.run_id = run_id
        self.error: dict[str, Any] = error if isinstance(error, dict) else {"message": str(error)}
        super().__init__(f"Workflow {workflow_name} failed: {error_sentence(self.error)}")


class ResultTimeout(OpenWorkflowError):
    """The run did not end within the time given to ``result()``; it goes on all the same."""

    def __init__(self, run_id: UUID | str, timeout_seconds: float) -> None:
        self.run_id = run_id
        self.timeout_seconds = timeout_seconds
        span = "1 second" if timeout_seconds == 1 else f"{timeout_seconds:g} seconds"
        super().__init__(f"Workflow run {run_id} did not end within {span}")


# --- input, definitions -------------------------------------------------------------------------


class InvalidInput(OpenWorkflowError):
    """An argument does not fit; nothing was written."""


class InvalidPayload(InvalidInput):
    """A value cannot be stored as JSON without changing; nothing was written.

    ``what`` names the payload ("input", "output of step ..."), ``path`` the place in it.
    """

    def __init__(self, what: str, path: str, problem: str) -> None:
        self.what = what
        self.path = path
        self.problem = problem
        super().__init__(f"The {what} cannot be stored: {path}: {problem}")


class InvalidDuration(InvalidInput):
    """A duration is malformed, negative, not finite or too long."""


class DuplicateWorkflow(OpenWorkflowError):
    """Two workflows were registered under the same name and version."""

    def __init__(self, name: str, version: str | None) -> None:
        self.name = name
        self.version = version
        super().__init__(f"{describe_workflow(name, version)} is already registered")


class WorkflowNotRegistered(OpenWorkflowError):
    """No installed app's ``workflows`` module registers this name and version."""

    def __init__(self, name: str, version: str | None) -> None:
        self.name = name
        self.version = version
        super().__init__(f"{describe_workflow(name, version)} is not registered")


# --- inside a run -------------------------------------------------------------------------------


class StepLimitExceeded(OpenWorkflowError):
    """The run has used up its step attempts; it fails without a retry."""

    def __init__(self, limit: int, count: int) -> None:
        self.limit = limit
        self.count = count
        super().__init__(f"Exceeded the step limit of {limit} attempts (current count: {count})")


class StepFailed(OpenWorkflowError):
    """A step has failed for good: its retries are used up. ``error`` is its stored last error."""

    def __init__(self, step_name: str, attempts: int, error: dict[str, Any]) -> None:
        self.step_name = step_name
        self.attempts = attempts
        self.error = error
        super().__init__(
            f'Step "{step_name}" failed after {attempts} '
            f"attempt{'' if attempts == 1 else 's'}: {error_sentence(error)}"
        )


class NonDeterministicWorkflow(OpenWorkflowError):
    """The code and the saved steps of a run do not tell the same story."""


class StepCallRefused(OpenWorkflowError):
    """A step was called where it cannot be durable; the message names the place."""


class RunCanceled(_Whole, BaseException):
    """Raised inside workflow code when its run was canceled.

    Not an ``OpenWorkflowError``: it derives from ``BaseException``, so that ``except Exception``
    cannot swallow it. No further step can start; what is to be undone registers ``compensate``.
    """

    def __init__(self, run_id: UUID | str) -> None:
        self.run_id = run_id
        super().__init__(f"Workflow run {run_id} was canceled")


def describe_workflow(name: str, version: str | None) -> str:
    """Name a definition as the original's messages do. Source: the original's ``worker.ts``."""
    return f'Workflow "{name}"' if version is None else f'Workflow "{name}" (version: {version})'


def error_sentence(error: dict[str, Any]) -> str:
    """Put a stored error into one line: its class name, if it has one, and its message."""
    name, message = error.get("name"), error.get("message", "")
    return f"{name}: {message}" if name else str(message)
