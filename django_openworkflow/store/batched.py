"""A turn whose common operations are gathered and written by one statement for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django_openworkflow.store.applying import Turn
from django_openworkflow.store.batches import Batch, resume_at_of
from django_openworkflow.store.operations import SleepStarted
from django_openworkflow.store.turns import TurnRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_openworkflow.states import RunStatus
    from django_openworkflow.store.operations import Operation


# Between a name and a version in an entry of ``known_names``; no name holds this character.
VERSION_MARK: Final = "\x01"


def known_names(workflows: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return what the name and the version of a run, put together, must be among."""
    return [
        name if version is None else f"{name}{VERSION_MARK}{version}" for name, version in workflows
    ]


def closing_error(status: RunStatus) -> str:
    """Return the error of a wait that ends with its run."""
    return f'{{"message":"The workflow run ended as {status} before this step did"}}'


class BatchedRows(TurnRows):
    """Rows of a database that has statements of its own for them."""

    def write(self, batch: Batch) -> None:
        """Write what was gathered, in the order of the fields of ``Batch``."""
        raise NotImplementedError


class BatchedTurn(Turn):
    """Judges like ``Turn``, and gathers what it can; anything else is written in its place."""

    def __init__(self, rows: BatchedRows, operations: Sequence[Operation], *, wait: bool) -> None:
        super().__init__(rows, operations, wait=wait)
        self._batched_rows = rows
        self._batch = Batch()

    def _accept(self, operation: Operation) -> Any:
        row, now = self._rows[operation.lease], self._rows.now
        if not self._batch.add(operation, row, now):
            self._finish()
            if not self._batch.add(operation, row, now):
                return super()._accept(operation)
        return resume_at_of(operation, now) if isinstance(operation, SleepStarted) else None

    def _is_repeated(self, operation: Operation) -> bool:
        self._finish()  # it may be this turn that has recorded it
        return super()._is_repeated(operation)

    def _finish(self) -> None:
        batch, self._batch = self._batch, Batch()
        self._batched_rows.write(batch)
