"""Execute one claimed run: replay, run what is new, and settle how the pass ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow import conf, instrumentation, signals
from django_openworkflow.cleanups import workflow_name_of
from django_openworkflow.engine.async_pass import AsyncPass
from django_openworkflow.engine.async_steps import AsyncStep
from django_openworkflow.engine.cleaning import aclean_up, clean_up, registered_undos
from django_openworkflow.engine.connections import current_connections, user_connections
from django_openworkflow.engine.control import ControlFlow
from django_openworkflow.engine.execution import Execution
from django_openworkflow.engine.history import History
from django_openworkflow.engine.settling import Raised, Returned, settle
from django_openworkflow.engine.steps import Step
from django_openworkflow.exceptions import NonDeterministicWorkflow, RunCanceled, StepCallRefused
from django_openworkflow.registry import registry
from django_openworkflow.store.announcements import announce_run, is_heard
from django_openworkflow.store.operations import (
    RunCompleted,
    RunFailed,
    StepCompleted,
    StorageInterrupted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.dispatch import Signal

    from django_openworkflow.engine.async_pass import InThread
    from django_openworkflow.store.operations import (
        Attempt,
        ClaimedRun,
        Ledger,
        RunOperation,
    )

# How a pass ends when the run is not ours any more: nothing is left to write.
_NOT_OURS: Final = (ControlFlow, RunCanceled, StorageInterrupted)
_ENDS: Final[dict[type, Signal]] = {
    RunCompleted: signals.run_completed,
    RunFailed: signals.run_failed,
}


class Executor:
    """Executes one claimed run, in the calling thread or on an event loop.

    ``execution`` may be told things from outside meanwhile. ``original`` is the history of the run
    that a clean-up run cleans up after.
    """

    def __init__(
        self,
        claimed: ClaimedRun,
        attempts: Sequence[Attempt],
        ledger: Ledger,
        *,
        using: str,
        original: Sequence[Attempt] = (),
    ) -> None:
        self._claimed = claimed
        self._using = using
        self._original = original
        name = claimed.workflow_name
        name = name if claimed.cleanup_of_id is None else workflow_name_of(name)
        self.workflow = registry.find(name, claimed.version)
        history = History(attempts, limit=conf.get_settings().STEP_LIMIT)
        self.execution = Execution(claimed, history, ledger, using=using)

    # --- in a thread ----------------------------------------------------------------------------

    def execute(self) -> None:
        """Do one pass. Raises neither what the workflow does nor a lost lease or database."""
        with user_connections(), instrumentation.executing(self._claimed) as watched:
            self._announce_start()
            try:
                operation = self._settled(self._pass())
                if operation is not None:
                    self.execution.submit(operation)
                    watched.note(operation)
                    self._announce_end(operation)
            except _NOT_OURS:
                return  # told so by the ledger; whoever holds the run now goes on with it

    def _pass(self) -> Returned | Raised:
        execution = self.execution
        result: Returned | Raised
        try:
            execution.history.check_limit()
            for over in self._sleeps_over():
                execution.post(over)
            result = Returned(value=self._call(Step(execution)))
        except BaseException as error:  # whatever user code raises is the user's
            result = self._raised(error)
        return self._tidied(result)

    def _call(self, step: Step) -> Any:
        if self._claimed.cleanup_of_id is None:
            return self.workflow.call(step, self._claimed.input)
        clean_up(step, self._claimed, self.workflow, self._original)
        return None

    def _tidied(self, result: Returned | Raised) -> Returned | Raised:
        """Roll back what the workflow's code has left open; what it returned is void then.

        Before anything is written: on SQLite an open transaction would block the ledger.
        """
        alias = current_connections().open_transaction()
        if alias is None:
            return result
        current_connections().roll_back_all(self._claimed.log_facts())
        if isinstance(result, Raised):
            return result
        message = f'The workflow left a transaction open on database "{alias}"; it was rolled back'
        return Raised(error=StepCallRefused(message))

    # --- on an event loop -----------------------------------------------------------------------

    async def aexecute(self, in_thread: InThread) -> None:
        """See ``execute``; ``in_thread`` runs what would block the loop."""
        with instrumentation.executing(self._claimed) as watched:
            if is_heard(signals.run_started):
                await in_thread(self._announce_start)
            try:
                operation = self._settled(await self._apass(in_thread))
                if operation is not None:
                    await self.execution.asubmit(operation)
                    watched.note(operation)
                    signal = _ENDS.get(type(operation))
                    if signal is not None and is_heard(signal):
                        await in_thread(partial(self._announce_end, operation))
            except _NOT_OURS:
                return  # told so by the ledger; whoever holds the run now goes on with it

    async def _apass(self, in_thread: InThread) -> Returned | Raised:
        execution = self.execution
        try:
            execution.history.check_limit()
            for over in self._sleeps_over():
                await execution.apost(over)
            current = AsyncPass(execution, in_thread)
            return Returned(value=await self._acall(current))
        except BaseException as error:  # whatever user code raises is the user's
            return self._raised(error)

    async def _acall(self, current: AsyncPass) -> Any:
        step = AsyncStep(current)
        if self._claimed.cleanup_of_id is None:
            return await current.run(lambda: self.workflow.call(step, self._claimed.input))
        undos = await current.in_thread(
            partial(registered_undos, self._claimed, self.workflow, self._original)
        )
        return await current.run(lambda: aclean_up(step, self._claimed, self.workflow, undos))

    # --- both -----------------------------------------------------------------------------------

    def _sleeps_over(self) -> list[StepCompleted]:
        """Complete sleeps that are over before user code runs, as the original does."""
        lease, history = self._claimed.lease, self.execution.history
        over = history.sleeps_over_by(self._claimed.claimed_at)
        for sleep in over:
            history.note_completed(sleep)
        return [StepCompleted(lease=lease, attempt_id=sleep.id) for sleep in over]

    def _raised(self, error: BaseException) -> Raised:
        if isinstance(error, NonDeterministicWorkflow) and self.execution.stopped is None:
            self.execution.stopped = error  # a replay's finding, also where user code caught it
        return Raised(error=error)

    def _settled(self, result: Returned | Raised) -> RunOperation | None:
        operation = settle(self.execution, self.workflow.retry_policy, result)
        if operation is not None:
            self.execution.stopped = None
        return operation

    def _announce_start(self) -> None:
        if self._claimed.is_first:
            announce_run(signals.run_started, self._claimed.lease.run_id, using=self._using)

    def _announce_end(self, operation: RunOperation) -> None:
        if (signal := _ENDS.get(type(operation))) is not None:
            announce_run(signal, self._claimed.lease.run_id, using=self._using)
