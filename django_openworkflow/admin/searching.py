"""Find runs by what people paste: an id or its beginning, a key, the beginning of a name.

Nothing here looks into the middle of a text, which no index could serve.
"""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import UUID

from django.db.models import Q, TextField
from django.db.models.functions import Cast

from django_openworkflow.store.statistics import names_in_use

_SHORTEST_PREFIX: Final = 8
_HEX_DIGITS: Final = 32
_TAIL: Final = 4
# The beginning of an id, with or without dashes, and perhaps the end that the list shows.
_PART: Final = re.compile(r"([0-9a-f-]{8,36})(?:(?:…|\.\.\.)([0-9a-f]{1,12}))?", re.IGNORECASE)
# Ids that one key has started, a day apart each.
_MOST_IDS: Final = 1000


def short_id(pk: UUID) -> str:
    """Return an id in few characters: ids begin with their time, so the end tells them apart."""
    return f"{str(pk)[:_SHORTEST_PREFIX]}…{str(pk)[-_TAIL:]}"


def search(runs: Any, term: str) -> Any:
    """Narrow runs to those that a person means by this text."""
    term = term.strip()
    if not term:
        return runs
    if "\x00" in term:
        return runs.none()
    if (part := _PART.fullmatch(term)) and (span := _span_of_ids(part[1])):
        found = Q(pk__gte=span[0], pk__lte=span[1])
        if end := part[2]:
            rows = runs.annotate(id_text=Cast("pk", TextField()))
            return rows.filter(found, id_text__iendswith=end)
        return runs.filter(found | _by_key_or_name(runs, term))
    return runs.filter(_by_key_or_name(runs, term))


def _span_of_ids(beginning: str) -> tuple[UUID, UUID] | None:
    """Return the lowest and highest id that begin so; None for what is no beginning of an id."""
    digits = beginning.replace("-", "")
    if not _SHORTEST_PREFIX <= len(digits) <= _HEX_DIGITS:
        return None
    return UUID(digits.ljust(_HEX_DIGITS, "0")), UUID(digits.ljust(_HEX_DIGITS, "f"))


def _by_key_or_name(runs: Any, term: str) -> Q:
    """Return the condition for an idempotency key, or the beginning of a workflow's name.

    Both indexes begin with the name. So the names that there are come first: by a loose index scan,
    whose cost grows with the names and not with the rows.
    """
    names = names_in_use(runs.db)
    keyed = runs.order_by().filter(workflow_name__in=names, idempotency_key=term)
    ids = list(keyed.values_list("pk", flat=True)[:_MOST_IDS])
    begins = [name for name in names if name.startswith(term)]
    condition = Q(pk__in=ids)
    return condition | Q(workflow_name__in=begins) if begins else condition
