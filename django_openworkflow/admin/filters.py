"""How the list of runs is narrowed. Each filter is served by an index."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.template.defaultfilters import capfirst
from django.utils.translation import gettext_lazy as _

from django_openworkflow import clock
from django_openworkflow.admin.badges import STATES
from django_openworkflow.registry import registry
from django_openworkflow.states import RunStatus
from django_openworkflow.store.statistics import names_in_use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_openworkflow.querysets import WorkflowRunQuerySet

_MOST_NAMES: Final = 100
AGES: Final = {
    "15m": (_("Last 15 minutes"), timedelta(minutes=15)),
    "1h": (_("Last hour"), timedelta(hours=1)),
    "24h": (_("Last 24 hours"), timedelta(hours=24)),
    "7d": (_("Last 7 days"), timedelta(days=7)),
}


class StateFilter(SimpleListFilter):
    """By where runs stand. A parked run is ``running`` in its row, and sleeps here."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Return the states in the order of a run's life."""
        return [(state.value, capfirst(str(state.label))) for state in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of this state."""
        narrowed: QuerySet[Any] = in_state(queryset, self.value())
        return narrowed


def in_state(runs: Any, state: str | None) -> Any:
    """Narrow runs by a state; raises ``IncorrectLookupParameters`` for one that is none."""
    queryset: WorkflowRunQuerySet = runs
    if state is None:
        return queryset
    narrowed = {
        RunStatus.PENDING: queryset.pending,
        RunStatus.RUNNING: queryset.running,
        RunStatus.SLEEPING: queryset.parked,
        RunStatus.COMPLETED: queryset.completed,
        RunStatus.FAILED: queryset.failed,
        RunStatus.CANCELED: queryset.canceled,
        "active": queryset.active,  # for links; the list has no entry for it
    }.get(state)
    if narrowed is None:
        raise IncorrectLookupParameters
    return narrowed()


class WorkflowFilter(SimpleListFilter):
    """By the workflow's name: those that this project registers, and those that rows have."""

    title = _("workflow")
    parameter_name = "workflow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Return all names, sorted; very many are cut."""
        using = model_admin.get_queryset(request).db
        names = {name for name, _version in registry.definitions()}
        names.update(names_in_use(using, limit=_MOST_NAMES))
        return _choices(self, names)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of this workflow."""
        name = _storable(self.value())
        return queryset if name is None else queryset.filter(workflow_name=name)


class VersionFilter(SimpleListFilter):
    """By the version, of the chosen workflow if one is chosen."""

    title = _("version")
    parameter_name = "version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Return the versions that this project registers."""
        chosen = request.GET.get(WorkflowFilter.parameter_name)
        versions = {
            version
            for name, version in registry.definitions()
            if version is not None and chosen in (None, name)
        }
        return _choices(self, versions)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of this version."""
        version = _storable(self.value())
        if version is None:
            return queryset
        if request.GET.get(WorkflowFilter.parameter_name) is None:
            # An index finds names, not versions: name those that may have it.
            names = [name for name, known in registry.definitions() if known == version]
            queryset = queryset.filter(workflow_name__in=names)
        return queryset.filter(version=version)


class CreatedFilter(SimpleListFilter):
    """By age, by the database's clock."""

    title = _("time of creation")
    parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Return the ages."""
        return [(key, label) for key, (label, _age) in AGES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs that are not older."""
        if (value := self.value()) is None:
            return queryset
        if value not in AGES:
            raise IncorrectLookupParameters
        return queryset.filter(created_at__gte=clock.moment(plus=-AGES[value][1]))


class ParentFilter(SimpleListFilter):
    """By whether another run started it as its child."""

    title = _("parent")
    parameter_name = "parent"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Return the two kinds."""
        return [("no", _("Without a parent")), ("yes", _("Child runs"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of this kind."""
        if (value := self.value()) is None:
            return queryset
        if value not in {"yes", "no"}:
            raise IncorrectLookupParameters
        return queryset.filter(parent_step_attempt__isnull=value == "no")


def _choices(chosen_by: SimpleListFilter, names: set[str]) -> list[tuple[str, str]]:
    """Return names to choose from, and the one that is chosen: Django drops an empty filter."""
    shown = sorted(names)[:_MOST_NAMES]
    chosen = chosen_by.value()
    if chosen and chosen not in shown:
        shown.append(chosen)
    return [(name, name) for name in shown]


def _storable(text: str | None) -> str | None:
    """Return what was asked for; raises for what no database can hold."""
    if text is not None and "\x00" in text:
        raise IncorrectLookupParameters
    return text
