"""The npm package in a process of its own, driven by requests: see ``driver.mjs``."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from django.db import connection

HERE: Final = Path(__file__).resolve().parent
PATIENCE_SECONDS: Final = 60.0


class NodeError(Exception):
    """What the package answered a request with, or that its process has ended."""


def missing() -> str | None:
    """Install the package if need be; say why it cannot be had."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "node and npm are not installed"
    stamp = HERE / "node_modules" / ".installed"
    with (HERE / "package.json").open() as wanted:
        fcntl.flock(wanted, fcntl.LOCK_EX)  # tests run in several processes
        text = wanted.read()
        if stamp.exists() and stamp.read_text() == text:
            return None
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)  # noqa: S603 - a constant
        if done.returncode:
            return f"npm could not install the package: {done.stderr.strip()[-500:]}"
        stamp.write_text(text)
    return None


def environment() -> dict[str, str]:
    """Return the address of the tests' database as both of PostgreSQL's clients read it."""
    settings = connection.settings_dict
    names = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD"}
    given = {name: str(settings[key]) for key, name in names.items() if settings[key]}
    return {**os.environ, **given}


class Node:
    """A process with a client, and workers that know the workflows named.

    ``address`` changes how it connects, as in ``PGUSER="guest"``.
    """

    def __init__(self, *known: str, **address: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            ["node", "driver.mjs", str(connection.settings_dict["NAME"]), *known],  # noqa: S607
            cwd=HERE,
            env=environment() | address,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._tickets = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._ready: Future[Any] = Future()
        self._thread = threading.Thread(target=self._listen, name="node-answers", daemon=True)
        self._thread.start()
        self._ready.result(PATIENCE_SECONDS)

    def begin(self, operation: str, **request: Any) -> Future[Any]:
        """Send a request; its answer comes with the future."""
        ticket = next(self._tickets)
        future: Future[Any] = Future()
        self._waiting[ticket] = future
        assert self.process.stdin
        self.process.stdin.write(
            json.dumps({"ticket": ticket, "operation": operation, **request}) + "\n"
        )
        self.process.stdin.flush()
        return future

    def call(self, operation: str, **request: Any) -> Any:
        """Send a request and wait for its answer, or raise ``NodeError`` with the error's words."""
        return self.begin(operation, **request).result(PATIENCE_SECONDS)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self._thread.join(PATIENCE_SECONDS)
        self.process.communicate()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("ready"):
                self._ready.set_result(None)
            elif "error" in message:
                self._waiting.pop(message["ticket"]).set_exception(NodeError(message["error"]))
            else:
                self._waiting.pop(message["ticket"]).set_result(message["value"])
        for future in (self._ready, *self._waiting.values()):
            if not future.done():
                assert self.process.stderr
                future.set_exception(NodeError(f"node has ended: {self.process.stderr.read()}"))
