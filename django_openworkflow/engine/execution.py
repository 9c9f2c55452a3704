"""The state of one pass: what its steps share, and what others tell it from outside."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NoReturn

from django_openworkflow.engine.control import LeaseLost, Release
from django_openworkflow.exceptions import (
    InvalidInput,
    NonDeterministicWorkflow,
    RunCanceled,
    StepCallRefused,
    StepLimitExceeded,
)
from django_openworkflow.names import is_printable
from django_openworkflow.store.operations import (
    Attempt,
    ClaimedRun,
    Ledger,
    Operation,
    Receipt,
    StorageInterrupted,
    Verdict,
)

if TYPE_CHECKING:
    from django_openworkflow.engine.connections import UserConnections
    from django_openworkflow.engine.history import History
    from django_openworkflow.states import StepKind

# The step whose body the current context is running, if any.
current_body: Final[ContextVar[str | None]] = ContextVar("openworkflow_step_body", default=None)


class Execution:
    """One pass over a claimed run. ``cancel``, ``lose``, ``drain`` may come from any thread."""

    connections: UserConnections  # of the executing thread, set when the pass begins there

    def __init__(self, claimed: ClaimedRun, history: History, ledger: Ledger) -> None:
        self.claimed = claimed
        self.history = history
        self.now = claimed.claimed_at  # the database's clock as last heard
        self.stopped: BaseException | None = None
        self._ledger = ledger
        self._canceled = threading.Event()
        self._lost = threading.Event()
        self._draining = threading.Event()

    # --- told from outside ----------------------------------------------------------------------

    def cancel(self) -> None:
        """Tell the pass that its run was canceled."""
        self._canceled.set()

    def lose(self) -> None:
        """Tell the pass that its lease is gone."""
        self._lost.set()

    def drain(self) -> None:
        """Ask the pass to hand its run on before the next step."""
        self._draining.set()

    @property
    def is_unwanted(self) -> bool:
        """Whether nothing that a running body still does will count."""
        return self._canceled.is_set() or self._lost.is_set()

    # --- for steps ------------------------------------------------------------------------------

    def stop(self, control: BaseException) -> NoReturn:
        """End the pass with this control flow, whatever user code does with the exception."""
        if self.stopped is None:
            self.stopped = control
        raise control

    def check(self) -> None:
        """Raise what ended the pass, or what the outside world has told it."""
        if self.stopped is not None:
            raise self.stopped
        if self._canceled.is_set():
            self.stop(RunCanceled(self.claimed.lease.run_id))
        if self._lost.is_set():
            self.stop(LeaseLost())
        if self._draining.is_set() and current_body.get() is None:
            self.stop(Release())

    def enter(self, name: str) -> str:
        """Open a step call: refuse it where it cannot be durable, and give it its durable name."""
        self.check()
        if not is_printable(name):
            message = f"A step's name must be printable text, not {name!r}"
            raise InvalidInput(message)
        if body := current_body.get():
            message = f'Step "{name}" was called inside the body of step "{body}"'
            raise StepCallRefused(message)
        if alias := self.connections.open_transaction():
            message = (
                f'Step "{name}" was called inside a transaction on database "{alias}": '
                "what it saves would not be undone with it"
            )
            raise StepCallRefused(message)
        return self.history.resolve(name)

    def saved(self, key: str, kind: StepKind) -> Attempt | None:
        """Return the completed attempt of a step; raise when the history has another kind there."""
        known = self.history.completed.get(key) or self.history.running.get(key)
        if known is not None and known.kind != kind:
            message = (
                f'Step "{key}" is a {kind} step in the code, '
                f"but a {known.kind} step in the run's history"
            )
            raise NonDeterministicWorkflow(message)
        return self.history.completed.get(key)

    def count_attempt(self) -> None:
        """Count a new attempt against the run's limit; above it the run fails, come what may."""
        try:
            self.history.count_attempt()
        except StepLimitExceeded as error:
            self.stop(error)

    def submit(self, *operations: Operation) -> Receipt:
        """Write, and end the pass if the run is no longer ours."""
        try:
            receipt = self._ledger.submit(*operations)
        except StorageInterrupted as interrupted:
            self.stop(interrupted)
        self.now = receipt.at
        if receipt.verdict is Verdict.CANCELED:
            self._canceled.set()
            self.stop(RunCanceled(self.claimed.lease.run_id))
        if receipt.verdict is not Verdict.ACCEPTED:
            self._lost.set()
            self.stop(LeaseLost())
        return receipt
