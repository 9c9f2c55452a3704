"""The columns of the list of runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_openworkflow import clock
from django_openworkflow.admin.badges import Badge, run_badge
from django_openworkflow.admin.searching import short_id
from django_openworkflow.admin.spans import span_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django.utils.safestring import SafeString

    from django_openworkflow.admin.actions import Button
    from django_openworkflow.models import WorkflowRun


class RunColumns:
    """Columns that need nothing but the row."""

    @admin.display(description=_("Status"))
    def state(self, run: WorkflowRun) -> SafeString:
        """Return where it stands."""
        badge: Badge = run_badge(run)
        return badge.__html__()

    @admin.display(description=_("Workflow"))
    def workflow(self, run: WorkflowRun) -> SafeString:
        """Return its name and version."""
        return workflow_label(run.workflow_name, run.version)

    @admin.display(description=_("Run"))
    def run(self, run: WorkflowRun) -> SafeString:
        """Return its id, short."""
        return format_html(
            '<code class="ow-short-id" title="{}">{}</code>', run.pk, short_id(run.pk)
        )

    @admin.display(description=_("Claims"))
    def claims(self, run: WorkflowRun) -> int:
        """Return how often a worker took it."""
        return run.attempts

    @admin.display(description=_("Duration"))
    def duration(self, run: WorkflowRun) -> str:
        """Return how long it has taken so far, or took."""
        began_at = run.started_at or (run.created_at if run.is_terminal else None)
        if began_at is None:
            return span_text(None)
        return span_text((run.finished_at or timezone.now() + clock.offset()) - began_at)

    @admin.display(description=_("Created"), ordering="created_at")
    def created(self, run: WorkflowRun) -> SafeString:
        """Return how long ago it was started."""
        return moment(run.created_at)


def workflow_label(name: str, version: str | None) -> SafeString:
    """Return a workflow's name, and its version as a chip."""
    if version is None:
        return format_html("{}", name)
    return format_html('{} <span class="ow-chip">{}</span>', name, version_label(version))


def version_label(version: str | None) -> str:
    """Return a version as people say it; empty for none."""
    return f"v{version}" if version and version[0].isdecimal() else version or ""


def moment(at: datetime) -> SafeString:
    """Return a time as people say it, with the exact one in its title."""
    exact = date_format(timezone.localtime(at), "DATETIME_FORMAT")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact, time_ago(at)
    )


def time_ago(at: datetime) -> str:
    """Return how long ago that was, in one unit."""
    now = timezone.now() + clock.offset()
    span = now - at
    words = span_text(_whole(span)) if span < timedelta(minutes=1) else timesince(at, now, depth=1)
    return gettext("%(span)s ago") % {"span": words}


def _whole(span: timedelta) -> timedelta:
    return timedelta(seconds=max(span // timedelta(seconds=1), 0))


def buttons_column(buttons_of: Callable[[Any], Sequence[Button]]) -> Callable[[Any], SafeString]:
    """Return a column with the buttons that the user of one request may press."""

    @admin.display(description=_("Actions"), empty_value="")
    def row_actions(run: WorkflowRun) -> SafeString:
        return format_html_join(
            " ",
            '<a class="ow-row-button{}" href="{}" aria-label="{}">{}</a>',
            (
                (
                    " ow-danger" if button.is_danger else "",
                    button.url,
                    f"{button.title}: {run.workflow_name} {short_id(run.pk)}",
                    button.title,
                )
                for button in buttons_of(run)
            ),
        )

    return row_actions
