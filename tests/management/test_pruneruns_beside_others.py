"""pruneruns beside workers, other pruners, impatient operators and a project's own tables."""

from __future__ import annotations

import fcntl
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.store.retention import Batch, Retention
from tests.factories import StepAttemptFactory
from tests.management.pruning import child_of, ended, fill, left, month_ago

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Shell, Spawn

PATIENCE_SECONDS = 30
SMALLEST_PIPE_BYTES = 4096

pytestmark = pytest.mark.django_db(transaction=True)

needs_row_locks = pytest.mark.skipif(
    "not __import__('django').db.connection.features.has_select_for_update_skip_locked",
    reason="SQLite has one writer at a time",
)


def prune(**options: Any) -> list[Batch]:
    given = {"using": "default", "finished_before": month_ago(), **options}
    return list(Retention(**given).batches())


def elsewhere(work: Callable[[], Any]) -> Any:
    """Do something on a connection of its own; fail instead of waiting for ever."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # the test is to see it
            results.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "it waits for a lock"
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


# --- locks --------------------------------------------------------------------------------------


@needs_row_locks
@pytest.mark.parametrize("held", ["run", "parent", "child", "clean-up"])
def test_what_somebody_holds_is_left_for_another_time_and_not_waited_for(held: str) -> None:
    run = ended(60, "canceled")
    parent = ended(1)
    WorkflowRun.objects.filter(pk=run.pk).update(
        parent_step_attempt=StepAttemptFactory.create(workflow_run=parent, workflow=True),
        parent_step_attempt_namespace_id="default",
    )
    relatives = {
        "run": run,
        "parent": parent,
        "child": child_of(run, 60, "parked"),
        "clean-up": ended(60, cleanup_of=run),
    }
    other = ended(60)
    with transaction.atomic():
        WorkflowRun.objects.select_for_update().get(pk=relatives[held].pk)
        batches = elsewhere(prune)
        assert sum(batch.runs.total() for batch in batches) == 1
    assert other.pk not in left()
    assert run.pk in left()
    prune()
    assert run.pk not in left()


@needs_row_locks
def test_two_pruners_share_the_work_without_waiting() -> None:
    for _ in range(10):
        fill(ended(60))
    before = month_ago()
    first = Retention(using="default", finished_before=before, batch=4)
    with transaction.atomic():
        assert first.next_batch(None).runs.total() == 4  # not committed yet
        assert [b.runs.total() for b in elsewhere(lambda: prune(batch=4))] == [4, 2]
    assert left() == set()
    assert not StepAttempt.objects.exists()


@needs_row_locks
def test_a_run_that_is_retried_at_this_moment_is_kept() -> None:
    run = ended(60, "failed")
    with transaction.atomic():
        run.retry()
        elsewhere(prune)
    assert run.pk in left()
    prune()
    assert WorkflowRun.objects.get(pk=run.pk).status == "pending"


def test_many_pruners_at_once_delete_everything_once() -> None:
    for _ in range(40):
        parent = ended(60)
        fill(child_of(parent, 60))
    before = month_ago()
    start = threading.Barrier(3)
    totals: list[int] = []

    def work() -> None:
        start.wait(PATIENCE_SECONDS)
        retention = Retention(using="default", finished_before=before, batch=5)
        totals.append(sum(batch.runs.total() for batch in retention.batches()))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(totals) == 3
    rest = sum(batch.runs.total() for batch in prune())
    assert sum(totals) + rest == 80
    assert WorkflowRun.objects.filter(finished_at__lt=before).count() == 0
    left()


# --- interruptions ------------------------------------------------------------------------------


def test_a_batch_that_fails_leaves_no_half_deleted_run() -> None:
    for _ in range(3):
        fill(ended(60))
    retention = Retention(using="default", finished_before=month_ago(), batch=1)
    first = retention.next_batch(None)

    def fail() -> None:
        with transaction.atomic():
            assert retention.next_batch(first.last).runs.total() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(left()) == 2
    assert StepAttempt.objects.count() == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_two_batches_with_a_summary(
    number: signal.Signals, spawn: Spawn
) -> None:
    for _ in range(400):
        ended(60)
    options = ("--older-than", "30d", "--batch", "1", "--verbosity", "2")
    process = spawn("pruneruns", *options)
    assert process.stderr is not None
    # Its lines fill the pipe long before the last batch: it waits there until it is listened to.
    if sys.platform == "linux":
        # Refused if it has been quicker than this.
        with suppress(OSError):
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE_BYTES)
    assert process.stderr.readline() == "Batch 1: 1 workflow run deleted so far\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 128 + number
    assert err.endswith("CommandError: Interrupted: runs that are old enough may be left.\n")
    gone = 400 - len(left())
    assert 0 < gone < 400
    assert out.startswith(f"Deleted {gone} workflow run")


def test_a_shell_gets_exit_code_0_for_success_and_1_for_nonsense(shell: Shell) -> None:
    ended(60)
    done = shell("pruneruns", "--older-than", "30d")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Deleted 1 workflow run (1 completed)")
    done = shell("pruneruns")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_the_handlers_of_signals_are_put_back(invoke: Invoke) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert invoke("pruneruns", "--older-than", "30d").error is None
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert elsewhere(lambda: invoke("pruneruns", "--older-than", "30d").error) is None


# --- tables of the project's own ----------------------------------------------------------------


@pytest.fixture
def referring(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A table of the project's that refers to runs; deleted rows are treated as it declares."""
    name = f"Receipt{request.param.__name__.title().replace('_', '')}"
    null = request.param is models.SET_NULL
    run = models.ForeignKey(WorkflowRun, on_delete=request.param, null=null, related_name="+")
    meta = type("Meta", (), {"app_label": "shop"})
    model = type(name, (models.Model,), {"__module__": __name__, "run": run, "Meta": meta})
    with connection.schema_editor() as editor:
        editor.create_model(model)
    yield model
    with connection.schema_editor() as editor:
        editor.delete_model(model)
    del apps.all_models["shop"][name.lower()]
    apps.clear_cache()


@pytest.mark.parametrize("referring", [models.CASCADE], indirect=True)
def test_rows_that_cascade_go_with_their_run(referring: Any) -> None:
    gone, kept = ended(60), ended(1)
    referring.objects.create(run=gone)
    row = referring.objects.create(run=kept)
    prune()
    assert gone.pk not in left()
    assert list(referring.objects.all()) == [row]


@pytest.mark.parametrize("referring", [models.SET_NULL], indirect=True)
def test_rows_that_can_do_without_lose_their_run(referring: Any) -> None:
    gone = ended(60)
    row = referring.objects.create(run=gone)
    prune()
    assert gone.pk not in left()
    row.refresh_from_db()
    assert row.run_id is None


@pytest.mark.parametrize("referring", [models.PROTECT, models.DO_NOTHING], indirect=True)
def test_rows_that_protect_their_run_keep_it_and_stop_nobody(referring: Any) -> None:
    run, other = ended(60), ended(60)
    referring.objects.create(run=run)
    fill(run)
    prune()
    assert run.pk in left()
    assert other.pk not in left()
    assert StepAttempt.objects.filter(workflow_run=run).count() == 3


@pytest.mark.parametrize("referring", [models.PROTECT], indirect=True)
@needs_row_locks
def test_a_row_that_comes_too_late_is_refused_by_the_database(referring: Any) -> None:
    run = ended(60)
    before = month_ago()
    with transaction.atomic():
        Retention(using="default", finished_before=before).next_batch(None)
        begun = threading.Event()
        errors: list[BaseException] = []

        def insert() -> None:
            begun.set()
            try:
                referring.objects.create(run_id=run.pk)
            except IntegrityError as error:
                errors.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=insert)
        thread.start()
        begun.wait(PATIENCE_SECONDS)
    thread.join(PATIENCE_SECONDS)
    assert len(errors) == 1
    assert run.pk not in left()
