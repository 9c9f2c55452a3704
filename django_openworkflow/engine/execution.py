"""The state of one pass: what its steps share, and what others tell it from outside."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from django_openworkflow import instrumentation
from django_openworkflow.engine.connections import open_transaction
from django_openworkflow.engine.control import LeaseLost, Release, Suspend
from django_openworkflow.exceptions import (
    InvalidInput,
    NonDeterministicWorkflow,
    RunCanceled,
    StepCallRefused,
    StepLimitExceeded,
)
from django_openworkflow.names import is_printable, name_problem
from django_openworkflow.store.operations import StorageInterrupted, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_openworkflow.engine.history import History
    from django_openworkflow.states import StepKind
    from django_openworkflow.store.operations import (
        Attempt,
        ClaimedRun,
        Ledger,
        Operation,
        Posted,
        Receipt,
    )

# The step whose body the current context is running, if any.
current_body: Final[ContextVar[str | None]] = ContextVar("openworkflow_step_body", default=None)
# Whether the current context is one of several branches, which somebody joins.
in_branch: Final[ContextVar[bool]] = ContextVar("openworkflow_in_branch", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """How a completed step can be undone: ``compensate`` is called with its saved output."""

    key: str
    compensate: Callable[[Any], object]
    saved: Attempt


class Execution:
    """One pass over a claimed run. ``cancel``, ``lose``, ``drain`` may come from any thread.

    ``using`` is the alias of the database that the run was claimed from.
    """

    def __init__(
        self, claimed: ClaimedRun, history: History, ledger: Ledger, *, using: str
    ) -> None:
        self.using = using
        self.claimed = claimed
        self.history = history
        self.ledger = ledger
        self.now = claimed.claimed_at  # the database's clock as last heard
        self.stopped: BaseException | None = None
        self.undos: list[Undo] = []  # of completed steps, in the order of their calls
        self.is_sequential = True  # branches of async code may come to saved steps in any order
        self.waiting_for: dict[str, str] = {}  # signal to the step that waits for it
        self.on_unwanted: Callable[[], None] | None = None
        self._is_canceled = False
        self._is_lost = False
        self._is_draining = False
        self._posted: list[Posted] = []
        self._mutex = threading.Lock()  # branches post, too

    # --- told from outside ----------------------------------------------------------------------

    def cancel(self) -> None:
        """Tell the pass that its run was canceled."""
        if not self._is_canceled:
            instrumentation.cancel_noticed(self.claimed.lease.run_id)
        was_unwanted, self._is_canceled = self.is_unwanted, True
        self._tell(was_unwanted=was_unwanted)

    def lose(self) -> None:
        """Tell the pass that its lease is gone."""
        was_unwanted, self._is_lost = self.is_unwanted, True
        self._tell(was_unwanted=was_unwanted)

    def drain(self) -> None:
        """Ask the pass to hand its run on before the next step."""
        self._is_draining = True

    def _tell(self, *, was_unwanted: bool) -> None:
        if not was_unwanted and self.on_unwanted is not None:
            self.on_unwanted()

    @property
    def is_unwanted(self) -> bool:
        """Whether nothing that a running body still does will count."""
        return self._is_canceled or self._is_lost

    # --- for steps ------------------------------------------------------------------------------

    def stop(self, control: BaseException) -> NoReturn:
        """End the pass with this control flow, whatever user code does with the exception."""
        if self.stopped is None:
            self.stopped = control
        raise control

    def suspend(self, control: Suspend) -> NoReturn:
        """End the pass until later; in a parallel branch, end the branch: its siblings go on."""
        if in_branch.get() or not self.is_sequential:
            raise control
        self.stop(control)

    def check(self) -> None:
        """Raise what ended the pass, or what the outside world has told it."""
        self.check_interrupted()
        if self._is_draining and current_body.get() is None:
            self.stop(Release())

    def check_interrupted(self, cause: BaseException | None = None) -> None:
        """Raise what ended the pass, a cancel or a lost lease."""
        if self.stopped is not None:
            raise self.stopped from cause
        if self._is_canceled:
            self.stop(RunCanceled(self.claimed.lease.run_id))
        if self._is_lost:
            self.stop(LeaseLost())

    def check_lost(self, cause: BaseException) -> None:
        """Raise what has made a body raise ``cause``, if it was told that its lease is gone.

        A failure would be written where the lease still holds: when nobody could confirm it.
        """
        if self._is_lost and not self._is_canceled:
            self.check_interrupted(cause)

    def enter(self, name: str) -> str:
        """Open a step call: refuse it where it cannot be durable, and give it its durable name."""
        self.check()
        if not is_printable(name):
            raise InvalidInput(name_problem("A step's name", name))
        if body := current_body.get():
            message = f'Step "{name}" was called inside the body of step "{body}"'
            raise StepCallRefused(message)
        if alias := open_transaction():
            message = (
                f'Step "{name}" was called inside a transaction on database "{alias}": '
                "what it saves would not be undone with it"
            )
            raise StepCallRefused(message)
        return self.history.resolve(name)

    def saved(self, key: str, kind: StepKind) -> Attempt | None:
        """Return the completed attempt of a step; stop when the history has another kind there."""
        known = self.history.known(key)
        if known is not None and known.kind != kind:
            message = (
                f'Step "{key}" is a {kind} step in the code, '
                f"but a {known.kind} step in the run's history"
            )
            self.stop(NonDeterministicWorkflow(message))
        return self.history.take_completed(key)

    def begin(self, key: str) -> None:
        """Allow a step that was never begun before, or stop.

        Counts it against the run's limit. In sequential code all that is saved comes before what is
        new; saved steps that the code has not come to mean that it was changed under the run.
        """
        unread = self.history.unread()
        is_new = not self.history.was_begun(key)
        if unread and is_new and self.is_sequential and not in_branch.get():
            message = (
                f'Step "{key}" is new in the code, but step "{unread[0]}" '
                "in the run's history comes first"
            )
            self.stop(NonDeterministicWorkflow(message))
        try:
            self.history.count_attempt()
        except StepLimitExceeded as error:
            self.stop(error)

    # --- writing --------------------------------------------------------------------------------

    def submit(self, *operations: Operation) -> Receipt:
        """Write, what was posted before included; end the pass if the run is no longer ours."""
        try:
            return self.heed(self.ledger.submit(*operations, after=self._unsettled()))
        except StorageInterrupted as interrupted:
            self.stop(interrupted)

    async def asubmit(self, *operations: Operation) -> Receipt:
        """See ``submit``."""
        try:
            return self.heed(await self.ledger.asubmit(*operations, after=self._unsettled()))
        except StorageInterrupted as interrupted:
            self.stop(interrupted)

    def post(self, operation: Operation) -> None:
        """Write with what is submitted next, at the latest: its verdict is heeded then."""
        try:
            self._await_verdict(self.ledger.post(operation))
        except StorageInterrupted as interrupted:
            self.stop(interrupted)

    async def apost(self, operation: Operation) -> None:
        """See ``post``."""
        try:
            self._await_verdict(await self.ledger.apost(operation))
        except StorageInterrupted as interrupted:
            self.stop(interrupted)

    def _await_verdict(self, posted: Posted) -> None:
        if posted.receipt is not None:
            self.heed(posted.receipt)
            return
        with self._mutex:
            self._posted.append(posted)

    def _unsettled(self) -> Sequence[Posted]:
        """Return what was posted and is not known to be written, or was refused."""
        if not self._posted:
            return ()
        with self._mutex:
            self._posted = [posted for posted in self._posted if not posted.is_accepted]
            return tuple(self._posted)

    def heed(self, receipt: Receipt) -> Receipt:
        """Take the clock from a receipt, and stop if it says that the run is not ours."""
        self.now = max(self.now, receipt.at)
        if receipt.verdict is Verdict.CANCELED:
            self.cancel()
            self.stop(RunCanceled(self.claimed.lease.run_id))
        if receipt.verdict is not Verdict.ACCEPTED:
            self.lose()
            self.stop(LeaseLost())
        return receipt
