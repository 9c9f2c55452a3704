"""What the demo claims. Each claim is looked up in the database, and may turn out to be false."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django_openworkflow.models import StepAttempt
from django_openworkflow.states import TERMINAL, CancelSource, RunStatus, StepKind, StepStatus
from testproject.shop.demo.books import Books, Deeds
from testproject.shop.demo.cancels import Cancel, Door, When
from testproject.shop.gateway import DECLINED_CARD, outages
from testproject.shop.models import GatewayRequest

ANSWERS = GatewayRequest.Answer


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence, and whether it is true."""

    holds: bool
    text: str


def all_claims(books: Books, deeds: Deeds) -> list[tuple[str, list[Claim]]]:
    """Return the claims by subject."""
    return [
        ("The work", list(_about_the_work(books, deeds))),
        ("The steps", list(_about_steps(books))),
        ("The killed worker", list(_about_the_crash(books, deeds))),
        ("The cancels", list(_about_cancels(books, deeds))),
    ]


# --- the work -----------------------------------------------------------------------------------


def _about_the_work(books: Books, deeds: Deeds) -> Iterator[Claim]:
    completed, canceled, failed = (
        books.with_status(status)
        for status in (RunStatus.COMPLETED, RunStatus.CANCELED, RunStatus.FAILED)
    )
    total = len(books.orders) + books.orders_without_run
    yield Claim(
        not books.orders_without_run
        and books.runs.keys() == books.orders.keys() == completed | canceled | failed,
        f"All {total} orders have one run, and all of them have ended",
    )
    shipped = {run for run in books.orders if books.shipped(run)}
    yield Claim(
        shipped == completed and all(books.shipped(run) == 1 for run in shipped),
        f"The {len(shipped)} shipped orders are those of the completed runs; each has one parcel",
    )
    charged = [run for run in shipped if books.paid(run) == [books.orders[run].total_cents]]
    yield Claim(
        len(charged) == len(shipped) > 0,
        f"Every shipped order was charged exactly once: {len(charged)} of {len(shipped)}",
    )
    yield Claim(
        not any(books.paid(run) for run in canceled | failed),
        f"None of the {len(canceled | failed)} other orders was charged",
    )
    declined = {
        run for run, order in books.orders.items() if order.card == DECLINED_CARD
    } - canceled
    yield Claim(
        failed == declined,
        f"Failed runs: {len(failed)}, exactly those whose card was declined"
        + "".join(f"; but {books.runs[run].error}" for run in failed - declined),
    )
    yield _stock_adds_up(books, deeds)
    yield Claim(
        bool(deeds.exit_codes) and not any(deeds.exit_codes),
        f"The {len(deeds.exit_codes)} workers left stopped with exit status 0 when asked to",
    )


def _stock_adds_up(books: Books, deeds: Deeds) -> Claim:
    left = dict(deeds.stocked)
    for run in books.with_status(RunStatus.COMPLETED):
        left[books.orders[run].item_id] -= books.orders[run].quantity
    return Claim(
        {item.pk: item.on_hand for item in books.stock} == left
        and not any(item.reserved for item in books.stock),
        "The stock went down by what was shipped, and nothing is reserved any more",
    )


# --- the steps ----------------------------------------------------------------------------------


def _about_steps(books: Books) -> Iterator[Claim]:
    smooth = [key for key, attempts in books.attempts.items() if _is_smooth(attempts)]
    once = [key for key in smooth if books.executions(*key) == 1]
    yield Claim(
        len(once) == len(smooth) > 0,
        f"Steps without failure or crash executed exactly once: {len(once)} of {len(smooth)}",
    )
    yield _replays_execute_nothing(books)
    refused = sum(request.answer == ANSWERS.UNAVAILABLE for request in books.requests)
    yield Claim(
        refused > 0 and all(_was_patient(books, run) for run in books.orders),
        f"The gateway was out of order {refused} times; every such charge was tried again until "
        "it was answered",
    )


def _is_smooth(attempts: list[StepAttempt]) -> bool:
    first = attempts[0]
    return (
        len(attempts) == 1
        and first.kind == StepKind.FUNCTION
        and first.status == StepStatus.COMPLETED
        and not first.interruptions
    )


def _replays_execute_nothing(books: Books) -> Claim:
    """Bodies run once per attempt, and once more per interruption: what was saved is not run."""
    attempts = interruptions = executions = 0
    is_bounded = True
    for key in books.attempts.keys() | books.starts.keys():
        tries = [one for one in books.tries(*key) if one.kind == StepKind.FUNCTION]
        more = sum(one.interruptions for one in tries)
        is_bounded = is_bounded and books.executions(*key) <= len(tries) + more
        attempts += len(tries)
        interruptions += more
        executions += books.executions(*key)
    return Claim(
        is_bounded and executions > 0,
        f"No replay executed a saved step again: {executions} executions for {attempts} attempts "
        f"and {interruptions} interruptions",
    )


def _was_patient(books: Books, run: UUID) -> bool:
    """Whether a run met all outages planned for its order, and then got its answer."""
    answers = books.answers(run)
    if not answers:
        return True
    met = answers.count(ANSWERS.UNAVAILABLE)
    statuses = [attempt.status for attempt in books.tries(run, "charge")]
    retried = statuses.count(StepStatus.FAILED)
    interrupted = sum(attempt.interruptions for attempt in books.tries(run, "charge"))
    return (
        met == outages(books.orders[run].number)
        and retried <= met <= retried + interrupted
        and StepStatus.COMPLETED in statuses
    )


# --- the killed worker --------------------------------------------------------------------------


def _about_the_crash(books: Books, deeds: Deeds) -> Iterator[Claim]:
    crash = deeds.crash
    yield Claim(
        crash.exit_code == -signal.SIGKILL and bool(crash.runs) and bool(crash.in_flight),
        f"SIGKILL hit worker {crash.pid} in the middle of {len(crash.in_flight)} steps "
        f"of {len(crash.runs)} runs",
    )
    rescued = [run for run in crash.runs if books.runs[run].takeovers]
    ended = [run for run in crash.runs if books.runs[run].status in TERMINAL]
    yield Claim(
        len(rescued) == len(ended) == len(crash.runs),
        f"Other workers took over {len(rescued)} of its {len(crash.runs)} runs, "
        f"and {len(ended)} have ended",
    )
    interrupted = {
        attempt.pk: attempt.interruptions
        for attempts in books.attempts.values()
        for attempt in attempts
    }
    resumed = [attempt for attempt in crash.in_flight if interrupted[attempt]]
    yield Claim(
        len(resumed) == len(crash.in_flight),
        f"Interrupted steps resumed in their own rows: {len(resumed)} of {len(crash.in_flight)}",
    )
    asked = [run for run in crash.charged if ANSWERS.REPEATED in books.answers(run)]
    once = [run for run in asked if len(books.paid(run)) == 1]
    yield Claim(
        len(once) == len(crash.charged) > 0,
        f"Charges taken but not yet saved when it died: {len(crash.charged)}; "
        f"asked for again: {len(asked)}; charged once: {len(once)}",
    )


# --- the cancels --------------------------------------------------------------------------------


def _about_cancels(books: Books, deeds: Deeds) -> Iterator[Claim]:
    kept = {
        When.PENDING: (_never_began, "canceled while pending: no step ever began"),
        When.SLEEPING: (_ended_asleep, "canceled while sleeping: they were never woken"),
        When.MID_STEP: (
            _ended_in_a_step,
            "canceled in the middle of a step: its outcome was kept, nothing began after it",
        ),
    }
    for when, (test, text) in kept.items():
        runs = [run for cancel in deeds.cancels if cancel.when is when for run in cancel.runs]
        good = [run for run in runs if test(books, run)]
        yield Claim(len(good) == len(runs) > 0, f"{len(good)} of {len(runs)} runs {text}")
    asked = {run for cancel in deeds.cancels for run in cancel.runs}
    yield Claim(
        asked == books.with_status(RunStatus.CANCELED)
        and all(_says_why(books, cancel) for cancel in deeds.cancels),
        f"The {len(asked)} canceled runs are those that were asked for; each names its reason",
    )
    yield from _about_late_cancels(books, deeds)


def _about_late_cancels(books: Books, deeds: Deeds) -> Iterator[Claim]:
    late, second = deeds.refusal, deeds.second_cancel
    yield Claim(
        late.message == f"Cannot cancel workflow run {late.run} with status completed"
        and books.runs[late.run].status == RunStatus.COMPLETED,
        f"Too late: {late.message or 'a completed run was canceled'}",
    )
    yield Claim(
        not second.complaint and second.before == second.after and bool(second.before[0]),
        f"A second cancel is quiet and changes nothing; the reason is still: {second.after[0]}",
    )
    yield Claim(
        deeds.result_of_canceled == "Workflow fulfil-order was canceled",
        f"Asking for the result of a canceled run says: {deeds.result_of_canceled}",
    )


def _never_began(books: Books, run: UUID) -> bool:
    never_started = books.runs[run].started_at is None
    return never_started and not books.attempts_of(run) and not books.starts_of(run)


def _ended_asleep(books: Books, run: UUID) -> bool:
    """Whether the cancel closed a sleep that would have lasted longer."""
    sleeps = books.tries(run, "cooling-off")
    canceled_at = books.runs[run].finished_at
    return (
        [sleep.status for sleep in sleeps] == [StepStatus.FAILED]
        and canceled_at is not None
        and _end_of_sleep(sleeps[0]) > canceled_at
        and _nothing_after(books, run)
    )


def _end_of_sleep(sleep: StepAttempt) -> datetime:
    """Return when a sleep would have been over by itself."""
    return datetime.fromisoformat(sleep.context["resumeAt"])


def _ended_in_a_step(books: Books, run: UUID) -> bool:
    """Whether a step had begun before the cancel, ended after it, and its outcome was kept."""
    canceled_at = books.runs[run].finished_at
    return _nothing_after(books, run) and any(
        attempt.started_at
        and canceled_at
        and attempt.finished_at
        and attempt.started_at < canceled_at <= attempt.finished_at
        for attempt in books.attempts_of(run)
        if attempt.kind == StepKind.FUNCTION
    )


def _nothing_after(books: Books, run: UUID) -> bool:
    """Whether no step of a run was let begin after its end.

    The body of a step that had begun may reach its first line a little later.
    """
    ended_at = books.runs[run].finished_at
    attempts = books.attempts_of(run)
    begun = {attempt.step_name for attempt in attempts}
    return (
        ended_at is not None
        and all((attempt.started_at or attempt.created_at) <= ended_at for attempt in attempts)
        and all(start.step in begun for start in books.starts_of(run))
    )


def _says_why(books: Books, cancel: Cancel) -> bool:
    source = CancelSource.COMMAND if cancel.door is Door.COMMAND else CancelSource.API
    return all(
        (books.runs[run].cancel_reason, books.runs[run].cancel_source) == (cancel.reason, source)
        and books.runs[run].worker_id is None
        for run in cancel.runs
    )
