"""The overview: what is going on, at a cost that does not grow with the history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.template.defaultfilters import capfirst
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_openworkflow import clock, conf
from django_openworkflow.admin import throughput
from django_openworkflow.admin.changelist import MOST_COUNTED, CappedCount
from django_openworkflow.admin.pages import may_view
from django_openworkflow.admin.spans import span_text
from django_openworkflow.admin.starting import definitions
from django_openworkflow.models import WorkerProcess
from django_openworkflow.states import RunStatus
from django_openworkflow.store.diagnosis import Diagnosis
from django_openworkflow.store.statistics import Statistics

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase

_DAY: Final = timedelta(hours=24)
_MOST_WORKERS: Final = 200
# What can be looked at: how far back, and how much time one bar stands for.
WINDOWS: Final = {
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "6h": (timedelta(hours=6), timedelta(minutes=5)),
    "24h": (timedelta(hours=24), timedelta(minutes=20)),
}
_DEFAULT: Final = "6h"
_ENDED: Final = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One number, and where the runs are that it counts."""

    kind: str
    label: str
    note: str
    count: int
    url: str

    @property
    def shown(self) -> str:
        """The number as people read it."""
        is_capped = isinstance(self.count, CappedCount)
        return str(self.count) if is_capped else number_format(self.count, force_grouping=True)


class OverviewPage:
    """``overview``: one page about all runs."""

    def overview(self: Any, request: HttpRequest) -> HttpResponseBase:
        """Show it."""
        request.current_app = self.admin_site.name
        context = {
            **self.page_context(request, _("Workflow overview")),
            "media": self.media,
            "may_start": self.may(request, ["start"]),
            "start_url": self.url_of("start_run"),
            "changelist_url": self.url_of("changelist"),
            **self.live_context(self.url_of("live_overview"), request),
            **overview_context(self, request),
        }
        return TemplateResponse(request, self.templates("overview.html"), context)


def overview_context(admin: Any, request: HttpRequest) -> dict[str, Any]:
    """Return all numbers of the overview; ``fingerprint`` changes when one of them does."""
    using = admin.get_queryset(request).db
    statistics = Statistics(using)
    now = timezone.now() + clock.offset()
    chosen = request.GET.get("window", _DEFAULT)
    window, bar = WINDOWS.get(chosen, WINDOWS[_DEFAULT])
    until = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    cards = _cards(statistics.counts(now - _DAY), admin.url_of("changelist"))
    ended = statistics.ended_by_minute(until - window)
    durations = statistics.durations(until - window)
    oldest = Diagnosis(using).oldest_pending()
    workers = _workers(using)
    return {
        "cards": cards,
        "throughput": throughput.build(ended, until - window, until, bar),
        "windows": [(key, key == (chosen if chosen in WINDOWS else _DEFAULT)) for key in WINDOWS],
        "durations": [
            {
                "name": one.workflow_name,
                "completed": one.completed,
                "failed": one.failed,
                "median": span_text(one.median),
                "slow": span_text(one.slow),
            }
            for one in durations
        ],
        "oldest_pending": None if oldest is None else span_text(oldest),
        "workers": workers,
        "may_view_workers": may_view(admin, request, WorkerProcess),
        "definitions": definitions(),
        "may_start": admin.may(request, ["start"]),
        "start_url": admin.url_of("start_run"),
        "changelist_url": admin.url_of("changelist"),
        "fingerprint": repr((cards, ended, durations, workers, oldest and oldest.seconds // 5)),
    }


def _cards(counts: dict[str, int], changelist_url: str) -> list[Card]:
    return [
        Card(
            kind=status,
            label=capfirst(str(RunStatus(status).label)),
            note=gettext("in 24 hours") if status in _ENDED else gettext("now"),
            count=CappedCount(MOST_COUNTED) if count > MOST_COUNTED else count,
            url=f"{changelist_url}?status={status}",
        )
        for status, count in counts.items()
    ]


def _workers(using: str) -> list[WorkerProcess]:
    lease_seconds = conf.get_settings().LEASE_SECONDS
    rows: Any = WorkerProcess.objects.db_manager(using)
    return list(rows.alive(lease_seconds).order_by("started_at", "pk")[:_MOST_WORKERS])
