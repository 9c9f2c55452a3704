"""Drive the programs of steps: in a thread, or on an event loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction

from django_openworkflow.arguments import is_coroutine_function
from django_openworkflow.engine.connections import current_connections
from django_openworkflow.engine.control import Suspend
from django_openworkflow.engine.effects import CallBody, CallTransaction, Post, Submit, WaitUntil
from django_openworkflow.engine.execution import current_body, in_branch
from django_openworkflow.exceptions import InvalidInput, StepCallRefused
from django_openworkflow.store.operations import Receipt, StorageInterrupted, Verdict
from django_openworkflow.transactions import is_deadlock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from django_openworkflow.engine.async_pass import AsyncPass
    from django_openworkflow.engine.effects import Effect, StepProgram
    from django_openworkflow.engine.execution import Execution
    from django_openworkflow.store.operations import StepCompleted

logger: Final = logging.getLogger(__name__)


def drive(execution: Execution, program: StepProgram) -> Any:
    """Run a step's program in the calling thread; return its value or raise what it raises."""
    try:
        effect = next(program)
        while True:
            try:
                value = _perform(execution, effect)
            except BaseException as error:  # the program decides what an error means
                effect = program.throw(error)
            else:
                effect = program.send(value)
    except StopIteration as stop:
        return stop.value


def _perform(execution: Execution, effect: Effect) -> Any:
    if isinstance(effect, Submit):
        return execution.submit(*effect.operations)
    if isinstance(effect, Post):
        return execution.post(effect.operation)
    if isinstance(effect, CallBody):
        with inside_body(effect.step_name):
            return effect.fn()
    if isinstance(effect, CallTransaction):
        return call_transaction(execution, effect)
    return _wait(execution, effect)


def _wait(execution: Execution, effect: WaitUntil) -> NoReturn:
    """End the pass here. A new wait begins with the park, or at once in a parallel branch."""
    if effect.start is None:
        execution.suspend(Suspend(wake_at=effect.wake_at))
    if not in_branch.get():
        execution.suspend(Suspend(waits=(effect.start,)))
    receipt = execution.submit(effect.start)
    execution.suspend(Suspend(wake_at=receipt.value))


# --- on an event loop -----------------------------------------------------------------------------


async def adrive(current: AsyncPass, program: StepProgram) -> Any:
    """Run a step's program on the event loop. A branch that has to wait never comes back."""
    if current.is_closing:
        await current.block(Suspend())
    try:
        effect = next(program)
        while True:
            try:
                value = await _aperform(current, effect)
            except BaseException as error:  # the program decides what an error means
                effect = program.throw(error)
            else:
                effect = program.send(value)
    except StopIteration as stop:
        return stop.value
    except Suspend as suspend:
        return await current.block(suspend)


async def _aperform(current: AsyncPass, effect: Effect) -> Any:
    execution = current.execution
    if isinstance(effect, Submit):
        with current.busy():
            return await execution.asubmit(*effect.operations)
    if isinstance(effect, Post):
        with current.busy():
            return await execution.apost(effect.operation)
    if isinstance(effect, WaitUntil):
        if effect.start is None:
            raise Suspend(wake_at=effect.wake_at)
        with current.busy():
            receipt = await execution.asubmit(effect.start)
        raise Suspend(wake_at=receipt.value)
    with current.busy():
        if isinstance(effect, CallTransaction):
            if is_coroutine_function(effect.fn):
                message = (
                    f'Step "{effect.step_name}" is a transaction: its function cannot be async'
                )
                raise InvalidInput(message)
            return await _to_its_end(current.in_thread(lambda: call_transaction(execution, effect)))
        return await _acall_body(current, effect)


async def _acall_body(current: AsyncPass, effect: CallBody) -> Any:
    """Await an async body in place; run a sync one in a thread, so that it blocks nobody."""
    token = current_body.set(effect.step_name)
    try:
        if is_coroutine_function(effect.fn):
            return await effect.fn()
        result = await _to_its_end(current.in_thread(lambda: _call_sync_body(effect)))
        return await result if inspect.isawaitable(result) else result
    finally:
        current_body.reset(token)


async def _to_its_end(threaded: Awaitable[Any]) -> Any:
    """Wait for a thread although the task is cancelled: the thread goes on, and its result counts.

    As in sync code, the step in flight may finish; the cancel is heeded when it is recorded.
    """
    future = asyncio.ensure_future(threaded)
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            if future.cancelled():
                raise
    return future.result()


def _call_sync_body(effect: CallBody) -> Any:
    with inside_body(effect.step_name):
        return effect.fn()


# --- bodies ---------------------------------------------------------------------------------------


@contextmanager
def inside_body(key: str) -> Iterator[None]:
    """Surround the user's function: healthy connections before, none left in a transaction."""
    mine = current_connections()
    mine.refresh()
    token = current_body.set(key)
    alias = None
    try:
        yield
    finally:
        current_body.reset(token)
        alias = mine.open_transaction()
        if alias:
            mine.roll_back(alias)
    if alias:
        message = f'Step "{key}" left a transaction open on database "{alias}"; it was rolled back'
        raise StepCallRefused(message)


def call_transaction(execution: Execution, effect: CallTransaction) -> Any:
    """Call the user's function and write its checkpoint in one ``atomic()`` block.

    The fenced checkpoint is the last statement: if the run was canceled or lost meanwhile, all is
    rolled back. When the reply to the commit is lost, the database is asked what became of it.
    The fence may meet somebody who waits for rows that the body has locked; if the database breaks
    up this side of such a deadlock, the transaction begins again, with nothing held against it.
    """
    using = execution.using
    operation: StepCompleted | None = None
    receipt = Receipt(verdict=Verdict.ACCEPTED, at=execution.now)
    opened: Any = None
    try:
        with inside_body(effect.step_name), transaction.atomic(using=using):
            opened = connections[using].connection
            operation = effect.checkpoint(effect.fn())
            receipt = execution.ledger.commit_with(operation)
            run_id = execution.claimed.lease.run_id
            # A cancel that the body itself has made commits with it; one that came first does not.
            if receipt.verdict is not Verdict.CANCELED or execution.ledger.was_canceled(run_id):
                execution.heed(receipt)
    except Exception as error:
        is_committed = operation is not None and execution.ledger.is_completed(operation.attempt_id)
        if not is_committed:
            if operation is not None and is_deadlock(error):  # not the body's: all of it again
                return call_transaction(execution, effect)
            if _may_be_lost(error, within_body=operation is None):
                _heed_lost_connection(execution, using, error, opened)
            raise
        logger.exception(
            "Step %r has committed; what its commit called raised",
            effect.step_name,
            extra=execution.claimed.log_facts(step=effect.step_name),
        )
    execution.heed(receipt)
    return operation


def _may_be_lost(error: Exception, *, within_body: bool) -> bool:
    """Whether an error may mean that the connection is gone.

    PostgreSQL reports the end of a transaction that was silent for too long as an internal error.
    In a body, that is the body's failure: it would take as long the next time.
    """
    return isinstance(error, OperationalError | InterfaceError) or (
        isinstance(error, InternalError) and not within_body
    )


def _heed_lost_connection(
    execution: Execution, using: str, error: Exception, opened: object
) -> None:
    """Stop the pass if the database went away: that is nobody's failure, and is tried again.

    ``opened`` is the driver's connection that the transaction began on: Django may have connected
    anew already when the transaction's end failed.
    """
    connection = connections[using]
    if connection.connection is opened and (connection.in_atomic_block or connection.is_usable()):
        return
    connection.close()
    interrupted = StorageInterrupted("the connection was lost in a transaction step")
    interrupted.__cause__ = error
    execution.stop(interrupted)
