"""The rules that ``benchmarks.mutants`` switches off, and the tests that should notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One rule: in ``file``, every ``old`` becomes ``new``."""

    name: str
    rule: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    on_postgresql: bool = False

    def apply(self, package: Path) -> None:
        """Switch the rule off in a copy of the package; fails when it is not found."""
        path = package / self.file
        source = path.read_text(encoding="utf-8")
        if self.old not in source:
            message = f"{self.name}: {self.file} has no {self.old!r} any more"
            raise ValueError(message)
        path.write_text(source.replace(self.old, self.new), encoding="utf-8")


_STATEMENTS: Final = "store/postgresql/statements.py"
_MODEL: Final = "tests/model/test_machine.py"

MUTANTS: Final = (
    Mutant(
        name="one-suspect",
        rule="a worker executes one run at a time that the next crash would fail",
        file="worker/intake.py",
        old="self._suspect = run.lease",
        new="pass",
        tests=("tests/worker/test_suspects.py",),
    ),
    Mutant(
        name="one-suspect-per-claim",
        rule="and claims no two of them at once",
        file="store/suspects.py",
        old="or not has_suspect",
        new="or True",
        tests=("tests/store/test_suspects.py",),
    ),
    Mutant(
        name="one-suspect-in-one-trip",
        rule="the same, in the claim of PostgreSQL",
        file="store/postgresql/claiming.py",
        old="picked.id LIMIT 1)",
        new="picked.id)",
        tests=("tests/store/test_suspects.py", _MODEL),
        on_postgresql=True,
    ),
    Mutant(
        name="fence",
        rule="a worker writes only under its own claim",
        file="store/turns.py",
        old=" and self.worker_id == lease.worker_id",
        new="",
        tests=("tests/store/test_applying.py", _MODEL),
    ),
    Mutant(
        name="fence-in-one-trip",
        rule="the same, in the one statement of PostgreSQL",
        file=_STATEMENTS,
        old=" AND held.worker_id = wanted.worker_id",
        new="",
        tests=(_MODEL,),
        on_postgresql=True,
    ),
    Mutant(
        name="row-lock",
        rule="a turn locks the rows of its runs before it looks at them",
        file=_STATEMENTS,
        old=" ORDER BY run.id\n   FOR NO KEY UPDATE SKIP LOCKED",
        new=" ORDER BY run.id",
        tests=("tests/races/test_duels.py::test_every_schedule_has_one_winner",),
        on_postgresql=True,
    ),
    Mutant(
        name="wake-re-check",
        rule="who parks looks once more whether it has happened already",
        file="store/run_writes.py",
        old="rows.runs.filter(Exists(happened), pk=run_id)",
        new="rows.runs.none().filter(Exists(happened), pk=run_id)",
        tests=("tests/engine/test_wakes.py", _MODEL),
    ),
    Mutant(
        name="wake-re-check-in-one-trip",
        rule="the same, in the statement of PostgreSQL",
        file=_STATEMENTS,
        old="   AND EXISTS (\n       SELECT FROM {step} AS step",
        new="   AND false AND EXISTS (\n       SELECT FROM {step} AS step",
        tests=("tests/races/test_children.py::test_every_schedule_wakes_the_parent",),
        on_postgresql=True,
    ),
    Mutant(
        name="completed-once",
        rule="the database refuses a second completed attempt of a step",
        file="migrations/0001_initial.py",
        old='"step_name"),\n                name="openworkflow_step_completed_once"',
        new='"step_name", "id"),\n                name="openworkflow_step_completed_once"',
        tests=("tests/tables/test_uniqueness.py",),
    ),
    Mutant(
        name="skip-locked",
        rule="the ledger of a worker waits for nobody's row",
        file=_STATEMENTS,
        old=" SKIP LOCKED",
        new="",
        tests=("tests/races/test_ledger.py", "tests/races/test_waiting.py"),
        on_postgresql=True,
    ),
    Mutant(
        name="claim-skip-locked",
        rule="a claim passes locked rows by",
        file="store/postgresql/claiming.py",
        old="FOR NO KEY UPDATE SKIP LOCKED",
        new="",
        tests=("tests/races/test_crowds.py", "tests/store/test_claim_fence.py"),
        on_postgresql=True,
    ),
    Mutant(
        name="lock-order",
        rule="runs are locked in ascending id",
        file="transitions.py",
        old='                .order_by("pk")\n                .select_for_update(',
        new='                .order_by("-pk")\n                .select_for_update(',
        tests=("tests/races/test_lock_law.py",),
        on_postgresql=True,
    ),
    Mutant(
        name="control-flow",
        rule="a pass remembers what ended it, whatever user code swallows",
        file="engine/execution.py",
        old="            self.stopped = control\n",
        new="            pass\n",
        tests=("tests/engine/test_control_flow.py",),
    ),
    Mutant(
        name="base-exception",
        rule="control flow passes by user code that catches Exception",
        file="engine/control.py",
        old="class ControlFlow(BaseException):",
        new="class ControlFlow(Exception):",
        tests=("tests/engine/test_control_flow.py",),
    ),
    Mutant(
        name="blame",
        rule="trouble with the storage is no failure of the run",
        file="engine/execution.py",
        old="        except StorageInterrupted as interrupted:\n            self.stop(interrupted)",
        new="        except StorageInterrupted as interrupted:\n"
        "            raise RuntimeError from interrupted",
        tests=("tests/worker/test_ledger.py", "tests/test_testing.py"),
    ),
    Mutant(
        name="waits-closed",
        rule="a run that ends closes its open waits",
        file="transitions.py",
        old="kind__in=WAITS\n",
        new="kind__in=()\n",
        tests=("tests/cancelling", "tests/vocabulary/test_signals_sending.py"),
    ),
    Mutant(
        name="late-outcome",
        rule="after the end only the claim that began a step may record its outcome",
        file="store/step_writes.py",
        old="attempts.filter(pk=operation.attempt_id, worker_id=operation.lease.worker_id).first()",
        new="attempts.filter(pk=operation.attempt_id).first()",
        tests=("tests/cancelling", "tests/store/test_applying.py"),
    ),
    Mutant(
        name="budget",
        rule="only failures of user code count against a retry budget",
        file="store/sqlite/rows.py",
        old="int(each.is_failure)",
        new="1",
        tests=("tests/store/test_applying.py", "tests/engine/test_workflow_retries.py"),
    ),
    Mutant(
        name="budget-in-one-trip",
        rule="the same, where PostgreSQL writes a turn in one packet",
        file="store/postgresql/parameters.py",
        old="int(operation.is_failure)",
        new="1",
        tests=("tests/store/test_applying.py", "tests/store/test_differential.py"),
        on_postgresql=True,
    ),
    Mutant(
        name="key-lock",
        rule="callers with one idempotency key take turns",
        file="store/enqueue.py",
        old="        _lock_key(new_run.workflow_name, key, using)\n",
        new="",
        tests=("tests/store/enqueue/test_keys.py",),
        on_postgresql=True,
    ),
    Mutant(
        name="wake-parent",
        rule="a run that ends wakes its parent in the same transaction",
        file="store/sqlite/rows.py",
        old="[(now, now, run_id.hex, now) for run_id in ended]",
        new="[]",
        tests=("tests/engine/test_wakes.py", "tests/store/test_differential.py"),
    ),
    Mutant(
        name="wake-parent-of-a-canceled-run",
        rule="so does a run that is canceled",
        file="transitions.py",
        old="            self.wake_parents_locked(chunk)\n",
        new="",
        tests=("tests/vocabulary/test_children_endings.py", "tests/engine/test_wakes.py"),
    ),
    Mutant(
        name="told-to-stop",
        rule="a pass that was told to stop writes no failure of what its code makes of that",
        file="engine/settling.py",
        old="        if execution.is_unwanted:",
        new="        if False:",
        tests=("tests/engine/test_lost_leases.py",),
    ),
    Mutant(
        name="told-to-stop-in-a-body",
        rule="nor does the body of a step",
        file="engine/calls.py",
        old="        self._execution.check_lost(error)\n",
        new="",
        tests=("tests/engine/test_lost_leases.py",),
    ),
    Mutant(
        name="last-turn",
        rule="a ledger that closes lets its last turn end, and takes none after it",
        file="worker/ledger.py",
        old="        is_still = self._is_still.wait(_CLOSE_SECONDS)\n",
        new="        is_still = True\n",
        tests=("tests/worker/test_ledger.py",),
    ),
    Mutant(
        name="one-leader",
        rule="a turn of the ledger has one leader",
        file="worker/ledger.py",
        old="        elif goes_on:",
        new="        elif self._is_led:",
        tests=("tests/worker/test_ledger.py",),
    ),
    Mutant(
        name="one-database",
        rule="a transaction step is one with the database of its run",
        file="engine/driving.py",
        old="    using = execution.using",
        new="    from django_openworkflow import conf\n    using = conf.get_settings().DATABASE",
        tests=("tests/worker/test_databases.py",),
    ),
    Mutant(
        name="on-its-way",
        rule="a pass does not park while the end of a step is on its way to a branch",
        file="engine/async_pass.py",
        old="_ROUNDS_TO_PASS_ON: Final = 10",
        new="_ROUNDS_TO_PASS_ON: Final = 0",
        tests=("tests/vocabulary/test_async_firsts.py",),
    ),
    Mutant(
        name="second-signal",
        rule="the second signal of a supervisor kills",
        file="worker/supervisor.py",
        old="                if is_second:",
        new="                if False:",
        tests=("tests/worker/test_supervisor.py",),
    ),
    Mutant(
        name="signal-without-a-lock",
        rule="the handler of a signal waits for no lock",
        file="worker/wakeup.py",
        old="from queue import Empty, SimpleQueue",
        new="from queue import Empty, Queue as SimpleQueue",
        tests=("tests/worker/test_drain.py",),
    ),
    Mutant(
        name="bounded-silence",
        rule="a worker that falls silent within a transaction holds no lock longer than a lease",
        file="transactions.py",
        old="        elif connection in _private:\n            limit_silence(using)\n",
        new="",
        tests=("tests/worker/test_silence.py",),
        on_postgresql=True,
    ),
)
