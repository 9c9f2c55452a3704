"""The tables' numbers, read when they are asked for and kept for a few seconds."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, InterfaceError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from django_openworkflow import conf
from django_openworkflow.store import figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

    from django_openworkflow.store.figures import Figures

logger: Final = logging.getLogger(__name__)

_KEPT_SECONDS: Final = 5.0
_REST: Final = 100  # times as long as the last answer took, the database is left in peace


class TableCollector(Collector):
    """Collects the numbers of the project's namespace, on the calling thread's connection.

    However many scrapers there are, a process asks the database once in ``kept_seconds``, and
    for a hundredth of the time at most. When it does not answer, ``openworkflow_database_up`` is 0
    and stands alone.
    """

    def __init__(self, using: str | None = None, *, kept_seconds: float = _KEPT_SECONDS) -> None:
        self._using = using
        self._kept_seconds = kept_seconds
        self._mutex = threading.Lock()
        self._read: Figures | None = None
        self._good_until = 0.0

    def describe(self) -> Iterable[Metric]:
        """Describe nothing, so that registering asks the database nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        found = self._figures()
        yield GaugeMetricFamily(
            "openworkflow_database_up",
            "Whether the database with the workflow tables answered.",
            value=float(found is not None),
        )
        if found is not None:
            yield from _metrics(found)

    def _figures(self) -> Figures | None:
        with self._mutex:
            begun_at = time.monotonic()
            if begun_at >= self._good_until:
                self._read = self._ask()
                took = time.monotonic() - begun_at
                self._good_until = begun_at + max(self._kept_seconds, _REST * took)
            return self._read

    def _ask(self) -> Figures | None:
        try:
            return figures.read(self._using or conf.get_settings().DATABASE)
        except (DatabaseError, InterfaceError):
            logger.exception("Reading the workflow tables' numbers failed")
            return None


def _metrics(found: Figures) -> Iterable[Metric]:
    yield _gauges(
        "openworkflow_workflow_runs",
        # Source: the original's dashboard, which has this metric with this text.
        "Current count of workflow runs in each status.",
        "status",
        found.runs,
    )
    queues = found.queues.items()
    yield _gauges(
        "openworkflow_queue_oldest_due_seconds",
        "For how long the oldest due run of a queue has waited for a worker.",
        "queue",
        {queue: each.oldest_due_seconds for queue, each in queues},
    )
    yield _gauges(
        "openworkflow_queue_due_runs",
        "Runs of a queue that wait for a worker.",
        "queue",
        {queue: each.due for queue, each in queues},
    )
    workers = found.workers
    for name, text, value in (
        ("workers", "Workers heard of within their lease.", workers.alive),
        ("worker_slots", "Runs that the workers can hold at a time.", workers.slots),
        ("worker_slots_used", "Runs that workers hold.", workers.slots_used),
    ):
        yield GaugeMetricFamily(f"openworkflow_{name}", text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
