"""What ``runworker --metrics-port`` adds to a worker process."""

from __future__ import annotations

from argparse import ArgumentTypeError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.core.management.base import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAST_PORT: Final = 65_535
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - a scraper is another host; HOST:PORT says otherwise


@dataclass(frozen=True, slots=True)
class Address:
    """Where a worker answers scrapes."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """Parse ``PORT`` or ``HOST:PORT``; an IPv6 host stands in brackets."""
    host, _, port = text.rpartition(":")
    if port.isdecimal() and len(port) <= len(str(_LAST_PORT)) and 0 < int(port) <= _LAST_PORT:
        return Address(host.strip("[]") or _EVERYWHERE, int(port))
    message = f"must be a port from 1 to {_LAST_PORT}, or a host and a port, not {text!r}"
    raise ArgumentTypeError(message)


@contextmanager
def metrics_served(where: Address | None, *, using: str, index: int = 0) -> Iterator[None]:
    """Answer scrapes while the block runs, if there is an address to do it on.

    Of several processes, number ``index`` has the port that is so many higher. Raises
    ``CommandError`` when the address cannot be used, ``ImproperlyConfigured`` without the extra.
    """
    if where is None:
        yield
        return
    from django_openworkflow.contrib.prometheus.scraping import serving

    own = Address(where.host, where.port + index)
    with ExitStack() as stack:
        try:
            stack.enter_context(serving(own.host, own.port, using=using))
        except (OSError, OverflowError) as error:
            message = f"Metrics cannot be served on {own}: {error}"
            raise CommandError(message) from error
        yield
