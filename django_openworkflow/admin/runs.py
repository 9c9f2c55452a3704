"""The admin of runs: the list, the page of a run, and what can be done to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.core.exceptions import BadRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_openworkflow.admin import audit, filters
from django_openworkflow.admin.actions import GuardedActionsAdmin, object_action
from django_openworkflow.admin.cancelling import cancel, cancel_selected_runs, is_cancelable
from django_openworkflow.admin.changelist import CappedPaginator, RunChangeList
from django_openworkflow.admin.columns import RunColumns, buttons_column
from django_openworkflow.admin.detail import RunPage
from django_openworkflow.admin.forms import CancelForm, ReasonForm
from django_openworkflow.admin.live import LivePages
from django_openworkflow.admin.overview import OverviewPage
from django_openworkflow.admin.searching import search, short_id
from django_openworkflow.admin.secrecy import PayloadRules
from django_openworkflow.admin.signalling import SignalPage
from django_openworkflow.admin.starting import StartPage
from django_openworkflow.exceptions import RunNotFound, RunNotRetryable
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.states import RETRYABLE

if TYPE_CHECKING:
    from django import forms
    from django.contrib.admin.views.main import ChangeList
    from django.http import HttpRequest

    from django_openworkflow.models import WorkflowRun
    from django_openworkflow.querysets import WorkflowRunQuerySet


class WorkflowRunAdmin(
    RunColumns, LivePages, OverviewPage, StartPage, SignalPage, PayloadRules, GuardedActionsAdmin
):
    """Runs: shown to those who may view them, changed only by actions that are recorded.

    Subclass it to show less or more: ``get_queryset`` says which runs exist for a user,
    ``has_cancel_permission`` and its sisters who may do what, ``PayloadRules`` what is shown of
    payloads.
    """

    list_display = ("state", "workflow", "run", "claims", "duration", "created")
    list_display_links = ("workflow", "run")
    list_filter = (
        filters.StateFilter,
        filters.WorkflowFilter,
        filters.VersionFilter,
        filters.CreatedFilter,
        filters.ParentFilter,
    )
    ordering = ("-created_at", "-pk")
    sortable_by = ("created",)
    search_fields = ("pk",)  # what is searched is said by ``get_search_results``
    search_help_text = _(
        "Run id or its first 8 characters, idempotency key, or the beginning of a workflow name"
    )
    paginator = CappedPaginator
    show_facets = ShowFacets.NEVER  # they count every row
    date_hierarchy = None  # it would read every row
    fieldsets = ((None, {"fields": ()}),)  # the page has cards instead
    actions = (cancel_selected_runs,)
    actions_row = ("cancel_run", "retry_run")
    actions_detail = ("cancel_run", "retry_run", "send_signal")
    actions_list = ("overview", "start_run")
    list_permissions = {"overview": "view", "start_run": "start"}  # noqa: RUF012 - as ModelAdmin

    # --- rights ---------------------------------------------------------------------------------

    def has_cancel_permission(self, request: HttpRequest, obj: WorkflowRun | None = None) -> bool:
        """Whether this user may cancel runs, or this one."""
        return self.has_own_permission(request, "cancel")

    def has_retry_permission(self, request: HttpRequest, obj: WorkflowRun | None = None) -> bool:
        """Whether this user may retry runs, or this one."""
        return self.has_own_permission(request, "retry")

    def has_start_permission(self, request: HttpRequest, obj: WorkflowRun | None = None) -> bool:
        """Whether this user may start runs, or one like this."""
        return self.has_own_permission(request, "start")

    def has_signal_permission(self, request: HttpRequest, obj: WorkflowRun | None = None) -> bool:
        """Whether this user may send signals, or one to this run."""
        return self.has_own_permission(request, "signal")

    def get_queryset(self, request: HttpRequest) -> WorkflowRunQuerySet:
        """Return the runs that exist for this user: on no page is there a way to another."""
        runs: WorkflowRunQuerySet = super().get_queryset(request)  # type: ignore[assignment]
        return runs

    # --- the list -------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that leaves payloads where they are."""
        return RunChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Add the column of buttons, if there is any button that this user may press."""
        columns = [*super().get_list_display(request)]
        permissions = [
            permission
            for name in self.actions_row
            for permission in getattr(self, name).action.permissions
        ]
        if self.may(request, permissions):
            columns.append(
                buttons_column(
                    lambda run: self.buttons(request, run, self.actions_row, back="list")
                )
            )
        return columns

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Find runs by what people paste."""
        return search(queryset, search_term), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list; with links to the pages that are not about one run."""
        selected = request.POST.getlist("_selected_action")
        if any(as_uuid(pk) is None for pk in selected):
            message = "An id of the selection is no UUID"
            raise BadRequest(message)
        context = {
            "may_start": self.may(request, ["start"]),
            "overview_url": self.url_of("overview"),
            "start_url": self.url_of("start_run"),
            **self.live_context(self.url_of("live_list"), request),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    # --- the page of a run ----------------------------------------------------------------------

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show a run. The context of the cards is read by the template alone, once."""
        context = {"run_page": lambda: self._run_page(request, object_id), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def _run_page(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        run = self.get_object(request, object_id)
        if run is None:  # deleted at this very moment
            raise RunNotFound(object_id)
        return self.run_context(request, run)

    def run_context(self, request: HttpRequest, run: WorkflowRun) -> dict[str, Any]:
        """Return what the cards of a run show."""
        page = RunPage(run=run, request=request, rules=self, visible=self.get_queryset(request))
        return {
            **page.context(),
            "buttons": self.buttons(request, run, self.actions_detail),
            "start_again_url": self.start_again_url(request, run),
            "is_live": not run.is_terminal,
            **self.live_context(self.url_of("live_run", run.pk), request),
        }

    # --- actions --------------------------------------------------------------------------------

    @object_action(
        title=_("Cancel run"),
        permissions=["cancel"],
        form=CancelForm,
        template="run_action.html",
        is_available=is_cancelable,
        is_danger=True,
    )
    def cancel_run(self, request: HttpRequest, run: WorkflowRun, form: forms.Form) -> None:
        """Cancel one run; the database decides whether it can be."""
        cancel(self, request, self.get_queryset(request).filter(pk=run.pk), form)

    @object_action(
        title=_("Retry run"),
        permissions=["retry"],
        form=ReasonForm,
        template="run_action.html",
        is_available=lambda run: run.status in RETRYABLE,
    )
    def retry_run(self, request: HttpRequest, run: WorkflowRun, form: forms.Form) -> None:
        """Put a failed or canceled run back to pending; the database decides whether it can be."""
        runs = self.get_queryset(request)
        try:
            with audit.recorded(runs.db):
                retried = runs.retry(run.pk)
                message = audit.with_reason("Retried.", form.cleaned_data["reason"])
                audit.record(request, [retried], message)
        except (RunNotFound, RunNotRetryable) as error:
            self.message_user(request, str(error), messages.WARNING)
            return
        text = gettext("Workflow run %(run)s is pending again.") % {"run": short_id(run.pk)}
        self.message_user(request, text, messages.SUCCESS)
