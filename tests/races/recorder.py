"""Watches which rows a verb locks, in which order, and which rows it has written in the end.

After each statement that locks rows, the same statement is executed once more: it locks nothing
new, and says which rows they were. What was written is found by comparing the place of each row
(``ctid``) before and after.
"""

# ruff: noqa: S608 - the statements are put together from names of tables alone

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun

RUNS: Final = WorkflowRun._meta.db_table
ATTEMPTS: Final = StepAttempt._meta.db_table
DELIVERIES: Final = SignalDelivery._meta.db_table
BUFFERED: Final = BufferedSignal._meta.db_table

# To which run a row belongs: its lock is the one that protects the row.
_OWNER: Final = {RUNS: "id", ATTEMPTS: "workflow_run_id", DELIVERIES: "workflow_run_id"}

_LOCKS: Final = re.compile(r"\bFOR (?:NO KEY )?UPDATE\b")
_TABLE: Final = re.compile(r'\b(?:FROM|UPDATE|INTO)\s+"?(\w+)"?')
_WRITES: Final = re.compile(r"\s*(?:UPDATE|INSERT|DELETE)\b")
_WRITES_RUNS: Final = re.compile(rf'\s*UPDATE\s+"?{RUNS}"?\s')
_WRITES_WITHIN: Final = re.compile(r"\bAS \(\s*UPDATE\b")


@dataclass
class Record:
    """What a verb has locked, in its order, and what it did out of the order."""

    locked: dict[str, list[UUID]] = field(default_factory=dict)  # by table
    broken: list[str] = field(default_factory=list)
    written: dict[str, set[UUID]] = field(default_factory=dict)  # rows changed, added or deleted
    owners: dict[UUID, UUID] = field(default_factory=dict)  # of the written rows
    added: set[UUID] = field(default_factory=set)

    def holds(self, table: str) -> list[UUID]:
        """Return the rows of a table that are locked, in the order in which they were."""
        return self.locked.setdefault(table, [])

    def judge(self) -> None:
        """Fail unless all was locked in order, and all that was written belongs to a locked run."""
        mine = {*self.holds(RUNS), *self.added}
        for table, rows in self.written.items():
            alien = [row for row in rows if self.owners[row] not in mine]
            if alien:
                self.broken.append(f"{table}: {alien} written without the lock of their runs")
        assert not self.broken, self.broken


class Recorder:
    """Records the locks of the statements of this thread while a verb is at work."""

    def __init__(self) -> None:
        self.record = Record()
        self._has_written_below = False
        self._savepoints: dict[str, int] = {}
        self._asks = False

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """Record what happens in the block, in one transaction that is then rolled back."""
        with transaction.atomic():
            before = _places()
            with connection.execute_wrapper(self._wrapper):
                yield self.record
            self._compare(before, _places())
            transaction.set_rollback(True)

    def _wrapper(self, execute: Callable[..., Any], sql: str, params: Any, *args: Any) -> Any:
        if self._asks:
            return execute(sql, params, *args)
        if _LOCKS.search(sql) and _WRITES_WITHIN.search(sql):
            return self._note_what_it_takes(lambda: execute(sql, params, *args))
        if _WRITES_RUNS.match(sql) and not self.record.holds(RUNS):
            return self._note_what_it_takes(lambda: execute(sql, params, *args), at_most=1)
        result = execute(sql, params, *args)
        self._look(sql, params)
        return result

    def _note_what_it_takes(self, execute: Callable[[], Any], *, at_most: int | None = None) -> Any:
        """Note the runs that a statement locks and writes at once.

        Without waiting; or, if it is the first lock of all, one that needs no order.
        """
        self._asks = True
        try:
            before = _places()[RUNS]
            result = execute()
            after = _places()[RUNS]
        finally:
            self._asks = False
        taken = [row for row in after if before.get(row) != after[row]]
        if at_most is None or len(taken) <= at_most:
            self.record.holds(RUNS).extend(taken)
        return result

    def _look(self, sql: str, params: Any) -> None:
        if savepoint := re.match(r'(ROLLBACK TO )?SAVEPOINT "?(\w+)', sql):
            self._note_savepoint(savepoint[2], rolls_back=bool(savepoint[1]))
        elif _WRITES.match(sql) and (table := _TABLE.search(sql)):
            self._has_written_below |= table[1] in (ATTEMPTS, DELIVERIES)
        elif _LOCKS.search(sql) and (table := _TABLE.search(sql)):
            self._note_locks(table[1], self._ask(sql, params), waits="SKIP LOCKED" not in sql)

    def _note_savepoint(self, name: str, *, rolls_back: bool) -> None:
        if rolls_back:
            del self.record.holds(RUNS)[self._savepoints[name] :]
        else:
            self._savepoints[name] = len(self.record.holds(RUNS))

    def _ask(self, sql: str, params: Any) -> list[UUID]:
        self._asks = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, params)
                return [next(v for v in row if isinstance(v, UUID)) for row in cursor.fetchall()]
        finally:
            self._asks = False

    def _note_locks(self, table: str, rows: list[UUID], *, waits: bool) -> None:
        record = self.record
        for row in rows:
            if row in record.holds(table):
                continue
            if table == RUNS and waits:
                if any(held > row for held in record.holds(RUNS)):
                    record.broken.append(f"waits for run {row} while holding a later one")
                if self._has_written_below or record.holds(ATTEMPTS) or record.holds(DELIVERIES):
                    record.broken.append(f"waits for run {row} while holding what comes after runs")
            record.holds(table).append(row)

    def _compare(self, before: _Places, after: _Places) -> None:
        for table in _OWNER:
            rows = {
                row
                for row in before[table].keys() | after[table].keys()
                if before[table].get(row) != after[table].get(row)
            }
            self.record.written[table] = rows
            for row in rows:
                place = before[table].get(row) or after[table][row]
                self.record.owners[row] = place.run_id
            if table == RUNS:
                self.record.added = rows - before[table].keys()


@dataclass(frozen=True)
class Place:
    """Where a version of a row lies, and the run that it belongs to."""

    ctid: str
    run_id: UUID


_Places = dict[str, dict[UUID, Place]]


def _places() -> _Places:
    found: _Places = {}
    with connection.cursor() as cursor:
        for table, owner in _OWNER.items():
            cursor.execute(f'SELECT id, ctid::text, {owner} FROM "{table}"')
            found[table] = {row: Place(ctid, run) for row, ctid, run in cursor.fetchall()}
    return found
