"""Send signals to waiting runs, from any code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_openworkflow import conf
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.names import is_printable, name_problem
from django_openworkflow.serialization import encode

if TYPE_CHECKING:
    from uuid import UUID


def send_signal(
    signal: str,
    data: Any = None,
    *,
    idempotency_key: str | None = None,
    buffered: bool = False,
) -> list[UUID]:
    """Deliver a signal to every run that waits for it; return their ids.

    Joins the caller's transaction. ``idempotency_key``: sending again with the same key delivers
    nothing more and returns the same ids. ``buffered``: when nobody waits, the signal is kept for
    the next step that does; otherwise it is gone. Raises ``InvalidInput`` or ``InvalidPayload``
    before anything is written.
    """
    from django_openworkflow.store import signalling

    for what, text in (("signal", signal), ("idempotency_key", idempotency_key)):
        if not (is_printable(text) or (text is None and what != "signal")):
            raise InvalidInput(name_problem(what, text))
    return signalling.send(
        signal,
        encode(data, what=f'data of signal "{signal}"'),
        key=idempotency_key,
        buffered=buffered,
        using=conf.get_settings().DATABASE,
    )


async def asend_signal(
    signal: str,
    data: Any = None,
    *,
    idempotency_key: str | None = None,
    buffered: bool = False,
) -> list[UUID]:
    """See ``send_signal``."""
    return await sync_to_async(send_signal)(
        signal, data, idempotency_key=idempotency_key, buffered=buffered
    )
