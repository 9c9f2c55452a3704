"""A list of millions of rows: counted up to a limit, paged in the order of an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.utils.formats import number_format
from django.utils.functional import cached_property

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

MOST_COUNTED: Final = 10_000

# What a list does not show; each may be a megabyte.
PAYLOADS: Final = ("input", "output", "error", "context", "config")


class CappedCount(int):
    """A number of rows of which we only know that there are more."""

    def __str__(self) -> str:
        return f"{number_format(MOST_COUNTED, force_grouping=True)}+"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)


class CappedPaginator(_Paginator):
    """Counts at most ``MOST_COUNTED`` rows: what is further back is found by filters."""

    @cached_property
    def count(self) -> int:
        """The number of rows, as far as they are counted."""
        rows: Any = self.object_list
        number = rows.order_by()[: MOST_COUNTED + 1].count()
        return CappedCount(MOST_COUNTED) if number > MOST_COUNTED else number


class RunChangeList(ChangeList):
    """The list of runs, without their payloads."""

    formset = None  # nothing is edited; Django's view sets it, and so it is missing elsewhere

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        """Return the runs that match, without what the list does not show."""
        return super().get_queryset(request, *args, **kwargs).defer(*PAYLOADS)
