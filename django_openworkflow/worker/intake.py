"""Which runs a worker takes in, and when: its slots are filled by the turn that frees them."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from django_openworkflow.registry import registry
from django_openworkflow.store.base import ClaimRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django_openworkflow.store.base import TurnResult
    from django_openworkflow.store.operations import Lease
    from django_openworkflow.worker.leases import Leases

logger: Final = logging.getLogger(__name__)


class Intake:
    """The slots of a worker: how many are taken, and what is claimed for those that are not.

    A turn that ends a pass claims for its slot. Else a turn claims only when somebody has asked for
    it: a poll, or a notification. ``hand_out`` gets what came. While a run is executed that the
    next crash would fail, no other of that kind is claimed; see ``store.suspects``.
    """

    def __init__(
        self,
        slots: int,
        leases: Leases,
        *,
        worker_name: str,
        lease_seconds: float,
        queues: Sequence[str] | None,
        hand_out: Callable[[TurnResult], None],
    ) -> None:
        self.leases = leases
        self._has_claimed = False
        self._slots = slots
        self._taken = 0
        self._suspect: Lease | None = None  # until its pass is over, or it gets on
        self._left: set[Lease] = set()  # their slots are free, their threads not yet back
        self._is_asked = False
        self._is_open = True
        self._is_last = False  # the next claim is the last one
        self._mutex = threading.Lock()
        self._hand_out = hand_out
        self._request: dict[str, Any] = {
            "worker_name": worker_name,
            "lease_seconds": lease_seconds,
            "queues": queues,
        }

    @property
    def free(self) -> int:
        """How many slots are free."""
        return self._slots - self._taken

    @property
    def active(self) -> int:
        """How many passes are not over, or have threads that are not back."""
        with self._mutex:
            return self._taken + len(self._left)

    @property
    def is_asked(self) -> bool:
        """Whether there may be more to claim than the last claim was to find."""
        return self._is_asked

    def has_claimed(self) -> bool:
        """Return whether a claim has found something since this was last asked."""
        has_claimed, self._has_claimed = self._has_claimed, False
        return has_claimed

    def ask(self) -> None:
        """Let the next turn claim for the slots that are free."""
        self._is_asked = True

    def ask_once(self) -> None:
        """Let the next turn claim, and none after it: not even for slots that passes leave."""
        self._is_asked = self._is_last = True

    def close(self) -> None:
        """Claim nothing from now on."""
        self._is_open = False

    def leave(self, lease: Lease) -> bool:
        """Take note that a pass is over; return whether its slot was taken until now."""
        with self._mutex:
            if lease in self._left:
                self._left.remove(lease)
                return False
            self._taken -= 1
        self._forget((lease,))
        return True

    # --- for the ledger -------------------------------------------------------------------------

    def request(self, ending: int) -> ClaimRequest | None:
        """See ``writing.Intake``."""
        if not (self._is_open and (ending or self._is_asked)):
            return None
        self._is_asked = False
        self._is_open = not self._is_last
        limit = self.free + ending
        if limit < 1:
            return None
        return ClaimRequest(
            limit=limit,
            workflows=registry.claimable(),
            takes_suspect=self._suspect is None,
            **self._request,
        )

    def leases_due(self) -> Sequence[Lease]:
        """See ``writing.Intake``."""
        return self.leases.take_due()

    def note(
        self, result: TurnResult, ended: Sequence[Lease], advanced: Sequence[Lease] = ()
    ) -> None:
        """See ``writing.Intake``."""
        with self._mutex:
            gone = set(ended) - self._left  # once each, though it was written twice
            self._taken += len(result.claimed) - len(gone)
            self._left |= gone
        self._forget(ended)
        for lease in advanced:
            self._clear(lease)
        for run in result.claimed:
            self._has_claimed = True
            if run.is_suspect:
                self._suspect = run.lease

    def _forget(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self.leases.remove(lease)
            self._clear(lease)

    def _clear(self, lease: Lease) -> None:
        """Take a run off suspicion, if it was under it, and look for the next one soon."""
        if lease == self._suspect:
            self._suspect = None
            self._is_asked = True

    def receive(self, result: TurnResult) -> None:
        """See ``writing.Intake``."""
        if result.verdicts:
            self.leases.tell(result.verdicts)
        if result.claimed:
            self._hand_out(result)

    def failed(self) -> None:
        """See ``writing.Intake``: the next poll asks again."""
        self.leases.retry_soon()
