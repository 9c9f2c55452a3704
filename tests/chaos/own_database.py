"""A database for one run of the chaos: a new SQLite file, or a new database on a given server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

EMBEDDED = "embedded-postgres://"


@contextmanager
def own_database(folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database that is gone after the block.

    ``DATABASE_URL`` says on which server, as it does for the test project; the tables of the
    database that it names are never touched.
    """
    url = os.environ.get("DATABASE_URL", "")
    if url == EMBEDDED:
        url = _embedded()
    if not url.startswith(("postgres://", "postgresql://")):
        yield f"sqlite:///{folder / 'chaos.sqlite3'}"
        return
    name = f"chaos_{os.getpid()}_{secrets.token_hex(4)}"
    _administer(url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        _administer(url, f"DROP DATABASE {name} WITH (FORCE)")


def _embedded() -> str:
    import testproject
    from testproject import embedded_pg

    return embedded_pg.start(Path(testproject.__path__[0]) / ".postgres")


def _administer(url: str, statement: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
        connection.execute(sql.SQL(statement))
