"""The report: aligned tables in plain text, the claims, and the verdict."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django_openworkflow.models import StepAttempt
from django_openworkflow.states import RunStatus, StepKind, StepStatus
from testproject.shop.demo.books import Books, Deeds
from testproject.shop.demo.cancels import When
from testproject.shop.demo.claims import Claim
from testproject.shop.models import GatewayRequest

Cell = str | int
NOTHING = "-"
# In the order of the workflow.
STEPS = ("validate", "reserve", "pack", "cooling-off", "charge", "ship", "notify", "unreserve")


@dataclass(frozen=True, slots=True)
class Marks:
    """The signs before a claim."""

    true: str
    false: str

    @classmethod
    def that_fit(cls, encoding: str | None) -> "Marks":
        """Return the signs that an encoding can show."""
        try:
            "✔✘".encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return cls("ok  ", "FALSE")
        return cls("✔", "✘")


def report(
    books: Books, deeds: Deeds, claims: Sequence[tuple[str, Sequence[Claim]]], marks: Marks
) -> Iterator[str]:
    """Yield the lines of the whole report."""
    for title, rows in (
        ("Runs by status", _runs(books)),
        ("Steps", _steps(books)),
        ("Payment gateway", _gateway(books)),
        ("Workers", _workers(books, deeds)),
        ("Cancels", _cancels(deeds)),
        ("Canceled in the middle of a step: how the step ended", _outcomes(books, deeds)),
    ):
        yield from ("", title, *table(rows))
    yield from ("", "Claims")
    for subject, some in claims:
        yield f"  {subject}"
        yield from (
            f"    {marks.true if claim.holds else marks.false} {claim.text}" for claim in some
        )
    yield ""


def verdict(claims: Sequence[Claim], seconds: float) -> str:
    """Return the last line."""
    wrong = sum(not claim.holds for claim in claims)
    if wrong:
        return f"{wrong} of {len(claims)} claims do NOT hold, after {seconds:.0f} seconds."
    return f"All {len(claims)} claims hold, after {seconds:.0f} seconds."


def table(rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """Yield aligned lines: numbers to the right, text to the left; the first row is the heading."""
    lines = [[str(cell) for cell in row] for row in rows]
    numeric = [
        all(cell.isdecimal() or cell == NOTHING for cell in column[1:])
        for column in zip(*lines, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        yield "  " + "  ".join(cells).rstrip()


# --- tables -------------------------------------------------------------------------------------


def _runs(books: Books) -> Iterator[Sequence[Cell]]:
    yield ("status", "runs", "take-overs")
    for status in RunStatus:
        runs = books.with_status(status)
        if runs:
            yield (status.value, len(runs), sum(books.runs[run].takeovers for run in runs))
    yield ("total", len(books.runs), sum(run.takeovers for run in books.runs.values()))


def _steps(books: Books) -> Iterator[Sequence[Cell]]:
    yield ("step", "runs", "executed once", "retries", "interruptions", "completed")
    for step in STEPS:
        some = [attempts for (_, name), attempts in books.attempts.items() if name == step]
        once = [
            1 for (_, name), starts in books.starts.items() if name == step and len(starts) == 1
        ]
        attempts = [attempt for attempts in some for attempt in attempts]
        yield (
            step,
            len(some),
            len(once) if attempts and attempts[0].kind == StepKind.FUNCTION else NOTHING,
            len(attempts) - len(some),
            sum(attempt.interruptions for attempt in attempts),
            sum(attempt.status == StepStatus.COMPLETED for attempt in attempts),
        )


def _gateway(books: Books) -> Iterator[Sequence[Cell]]:
    meanings = {
        GatewayRequest.Answer.ACCEPTED: "charged",
        GatewayRequest.Answer.REPEATED: "same key again: charged before, not charged twice",
        GatewayRequest.Answer.DECLINED: "the run fails",
        GatewayRequest.Answer.UNAVAILABLE: "the step fails and is tried again",
    }
    yield ("answer", "times", "meaning")
    answers = Counter(request.answer for request in books.requests)
    for answer, meaning in meanings.items():
        yield (answer.value, answers[answer], meaning)


def _workers(books: Books, deeds: Deeds) -> Iterator[Sequence[Cell]]:
    yield ("process", "steps started", "end")
    started = Counter(start.process for some in books.starts.values() for start in some)
    for pid in deeds.pids:
        end = "killed with SIGKILL" if pid == deeds.crash.pid else "stopped when asked to"
        yield (f"#{pid}", started[pid], end)


def _cancels(deeds: Deeds) -> Iterator[Sequence[Cell]]:
    yield ("while", "with", "runs", "reason")
    for cancel in deeds.cancels:
        yield (cancel.when.value, cancel.door.value, len(cancel.runs), cancel.reason)


def _outcomes(books: Books, deeds: Deeds) -> Iterator[Sequence[Cell]]:
    yield ("order", "step", "began", "ended", "outcome")
    for cancel in deeds.cancels:
        for run in cancel.runs if cancel.when is When.MID_STEP else ():
            canceled_at = books.runs[run].finished_at
            attempt = books.attempts_of(run)[-1]
            yield (
                books.orders[run].number,
                attempt.step_name,
                _distance(attempt.started_at, canceled_at),
                _distance(attempt.finished_at, canceled_at),
                _outcome(attempt),
            )


def _distance(moment: datetime | None, canceled_at: datetime | None) -> str:
    if moment is None or canceled_at is None:
        return "never"
    seconds = (moment - canceled_at).total_seconds()
    return f"{abs(seconds):.2f} s {'before' if seconds < 0 else 'after'} the cancel"


def _outcome(attempt: StepAttempt) -> str:
    message = attempt.error.get("message", "") if attempt.error else ""
    return f"{attempt.status}: {message}" if message else str(attempt.status)
