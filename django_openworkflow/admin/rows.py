"""Step attempts, signal deliveries and workers as rows: for raw looks, hidden from the index.

A project that wants them in the index registers a subclass with ``show_in_index = True``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_openworkflow.admin.badges import attempt_badge
from django_openworkflow.admin.changelist import CappedPaginator
from django_openworkflow.admin.pages import WorkflowModelAdmin
from django_openworkflow.admin.spans import NOTHING
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.models import WorkflowRun

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from django_openworkflow.admin.runs import WorkflowRunAdmin
    from django_openworkflow.models import StepAttempt, WorkerProcess


class _Row(WorkflowModelAdmin):
    """Rows that only links lead to; they look as the pages of runs do."""

    show_in_index = False

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["django_openworkflow/admin.css"]}


class _PartOfRun(_Row):
    """Rows that belong to a run. A user sees those of the runs that exist for this user."""

    paginator = CappedPaginator
    ordering = ("-pk",)
    sortable_by = ()
    list_display_links = ("short",)
    search_fields = ("pk",)
    search_help_text = _("The id of the row or of its workflow run")
    columns: tuple[str, ...] = ()
    payloads: tuple[str, ...] = ()

    def runs_admin(self) -> WorkflowRunAdmin:
        """Return what this site has registered for runs: it knows the rules for payloads."""
        runs: Any = self.admin_site.get_model_admin(WorkflowRun)
        return runs  # type: ignore[no-any-return]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows of visible runs, without payloads."""
        runs = self.runs_admin().get_queryset(request)
        rows = super().get_queryset(request).select_related("workflow_run")
        rows = rows.filter(workflow_run__in=runs.order_by()) if _is_narrowed(runs) else rows
        deferred = [f"workflow_run__{name}" for name in ("input", "output", "error", "context")]
        return rows.defer(*deferred)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Find rows by a whole id."""
        if not search_term.strip():
            return queryset, False
        pk = as_uuid(search_term.strip())
        if pk is None:
            return queryset.none(), False
        return queryset.filter(pk=pk) | queryset.filter(workflow_run=pk), False

    # --- one row --------------------------------------------------------------------------------

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the columns, and payloads as far as this user may see them."""
        return [*self.columns, *self._payload_fields(request)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the same: nothing is edited."""
        return self.get_fields(request, obj)

    def _payload_fields(self, request: HttpRequest) -> list[Any]:
        return [self._payload_field(request, name) for name in self.payloads]

    def _payload_field(self, request: HttpRequest, name: str) -> Any:
        rules = self.runs_admin()

        def field(row: Any) -> Any:
            if not rules.has_view_payload_permission(request, row.workflow_run):
                return _("Hidden: it takes a permission to see it.")
            kind = "json"
            if name == "error":
                kind = "traceback"
                failure = rules.shown_error(request, row, row.error)
                shown: Any = failure and f"{failure.headline}\n{failure.traceback}"
            else:
                shown = rules.shown_payload(request, row, getattr(row, name))
            markup = '<pre class="ow-{}" tabindex="0">{}</pre>'
            return format_html(markup, kind, shown) if shown else NOTHING

        field.__name__ = name
        field.short_description = self.opts.get_field(name).verbose_name  # type: ignore[attr-defined, union-attr]
        return field

    @admin.display(description=_("Run"))
    def run_link(self, row: Any) -> SafeString:
        """Return a link to the run."""
        url = self.runs_admin().url_of("change", row.workflow_run_id)
        return format_html('<a href="{}">{}</a>', url, row.workflow_run)

    @admin.display(description=_("Id"))
    def short(self, row: Any) -> str:
        """Return the id of the row."""
        return str(row.pk)


def _is_narrowed(runs: Any) -> bool:
    """Whether a subclass shows fewer runs than there are: only then a join has to say which."""
    return bool(str(runs.query) != str(WorkflowRun._default_manager.all().query))


class StepAttemptAdmin(_PartOfRun):
    """The tries of steps."""

    list_display = ("short", "run_link", "step_name", "kind", "state", "created_at")
    columns = (
        "run_link",
        "step_name",
        "kind",
        "state",
        "started_at",
        "finished_at",
        "superseded_at",
        "interruptions",
        "worker_id",
    )
    payloads = ("context", "output", "error")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the attempts; a list of them leaves payloads where they are."""
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and str(match.url_name).endswith("_changelist")
        return rows.defer("context", "output", "error", "config") if is_list else rows

    @admin.display(description=_("Status"))
    def state(self, attempt: StepAttempt) -> SafeString:
        """Return where it stands."""
        return attempt_badge(attempt).__html__()


class SignalDeliveryAdmin(_PartOfRun):
    """The signals that waiting steps received."""

    list_display = ("short", "run_link", "signal", "created_at")
    columns = ("run_link", "signal", "step_attempt", "sender_idempotency_key", "created_at")
    payloads = ("data",)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the deliveries with their steps."""
        return super().get_queryset(request).select_related("step_attempt")


class WorkerProcessAdmin(_Row):
    """The workers that are, or lately were, alive."""

    list_display = (
        "name",
        "host",
        "pid",
        "concurrency",
        "queue_names",
        "started_at",
        "heartbeat_at",
    )
    ordering = ("-heartbeat_at", "-pk")
    sortable_by = ()
    fields = (
        "name",
        "host",
        "pid",
        "concurrency",
        "queue_names",
        "known_workflows",
        "started_at",
        "heartbeat_at",
    )
    readonly_fields = fields

    @admin.display(description=_("Queues"))
    def queue_names(self, worker: WorkerProcess) -> Any:
        """Return the queues that it serves."""
        return _("all") if worker.queues is None else ", ".join(map(str, worker.queues))

    @admin.display(description=_("Workflows"))
    def known_workflows(self, worker: WorkerProcess) -> str:
        """Return what it can execute."""
        return ", ".join(
            name if version is None else f"{name} ({version})" for name, version in worker.workflows
        )
