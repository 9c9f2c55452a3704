"""What earlier passes of a run left behind, and the durable names of its steps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django_openworkflow.exceptions import StepLimitExceeded
from django_openworkflow.states import STEP_SUCCESSFUL, StepKind, StepStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_openworkflow.store.operations import Attempt


class History:
    """Saved step attempts by durable name. Source: the original's ``step-history.ts``."""

    def __init__(self, attempts: Sequence[Attempt], *, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._set_aside: set[str] = set()
        self._taken: set[str] = set()
        self._next_index: dict[str, int] = {}
        self._unread: dict[str, Attempt] = {}
        self.completed: dict[str, Attempt] = {}
        self.running: dict[str, Attempt] = {}
        self._failed: dict[str, list[Attempt]] = {}
        for attempt in attempts:
            if attempt.is_set_aside:
                self._set_aside.add(attempt.step_name)
                continue
            self._count += 1
            if attempt.status in STEP_SUCCESSFUL:
                self.completed[attempt.step_name] = attempt
                self._unread[attempt.step_name] = attempt
            elif attempt.status == StepStatus.FAILED:
                self._failed.setdefault(attempt.step_name, []).append(attempt)
            else:
                self.running[attempt.step_name] = attempt

    # --- names ----------------------------------------------------------------------------------

    def resolve(self, name: str) -> str:
        """Return the durable name of the next step called ``name`` in this pass.

        The first is ``name``, then ``name:1``, ``name:2``, … skipping names that are taken; all
        kinds of steps share one name space. Source: the original's ``step-history.ts``.
        """
        resolved = name
        index = self._next_index.get(name, 1)
        while resolved in self._taken:
            resolved = f"{name}:{index}"
            index += 1
        self._next_index[name] = index
        self._taken.add(resolved)
        return resolved

    # --- completed ------------------------------------------------------------------------------

    def known(self, step_name: str) -> Attempt | None:
        """Return any saved attempt of a step, to compare its kind."""
        failed = self._failed.get(step_name, [None])[-1]
        return self.completed.get(step_name) or self.running.get(step_name) or failed

    def take_completed(self, step_name: str) -> Attempt | None:
        """Return the completed attempt of a step, and note that the code came to it."""
        self._unread.pop(step_name, None)
        return self.completed.get(step_name)

    def unread(self) -> list[str]:
        """Return completed steps that this pass has not come to, oldest first."""
        return list(self._unread)

    def was_begun(self, step_name: str) -> bool:
        """Return whether the step was begun in this life of the run, or before a retry."""
        return self.known(step_name) is not None or step_name in self._set_aside

    def note_completed(self, attempt: Attempt) -> None:
        """Move a running attempt to the completed ones."""
        self.completed[attempt.step_name] = attempt
        self._unread[attempt.step_name] = attempt
        self.running.pop(attempt.step_name, None)

    def note_over(self, attempt: Attempt) -> None:
        """Note that a running attempt has ended in this pass, whose code knows its outcome."""
        self.running.pop(attempt.step_name, None)

    # --- failures -------------------------------------------------------------------------------

    def failures(self, step_name: str) -> int:
        """Return how often the step has failed so far."""
        return len(self._failed.get(step_name, ()))

    def last_error(self, step_name: str) -> dict[str, Any]:
        """Return the stored error of the step's last failure."""
        error = self._failed[step_name][-1].error
        return error if isinstance(error, dict) else {"message": str(error)}

    def last_failed_at(self, step_name: str) -> datetime | None:
        """Return when the step failed last, by the database's clock."""
        return self._failed[step_name][-1].finished_at

    def note_failure(self, attempt: Attempt) -> None:
        """Remember a failure of this pass, as the next pass will read it."""
        self._failed.setdefault(attempt.step_name, []).append(attempt)
        self.running.pop(attempt.step_name, None)

    # --- limit ----------------------------------------------------------------------------------

    def count_attempt(self) -> None:
        """Count one more attempt, or raise ``StepLimitExceeded`` when the run has used them up."""
        if self._count >= self._limit:
            raise StepLimitExceeded(self._limit, self._count)
        self._count += 1

    def check_limit(self) -> None:
        """Raise ``StepLimitExceeded`` when more attempts are saved than a run may have."""
        if self._count > self._limit:
            raise StepLimitExceeded(self._limit, self._count)

    # --- sleeps ---------------------------------------------------------------------------------

    def sleeps_over_by(self, now: datetime) -> list[Attempt]:
        """Return the running sleeps that have ended by ``now``, the claim's database time.

        One whose end cannot be read has ended, as in the original.
        """
        return [
            attempt
            for attempt in self.running.values()
            if attempt.kind == StepKind.SLEEP and (moment_in(attempt, "resumeAt") or now) <= now
        ]


def moment_in(attempt: Attempt, field: str) -> datetime | None:
    """Return a moment that an attempt's context names; None when there is none to read."""
    context = attempt.context if isinstance(attempt.context, dict) else {}
    try:
        moment = datetime.fromisoformat(str(context.get(field)))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
