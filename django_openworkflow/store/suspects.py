"""Runs that the next crash would fail: a worker executes one of them at a time.

When a run kills its worker, the runs beside it have lost theirs as well. Did they meet again at the
last chance of all of them, the run that is to blame would take the others with it. So nobody who
has lost nearly as many workers as ``MAX_CRASHES`` allows is beside another such run: the one that
is to blame then fails alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from django_openworkflow import conf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_openworkflow.store.base import ClaimRequest

Id = TypeVar("Id")

_NO_LIMIT: Final = 2**31 - 1  # of the column


def suspect_at() -> int:
    """Return how many crashes, the one of a takeover among them, leave a run its last chance.

    One crash at least: where ``MAX_CRASHES`` is 1, a new run has its last chance too, and is no
    suspect.
    """
    return max(1, conf.get_settings().MAX_CRASHES - 1)


def crashes_below(request: ClaimRequest) -> int:
    """Return the limit of crashes, the one of a takeover among them, for a claim."""
    return _NO_LIMIT if request.takes_suspect else suspect_at()


def with_one_suspect(picked: Iterable[tuple[Id, int]]) -> list[Id]:
    """Keep the first suspect only; ``picked`` are ids and crashes in the order of the claim."""
    threshold, has_suspect, kept = suspect_at(), False, []
    for run_id, crashes in picked:
        if crashes < threshold or not has_suspect:
            kept.append(run_id)
        has_suspect = has_suspect or crashes >= threshold
    return kept
