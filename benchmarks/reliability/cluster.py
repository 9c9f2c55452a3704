"""A private PostgreSQL that may be hurt: restarted in the middle of everything, its clients cut.

The programs are those of the development wheel. Unlike the test project's server it listens on TCP,
so that a proxy can stand before it, and lives in a folder that goes away.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from testproject.embedded_pg import TUNING, EmbeddedServer

HOST: Final = "127.0.0.1"
_PORTS: Final = range(20_000, 30_000)
# Only processes die here, never the machine: without fsync a commit that was acknowledged is kept
# all the same. With ``synchronous_commit`` off it would not be, and the checks would lie.
_TUNING: Final = f"{TUNING}synchronous_commit = on\nlisten_addresses = '{HOST}'\n"


class Cluster:
    """One cluster in one folder. Also joins a cluster that another process has made there."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._programs = _Programs(folder / "data")
        self._port_file = folder / "port"

    def start(self) -> None:
        """Create the cluster and start it."""
        self._programs.create()
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(_TUNING)
        self._port_file.write_text(str(free_port()))
        self._start()

    def restart(self) -> None:
        """Kill every server process as a crash would, and let the cluster recover."""
        self._programs.control("stop", "-m", "immediate")
        self._start()

    def stop(self) -> None:
        """End the server."""
        self._programs.control("stop", "-m", "immediate")

    def _start(self) -> None:
        options = f"-p {self.port} -k ''"  # no Unix socket
        self._programs.control("start", "-l", str(self._data / "log"), "-o", options)

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._port_file.read_text())

    def url(self, database: str, *, port: int | None = None) -> str:
        """Return an address; ``port`` of a proxy, by default the server's own."""
        return f"postgres://postgres@{HOST}:{port or self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its address."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def cut_connections(self, database: str, *, except_pids: tuple[int, ...] = ()) -> int:
        """Terminate the server processes of all clients of a database; return how many."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            cut = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> ALL (%s)",
                (database, list(except_pids)),
            )
            return int((cut.fetchone() or (0,))[0])


class _Programs:
    """``initdb`` and ``pg_ctl``, which refuse to run as root."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._server = EmbeddedServer(data)
        self._user = self._server.system_user

    def create(self) -> None:
        self._data.mkdir(parents=True)
        self._server.ensure_pgdata_inited()

    def control(self, verb: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._server.bin_path / "pg_ctl"), verb, "-w", "-D", str(self._data), *arguments],
            check=True,
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def free_port() -> int:
    """Return a TCP port that nobody listens on.

    Not one that the system gives to outgoing connections: while the server restarts, such a
    connection could take it.
    """
    while True:
        port = secrets.choice(_PORTS)
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex((HOST, port)) != 0:
                return port
