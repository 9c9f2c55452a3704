"""Steps that wait: sleeps, signals, child runs. A wait that is not over ends the pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_openworkflow.durations import one_year_after, to_moment, to_timedelta
from django_openworkflow.engine.effects import Post, Submit, WaitUntil
from django_openworkflow.engine.history import moment_in
from django_openworkflow.engine.watching import traced_child
from django_openworkflow.exceptions import InvalidInput, StepFailed
from django_openworkflow.identifiers import new_id
from django_openworkflow.names import is_printable, name_problem
from django_openworkflow.schemas import SignalPayload, check_signal
from django_openworkflow.serialization import (
    decode,
    encode,
    encode_error,
    encode_stored,
    plain_error,
)
from django_openworkflow.states import SUCCESSFUL, TERMINAL, RunStatus, StepKind
from django_openworkflow.store import operations as ops
from django_openworkflow.workflows import Workflow

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from django_openworkflow.engine.effects import StepProgram
    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.store.operations import Attempt


# --- sleep ----------------------------------------------------------------------------------------


def sleep(execution: Execution, name: str, duration: str | timedelta) -> StepProgram:
    """Sleep; the end is fixed by the database's clock when the sleep begins."""
    span = to_timedelta(duration)
    return _sleep(execution, execution.enter(name), span)


def _sleep(execution: Execution, key: str, span: timedelta) -> StepProgram:
    if execution.saved(key, StepKind.SLEEP) is not None:
        return None
    if (pending := execution.history.running.get(key)) is not None:
        yield WaitUntil(wake_at=moment_in(pending, "resumeAt"))
    execution.begin(key)
    yield WaitUntil(
        start=ops.SleepStarted(
            lease=execution.claimed.lease, attempt_id=new_id(), step_name=key, duration=span
        )
    )
    return None


# --- signals --------------------------------------------------------------------------------------


def wait_for_signal(
    execution: Execution,
    signal: str,
    *,
    timeout: str | timedelta | datetime | None,
    schema: Any,
    name: str | None,
) -> StepProgram:
    """Wait for a signal. Source: the original's ``execution.ts``, waitForSignal."""
    check_address(signal)
    limit = None if timeout is None else to_moment(timeout)
    key = execution.enter(signal if name is None else name)
    return _wait_for_signal(execution, key, signal, limit, schema)


def _wait_for_signal(
    execution: Execution,
    key: str,
    signal: str,
    limit: datetime | timedelta | None,
    schema: Any,
) -> StepProgram:
    saved = execution.saved(key, StepKind.SIGNAL_WAIT)
    if saved is not None:
        return _payload(saved.output, schema)
    failed = execution.history.failures(key)
    if failed:
        raise StepFailed(key, failed, execution.history.last_error(key))
    pending = execution.history.running.get(key)
    if pending is None:
        _check_not_waited_for(execution, signal)
        execution.begin(key)
        execution.waiting_for[signal] = key
        yield WaitUntil(
            start=ops.SignalWaitStarted(
                lease=execution.claimed.lease,
                attempt_id=new_id(),
                step_name=key,
                signal=signal,
                timeout=limit,
            )
        )
        return None
    return (yield from _resume_signal_wait(execution, pending, schema))


def _resume_signal_wait(execution: Execution, pending: Attempt, schema: Any) -> StepProgram:
    lease = execution.claimed.lease
    delivered = pending.delivered
    timeout_at = moment_in(pending, "timeoutAt") or one_year_after(pending.created_at)
    if delivered is None and timeout_at <= execution.now:
        timed_out = ops.WaitTimedOut(lease=lease, attempt_id=pending.id)
        receipt = yield Submit(operations=(timed_out,))
        if receipt.value is None:
            execution.history.note_over(pending)
            return None
        delivered = receipt.value
    if delivered is None:
        yield WaitUntil(wake_at=timeout_at)
        return None
    execution.history.note_over(pending)
    output = {"data": delivered.data}
    try:
        payload = _payload(output, schema)
    except InvalidInput as error:
        text = plain_error(str(error), name="SignalValidationError")
        failure = ops.StepFailed(lease=lease, attempt_id=pending.id, error=text)
        yield Submit(operations=(failure,))
        raise StepFailed(pending.step_name, 1, decode(text)) from error
    stored = encode_stored(output)  # the sender's limits were kept when it was sent
    yield Post(operation=ops.StepCompleted(lease=lease, attempt_id=pending.id, output=stored))
    return payload


def _payload(output: Any, schema: Any) -> SignalPayload | None:
    if output is None:
        return None
    return SignalPayload(data=check_signal(schema, output.get("data")))


def _check_not_waited_for(execution: Execution, signal: str) -> None:
    for step_name, attempt in execution.history.running.items():
        if attempt.kind == StepKind.SIGNAL_WAIT and attempt.context.get("signal") == signal:
            execution.waiting_for.setdefault(signal, step_name)
    if (step := execution.waiting_for.get(signal)) is not None:
        message = f'Signal "{signal}" is already being waited on by step "{step}"'
        raise InvalidInput(message)


def send_signal(execution: Execution, signal: str, data: Any, *, name: str | None) -> StepProgram:
    """Send a signal once: delivered and recorded in one transaction; return the receivers' ids."""
    check_address(signal)
    text = encode(data, what=f'data of signal "{signal}"')
    key = execution.enter(signal if name is None else name)
    return _send_signal(execution, key, signal, text)


def _send_signal(execution: Execution, key: str, signal: str, text: str | None) -> StepProgram:
    saved = execution.saved(key, StepKind.SIGNAL_SEND)
    if saved is not None:
        return saved.output["workflowRunIds"]
    pending = execution.history.running.get(key)
    if pending is None:
        execution.begin(key)
    sent = ops.SignalSent(
        lease=execution.claimed.lease,
        attempt_id=pending.id if pending else new_id(),
        step_name=key,
        signal=signal,
        data=text,
        resumed=pending is not None,
    )
    receipt = yield Submit(operations=(sent,))
    return receipt.value


def check_address(signal: object) -> None:
    """Raise ``InvalidInput`` unless this can be the address of a signal."""
    if not is_printable(signal):
        raise InvalidInput(name_problem("A signal's name", signal))


# --- child runs -----------------------------------------------------------------------------------


def run_child(execution: Execution, workflow: object, args: Any, kwargs: Any) -> StepProgram:
    """Start a child run and wait for it. Source: the original's ``execution.ts``, runWorkflow."""
    if not isinstance(workflow, Workflow):
        message = f"run_workflow() takes a workflow, not {workflow!r}"
        raise InvalidInput(message)
    child = workflow.new_run(args, kwargs)
    key = execution.enter(workflow.options.step_name or workflow.name)
    return _run_child(execution, key, child, workflow.options.timeout)


def _run_child(
    execution: Execution,
    key: str,
    child: ops.NewRun,
    timeout: datetime | timedelta | None,
) -> StepProgram:
    saved = execution.saved(key, StepKind.WORKFLOW)
    if saved is not None:
        return saved.output
    failed = execution.history.failures(key)
    if failed:
        raise StepFailed(key, failed, execution.history.last_error(key))
    pending = execution.history.running.get(key)
    if pending is not None and pending.child_run_id is not None:
        return (yield from _resume_child(execution, pending))
    if pending is None:
        execution.begin(key)
    child_id = new_id()
    yield WaitUntil(
        start=ops.ChildStarted(
            lease=execution.claimed.lease,
            attempt_id=pending.id if pending else new_id(),
            step_name=key,
            child_id=child_id,
            child=traced_child(execution.claimed, child, child_id),
            timeout=timeout,
            resumed=pending is not None,
        )
    )
    return None


def _resume_child(execution: Execution, pending: Attempt) -> StepProgram:
    """Take the child's outcome, or wait on. A child that ended in time wins over the timeout."""
    child = pending.child
    timeout_at = moment_in(pending, "timeoutAt") or one_year_after(pending.created_at)
    has_ended = child is not None and child.status in TERMINAL
    in_time = child is not None and (child.finished_at or execution.now) <= timeout_at
    error = None
    if child is None:
        error = _child_error(pending, "could not find linked child workflow run")
    elif timeout_at <= execution.now and not (has_ended and in_time):
        error = plain_error("Timed out waiting for child workflow to complete")
    elif not has_ended:
        yield WaitUntil(wake_at=timeout_at)
    elif child.status not in SUCCESSFUL:
        error = _error_of_child(pending, child)
    execution.history.note_over(pending)
    lease = execution.claimed.lease
    if error is not None:
        yield Submit(operations=(ops.StepFailed(lease=lease, attempt_id=pending.id, error=error),))
        raise StepFailed(pending.step_name, 1, decode(error))
    output = encode_stored(child.output) if child else None
    done = ops.StepCompleted(lease=lease, attempt_id=pending.id, output=output)
    yield Post(operation=done)
    return decode(output)


def _error_of_child(pending: Attempt, child: ops.ChildOutcome) -> str:
    if child.status == RunStatus.CANCELED:
        return plain_error(
            f'Workflow step "{pending.step_name}" failed because child workflow run '
            f'"{pending.child_run_id}" was canceled'
        )
    if isinstance(child.error, dict) and child.error:
        return encode_error(child.error)
    return plain_error(f'Child workflow run "{pending.child_run_id}" failed')


def _child_error(pending: Attempt, problem: str) -> str:
    return plain_error(f'Workflow step "{pending.step_name}" {problem} "{pending.child_run_id}"')
