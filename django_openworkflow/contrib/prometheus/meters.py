"""What one process does, measured where it happens: step bodies, cancels, ends of runs."""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from typing import TYPE_CHECKING, Any, Final

from django.db import DatabaseError, InterfaceError
from prometheus_client import Counter, Histogram
from prometheus_client.registry import Collector

from django_openworkflow import clock, conf, instrumentation
from django_openworkflow.states import RunStatus
from django_openworkflow.store import figures
from django_openworkflow.store.operations import RunCompleted, RunFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from prometheus_client import Metric

    from django_openworkflow.store.operations import ClaimedRun

_STEP_SECONDS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_LATENCY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MOST_NOTICED: Final = 1000  # cancels between two scrapes; the rest is not measured


class Meters(instrumentation.Observer, Collector):
    """The meters of this process. ``install`` lets them see; register them to have them scraped.

    Labels name workflows and outcomes, never steps: the names of steps may be made up by code.
    """

    def __init__(self) -> None:
        self._steps = Histogram(
            "openworkflow_step_duration_seconds",
            "How long the bodies of steps ran.",
            ["workflow", "outcome"],
            registry=None,
            buckets=_STEP_SECONDS,
        )
        self._ends = Counter(
            "openworkflow_runs_finished",
            "Runs that ended, by outcome.",
            ["workflow", "outcome"],
            registry=None,
        )
        self._latencies = Histogram(
            "openworkflow_cancel_latency_seconds",
            "From the cancel of a run to the moment when the worker that executed it noticed.",
            registry=None,
            buckets=_LATENCY_SECONDS,
        )
        self._noticed: dict[UUID, float] = {}
        self._mutex = threading.Lock()

    def install(self) -> None:
        """Begin to measure; a second time changes nothing."""
        instrumentation.install(self)

    def remove(self) -> None:
        """Measure no more."""
        instrumentation.remove(self)

    # --- what is seen ---------------------------------------------------------------------------

    def calling(self, claimed: ClaimedRun, step_name: str) -> _Body:
        """Measure the body of a step."""
        return _Body(self._steps, claimed.workflow_name)

    def executing(self, claimed: ClaimedRun) -> _Pass:
        """Count the run if the pass ends it."""
        return _Pass(self._ends, claimed.workflow_name)

    def ended(self, run_ids: Collection[UUID], status: str, *, using: str) -> None:
        """Count runs that a cancel or a sweep has ended."""
        for name, number in Tally(figures.workflow_names(run_ids, using=using)).items():
            self._ends.labels(name, str(status)).inc(number)

    def cancel_noticed(self, run_id: UUID) -> None:
        """Remember the moment. The database, which knows the other one, is asked when scraped."""
        with self._mutex:
            if len(self._noticed) < _MOST_NOTICED:
                self._noticed.setdefault(run_id, time.monotonic())

    # --- what is collected ----------------------------------------------------------------------

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: registering asks nobody."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        self._settle_latencies()
        for meter in (self._steps, self._ends, self._latencies):
            yield from meter.collect()

    def _settle_latencies(self) -> None:
        """Measure the cancels noticed since the last time, all by the database's clock."""
        with self._mutex:
            noticed, self._noticed = self._noticed, {}
        if not noticed:
            return
        using = conf.get_settings().DATABASE
        try:
            canceled_at = figures.canceled_at(noticed, using=using)
            now = clock.read(using)
        except (DatabaseError, InterfaceError):
            return
        read_at = time.monotonic()
        for run_id, at in canceled_at.items():
            since = (now - at).total_seconds() - (read_at - noticed[run_id])
            self._latencies.observe(max(0.0, since))


class _Measured:
    """What is watched here starts no run of its own."""

    carrier: Final[dict[str, str]] = {}


class _Body(_Measured):
    """The body of a step that is running."""

    def __init__(self, steps: Histogram, workflow_name: str) -> None:
        self._steps = steps
        self._workflow_name = workflow_name
        self._begun_at = time.perf_counter()

    def end(self, _result: Any, error: BaseException | None) -> None:
        """Take the time. What leaves by control flow was interrupted, by a cancel for instance."""
        outcome = "completed"
        if error is not None:
            outcome = "failed" if isinstance(error, Exception) else "interrupted"
        seconds = time.perf_counter() - self._begun_at
        self._steps.labels(self._workflow_name, outcome).observe(seconds)


class _Pass(_Measured):
    """A pass that may end its run."""

    def __init__(self, ends: Counter, workflow_name: str) -> None:
        self._ends = ends
        self._workflow_name = workflow_name

    def end(self, result: Any, _error: BaseException | None) -> None:
        """Count the run if it ended."""
        if isinstance(result, RunCompleted | RunFailed):
            outcome = RunStatus.COMPLETED if isinstance(result, RunCompleted) else RunStatus.FAILED
            self._ends.labels(self._workflow_name, str(outcome)).inc()
