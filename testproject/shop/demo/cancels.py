"""Cancel runs in every state and through every door, and remember what was asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from django.utils import timezone

from django_openworkflow import RunHandle
from django_openworkflow.exceptions import OpenWorkflowError, RunNotCancelable
from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind, StepStatus
from testproject.shop.demo.crash import in_flight, worker_name
from testproject.shop.demo.workers import DemoFailed, Workers, manage
from testproject.shop.fulfilment import SECONDS_PER_LETTER
from testproject.shop.models import Order
from testproject.shop.workflows import fulfil_order

RESELLER: Final = "Quickflip Resale Ltd"
# So long must a sleep or an engraving still last, for the cancel to come in time.
MARGIN_SECONDS: Final = 5.0
ACTOR: Final = "customer service"


class When(StrEnum):
    """What the runs were doing when they were canceled."""

    PENDING = "pending"
    SLEEPING = "sleeping"
    MID_STEP = "in a step"


class Door(StrEnum):
    """How they were canceled."""

    HANDLE = "handle.cancel()"
    QUERYSET = "a queryset"
    COMMAND = "manage.py cancelruns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Runs canceled together."""

    when: When
    door: Door
    reason: str
    runs: list[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A cancel that came too late."""

    run: UUID
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondCancel:
    """A cancel of a canceled run: what the run said before and after, and any complaint."""

    run: UUID
    before: tuple[str, datetime | None]
    after: tuple[str, datetime | None]
    complaint: str


# --- while pending ------------------------------------------------------------------------------


def cancel_pending(orders: Sequence[Order]) -> Iterator[Cancel]:
    """Cancel before any worker has started: the last orders, and those of a reseller."""
    last, duplicates = orders[-1], orders[-3:-1]
    yield _cancel(When.PENDING, Door.HANDLE, "ordered by mistake", _runs([last]))
    resale = Order.objects.filter(customer=RESELLER).values("run_id")
    chosen = WorkflowRun.objects.for_workflow(fulfil_order.name).pending().filter(pk__in=resale)
    reason = "against our terms: bought for resale"
    outcome = chosen.cancel_active(reason=reason, actor=ACTOR)
    yield Cancel(when=When.PENDING, door=Door.QUERYSET, reason=reason, runs=outcome.canceled)
    yield _cancel(When.PENDING, Door.COMMAND, "duplicate order", _runs(duplicates))


def _runs(orders: Sequence[Order]) -> list[UUID]:
    return [order.run_id for order in orders if order.run_id]


# --- while at work ------------------------------------------------------------------------------


def cancel_in_a_step(workers: Workers, counts: Sequence[int]) -> Iterator[Cancel]:
    """Cancel runs whose order is being engraved at this moment, by a living worker."""
    reasons = ("typing error in the engraving", "engraver is ill", "customer wants another text")
    return _cancel_through_all_doors(workers, When.MID_STEP, counts, reasons, _being_engraved)


def cancel_sleeping(workers: Workers, counts: Sequence[int]) -> Iterator[Cancel]:
    """Cancel runs that are cooling off, and hold no worker."""
    reasons = ("changed her mind", "found it cheaper", "moves abroad")
    return _cancel_through_all_doors(workers, When.SLEEPING, counts, reasons, _cooling_off)


def _cancel_through_all_doors(
    workers: Workers,
    when: When,
    counts: Sequence[int],
    reasons: Sequence[str],
    candidates: Callable[[Workers], list[UUID]],
) -> Iterator[Cancel]:
    for door, count, reason in zip(Door, counts, reasons, strict=True):

        def enough(count: int = count) -> list[UUID]:
            found = candidates(workers)
            return found[:count] if len(found) >= count else []

        chosen = workers.wait_for(f"{runs_in_words(count)} to be {when.value}", enough)
        yield _cancel(when, door, reason, chosen)


def _being_engraved(workers: Workers) -> list[UUID]:
    """Return the runs whose engraving will take longest from now."""
    living = workers.names()
    attempts = {
        attempt.workflow_run_id: attempt
        for attempt in in_flight().filter(step_name="pack")
        if worker_name(attempt.worker_id) in living
    }
    left: dict[UUID, float] = {}
    for order in Order.objects.filter(run_id__in=attempts).exclude(engraving=""):
        started_at = attempts[order.run_id].started_at if order.run_id else None
        if order.run_id and started_at:
            done = (timezone.now() - started_at).total_seconds()
            left[order.run_id] = len(order.engraving) * SECONDS_PER_LETTER - done
    return _longest(left)


def _cooling_off(_workers: Workers) -> list[UUID]:
    """Return the parked runs that will sleep longest from now."""
    asleep = StepAttempt.objects.filter(kind=StepKind.SLEEP, status=StepStatus.RUNNING)
    rows = (
        WorkflowRun.objects.for_workflow(fulfil_order.name)
        .parked()
        .filter(pk__in=asleep.values("workflow_run"))
        .values_list("pk", "available_at")
    )
    now = timezone.now()
    return _longest({pk: (wake_at - now).total_seconds() for pk, wake_at in rows})


def _longest(seconds_left: dict[UUID, float]) -> list[UUID]:
    chosen = [run for run, seconds in seconds_left.items() if seconds > MARGIN_SECONDS]
    return sorted(chosen, key=lambda run: -seconds_left[run])


def runs_in_words(count: int) -> str:
    """Return "1 run", "2 runs" and so on."""
    return "1 run" if count == 1 else f"{count} runs"


# --- doors --------------------------------------------------------------------------------------


def _cancel(when: When, door: Door, reason: str, runs: list[UUID]) -> Cancel:
    if door is Door.HANDLE:
        for run in runs:
            RunHandle.get(run).cancel(reason=reason, actor=ACTOR)
    elif door is Door.QUERYSET:
        WorkflowRun.objects.filter(pk__in=runs).cancel_active(reason=reason, actor=ACTOR)
    else:
        ids = [str(run) for run in runs]
        done = manage("cancelruns", *ids, "--reason", reason, "--yes", "--format", "json")
        if done.returncode:
            message = f"manage.py cancelruns ended with code {done.returncode}:\n{done.stderr}"
            raise DemoFailed(message)
    return Cancel(when=when, door=door, reason=reason, runs=runs)


# --- too late -----------------------------------------------------------------------------------


def cancel_completed(workers: Workers) -> Refusal:
    """Try to cancel a run that has completed."""
    completed = WorkflowRun.objects.for_workflow(fulfil_order.name).filter(
        status=RunStatus.COMPLETED
    )
    run = workers.wait_for("a completed run", completed.order_by("pk").first)
    try:
        RunHandle.get(run.pk).cancel(reason="too late", actor=ACTOR)
    except RunNotCancelable as error:
        return Refusal(run=run.pk, message=str(error))
    return Refusal(run=run.pk, message="")


def cancel_again(run_id: UUID) -> SecondCancel:
    """Cancel a canceled run once more, with another reason."""
    handle = RunHandle.get(run_id)
    first = handle.run
    complaint = ""
    try:
        handle.cancel(reason="another reason", actor="somebody else")
    except OpenWorkflowError as error:
        complaint = str(error)
    second = handle.run
    return SecondCancel(
        run=run_id,
        before=(first.cancel_reason, first.finished_at),
        after=(second.cancel_reason, second.finished_at),
        complaint=complaint,
    )
