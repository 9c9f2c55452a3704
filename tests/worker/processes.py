"""Worker processes of the test's own, and the folder through which they are watched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from django.db import connection

from tests.worker.workers import PATIENCE_SECONDS

MANAGE = Path(__file__).resolve().parents[2] / "testproject" / "manage.py"


def database_url() -> str:
    """Return the address of the test database, whether its host is a name or a socket's folder."""
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{given['NAME']}"
    known = {"host": given["HOST"], "port": given["PORT"], "user": given["USER"]}
    known["password"] = given["PASSWORD"]
    query = urlencode({key: value for key, value in known.items() if value})
    return f"postgres:///{given['NAME']}?{query}"


@contextmanager
def worker_process(
    *arguments: str, settings: str = "tests.worker.process.settings"
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``manage.py runworker``, and kill it at the end if it is still there."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, str(MANAGE), "runworker", *arguments],
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": settings,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


class Folder:
    """Where a process notes what it does, and is told to go on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def journal(self) -> list[str]:
        """Return the lines noted so far."""
        journal = self.path / "journal"
        return journal.read_text().splitlines() if journal.exists() else []

    def let_finish(self, name: str) -> None:
        """Let a body end."""
        (self.path / f"finish-{name}").touch()
