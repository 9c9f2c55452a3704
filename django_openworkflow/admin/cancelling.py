"""Cancel one run, the selected ones, or all that match: ask first, then one transaction decides.

What the page showed decides nothing. The rows are taken by id, so that a run that has gone on to
another status meanwhile is canceled all the same, though it has left the filter it was found by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_openworkflow.admin import audit
from django_openworkflow.admin.badges import Badge, run_badge
from django_openworkflow.admin.changelist import MOST_COUNTED, CappedCount
from django_openworkflow.admin.columns import version_label
from django_openworkflow.admin.forms import CancelForm
from django_openworkflow.cancellation import Cancellation
from django_openworkflow.states import ACTIVE, CancelSource, RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django import forms
    from django.http import HttpRequest, HttpResponse

    from django_openworkflow.cancellation import Report
    from django_openworkflow.models import WorkflowRun
    from django_openworkflow.querysets import WorkflowRunQuerySet

MOST_LISTED: Final = 100
_TEMPLATE: Final = "cancel_selected_confirmation.html"

_options: dict[str, Any] = {
    "permissions": ["cancel"],
    "description": _("Cancel selected workflow runs"),
}
if hasattr(admin, "ActionLocation"):  # Django 6.1: on the page of a run, too
    _options["location"] = [admin.ActionLocation.CHANGE_LIST, admin.ActionLocation.CHANGE_FORM]
    _options["description_plural"] = _options["description"]
    _options["description"] = _("Cancel workflow run")


@admin.action(**_options)  # type: ignore[untyped-decorator]
def cancel_selected_runs(
    modeladmin: Any, request: HttpRequest, queryset: WorkflowRunQuerySet
) -> HttpResponse | None:
    """Ask, and cancel when the question comes back with ``post=yes``."""
    matches_filter = request.POST.get("select_across") == "1"
    runs = queryset if matches_filter else _selected(modeladmin, request)
    is_answer = request.POST.get("post") == "yes"
    form = CancelForm(request.POST if is_answer else None)
    if is_answer and form.is_valid():
        cancel(modeladmin, request, runs, form)
        return None
    return _question(modeladmin, request, runs, form, matches_filter=matches_filter)


def _selected(modeladmin: Any, request: HttpRequest) -> WorkflowRunQuerySet:
    ids = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
    runs: WorkflowRunQuerySet = modeladmin.get_queryset(request).filter(pk__in=ids)
    return runs


def cancel(
    modeladmin: Any, request: HttpRequest, runs: WorkflowRunQuerySet, form: forms.Form
) -> None:
    """Cancel these runs, record it, and tell what was done."""
    reason, cascade = form.cleaned_data["reason"], form.cleaned_data["cascade"]
    request_to_cancel = Cancellation(
        reason=reason,
        actor=request.user,
        cascade=cascade,
        named=False,
        source=CancelSource.ADMIN,
    )
    with audit.recorded(runs.db):
        report = request_to_cancel.carry_out(runs.order_by())
        message = audit.with_reason("Canceled.", reason)
        audit.record_runs(request, report.canceled, message, using=runs.db)
        message = audit.with_reason("Canceled with the run above it.", reason)
        audit.record_runs(request, report.children_canceled, message, using=runs.db)
    for level, text in outcome_messages(report):
        modeladmin.message_user(request, text, level)


def outcome_messages(report: Report) -> list[tuple[int, str]]:
    """Say what a cancel did, with the level of each sentence."""
    found = []
    if count := len(report.canceled):
        text = ngettext(
            "Canceled %(count)d workflow run.", "Canceled %(count)d workflow runs.", count
        )
        found.append((messages.SUCCESS, text % {"count": count}))
    if count := len(report.children_canceled):
        text = ngettext(
            "Also canceled %(count)d child run.", "Also canceled %(count)d child runs.", count
        )
        found.append((messages.SUCCESS, text % {"count": count}))
    if counts := report.skipped_counts():
        kinds = ", ".join(f"{count} {RunStatus(kind).label}" for kind, count in counts.items())
        text = gettext("Skipped %(count)d already finished: %(kinds)s.")
        found.append((messages.WARNING, text % {"count": sum(counts.values()), "kinds": kinds}))
    if count := report.already_count():
        text = gettext("%(count)d already canceled.") % {"count": count}
        found.append((messages.WARNING, text))
    if not found:
        found.append((messages.WARNING, gettext("No workflow run was there to cancel.")))
    return found


# --- the question -------------------------------------------------------------------------------


def _question(
    modeladmin: Any,
    request: HttpRequest,
    runs: WorkflowRunQuerySet,
    form: forms.Form,
    *,
    matches_filter: bool,
) -> TemplateResponse:
    groups = _groups(runs)
    context = {
        **modeladmin.page_context(request, _("Cancel workflow runs")),
        "subtitle": None,
        "media": modeladmin.media + form.media,
        "form": form,
        "groups": groups,
        "is_possible": groups[0]["count"] > 0,
        "posted": _posted_again(request, runs, matches_filter=matches_filter),
        "matches_filter": matches_filter,
        "back_url": _url_back(modeladmin, request),
    }
    request.current_app = modeladmin.admin_site.name
    return TemplateResponse(request, modeladmin.templates(_TEMPLATE), context)


def _url_back(modeladmin: Any, request: HttpRequest) -> str:
    """Return where the action was chosen: on the page of a run, or else on the list."""
    match = request.resolver_match
    if match is not None and match.url_name == modeladmin.url_name("change"):
        url = modeladmin.url_of("change", match.kwargs["object_id"])
    else:
        url = modeladmin.url_of("changelist")
    return str(modeladmin.with_filters(request, url))


def _groups(runs: WorkflowRunQuerySet) -> list[dict[str, Any]]:
    """Return what will be canceled and what skipped; nothing is skipped where all has ended."""
    ended = runs.terminal().exclude(status=RunStatus.CANCELED)
    active = _group(_("Will be canceled"), runs.active(), is_affected=True)
    if active["count"]:
        titles = _("Will be skipped: already finished"), _("Will be skipped: already canceled")
    else:
        titles = _("Already finished"), _("Already canceled")
    return [active, _group(titles[0], ended), _group(titles[1], runs.canceled())]


def _group(title: Any, runs: WorkflowRunQuerySet, *, is_affected: bool = False) -> dict[str, Any]:
    """Return a part of the list: as many runs as fit on a page, and how many there are."""
    ids = list(runs.order_by().values_list("pk", flat=True)[: MOST_COUNTED + 1])
    rows = _rows(runs) if ids else []
    count = CappedCount(MOST_COUNTED) if len(ids) > MOST_COUNTED else len(ids)
    return {
        "title": title,
        "count": count,
        "rows": rows,
        "has_more": len(ids) > len(rows),
        "is_affected": is_affected,
    }


def _rows(runs: WorkflowRunQuerySet) -> Sequence[tuple[WorkflowRun, Badge, str]]:
    shown = runs.order_by("-pk").only("pk", "workflow_name", "version", "status", "worker_id")
    return [(run, run_badge(run), version_label(run.version)) for run in shown[:MOST_LISTED]]


def _posted_again(
    request: HttpRequest, runs: WorkflowRunQuerySet, *, matches_filter: bool
) -> list[tuple[str, str]]:
    """Return the hidden fields that bring the question back, under the names it came by."""
    name = next((key for key in request.POST if key.endswith("-action")), "action")
    ids = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
    fields = [(helpers.ACTION_CHECKBOX_NAME, pk) for pk in (ids[:1] if matches_filter else ids)]
    if matches_filter:
        fields.append(("select_across", "1"))
    return [*fields, (name, "cancel_selected_runs"), ("post", "yes")]


def is_cancelable(run: WorkflowRun) -> bool:
    """Whether there is anything to cancel, as far as this instance knows."""
    return run.status in ACTIVE
