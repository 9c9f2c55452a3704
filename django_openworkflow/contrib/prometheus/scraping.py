"""What is handed out: the tables' numbers and the meters of this process, in one registry."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from django.db import connections
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from django_openworkflow.contrib.prometheus.meters import Meters
from django_openworkflow.contrib.prometheus.tables import TableCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

# prometheus-client's own way to add up the meters of several processes.
_SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

_METERS: Final = Meters()


def meters() -> Meters:
    """Return the meters of this process, which measure from the first call on."""
    _METERS.install()
    return _METERS


def new_registry(using: str | None = None) -> CollectorRegistry:
    """Return everything that there is to scrape from this process.

    With ``PROMETHEUS_MULTIPROC_DIR`` the meters are those of all processes that share the folder.
    """
    registry = CollectorRegistry()
    registry.register(TableCollector(using))
    own = meters()
    if os.environ.get(_SHARED_FOLDER):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(own)
    return registry


class _Tidy(Collector):
    """Closes the database connections of the thread that collects: it answers one scrape only."""

    def __init__(self, inner: CollectorRegistry) -> None:
        self._inner = inner

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: registering asks nobody."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield what the registry has."""
        try:
            yield from self._inner.collect()
        finally:
            connections.close_all()


@contextmanager
def serving(host: str, port: int, *, using: str | None = None) -> Iterator[int]:
    """Answer scrapes on a port while the block runs; yield the port, if 0 was asked for.

    Raises ``OSError`` for an address that cannot be used.
    """
    tidy = CollectorRegistry()
    tidy.register(_Tidy(new_registry(using)))
    server, thread = start_http_server(port, host, tidy)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
