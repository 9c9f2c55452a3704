"""The PostgreSQL that all contestants share: durable, or the measurement is refused."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from benchmarks.environments import ENVIRONMENTS

_HOST: Final = "127.0.0.1"
# The suite's server does without the disk; a measurement must not. Otherwise as it comes.
_TUNING: Final = f"""
fsync = on
full_page_writes = on
synchronous_commit = on
track_commit_timestamp = off
deadlock_timeout = 1s
log_lock_waits = off
listen_addresses = '{_HOST}'
"""
_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")


class NotDurable(Exception):
    """The server does not write commits to the disk, so that its numbers would mean nothing."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server by the URL of its maintenance database."""

    url: str

    def execute(self, statement: str, parameters: Any = None, *, database: str = "") -> list[Any]:
        """Run one statement outside of a transaction and return its rows."""
        url = self.database_url(database) if database else self.url
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def database_url(self, name: str) -> str:
        """Return the URL of another database of this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def create(self, name: str) -> str:
        """Create a database that is empty, whatever was there before; return its URL."""
        self.drop(name)
        self._on_database("CREATE DATABASE {}", name)
        return self.database_url(name)

    def drop(self, name: str) -> None:
        """Drop a database and end its connections."""
        self._on_database("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _on_database(self, statement: str, name: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def commits(self, database: str) -> int:
        """Return how many transactions of a database have been committed."""
        query = "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"
        return int(self.execute(query, [database])[0][0])

    def version(self) -> str:
        """Return the version, in short."""
        return str(self.execute("SHOW server_version")[0][0]).split()[0]

    def check_durable(self) -> None:
        """Raise ``NotDurable`` for a server that is quick because it is careless."""
        careless = [name for name in _DURABLE if self.execute(f"SHOW {name}")[0][0] == "off"]
        if careless:
            message = f"the server runs with {', '.join(careless)} = off"
            raise NotDurable(message)


@contextmanager
def running() -> Iterator[Server]:
    """Use the server of ``DATABASE_URL``, or start the one of the development wheel."""
    url = os.environ.get("DATABASE_URL", "")
    if url.startswith(("postgres://", "postgresql://")):
        yield _checked(Server(url.replace("postgres://", "postgresql://", 1)))
        return
    with _embedded() as server:
        yield _checked(server)


def _checked(server: Server) -> Server:
    server.check_durable()
    return server


@contextmanager
def _embedded() -> Iterator[Server]:
    from testproject.embedded_pg import EmbeddedServer

    data = ENVIRONMENTS / "postgres"
    if (data / "postmaster.pid").exists():
        message = f"a PostgreSQL seems to run in {data}: is another measurement going on?"
        raise SystemExit(message)
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    wheel = EmbeddedServer(data)
    wheel.ensure_pgdata_inited()
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(_TUNING)
    port = _free_port()

    def control(*arguments: str) -> None:
        program = [str(wheel.bin_path / "pg_ctl"), "-w", "-D", str(data)]
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.run([*program, *arguments], check=True, user=wheel.system_user, **options)

    control("start", "-l", str(data / "log"), "-o", f"-p {port} -k ''")
    try:
        yield Server(f"postgresql://postgres@{_HOST}:{port}/postgres")
    finally:
        control("stop", "-m", "immediate")
        shutil.rmtree(data, ignore_errors=True)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
