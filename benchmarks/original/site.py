"""Where the original is installed, and how its program is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

if TYPE_CHECKING:
    from benchmarks.reliability.cluster import Cluster

VERSION: Final = "0.10.1"
_FOLDER: Final = Path(__file__).parents[1] / ".environments" / f"original-{VERSION}"
_PROGRAM: Final = Path(__file__).with_name("program.mjs")
_RUNS: Final = "openworkflow.workflow_runs"
_STEPS: Final = "openworkflow.step_attempts"


def install() -> None:
    """Install the package, once."""
    if (_FOLDER / "node_modules" / "openworkflow").exists():
        return
    _FOLDER.mkdir(parents=True, exist_ok=True)
    (_FOLDER / "package.json").write_text('{"type": "module", "private": true}')
    npm = shutil.which("npm") or "npm"
    command = [npm, "install", "--no-audit", "--no-fund", f"openworkflow@{VERSION}", "postgres"]
    subprocess.run(command, cwd=_FOLDER, check=True, stdout=subprocess.DEVNULL)


class Site:
    """One database of the original, its workers and what their bodies have noted."""

    def __init__(self, cluster: Cluster, folder: Path, name: str) -> None:
        self.database = f"original_{name}"
        self.cluster = cluster
        self.url = cluster.create_database(self.database)
        self._effects = folder / f"{name}.effects"
        self._effects.touch()
        shutil.copy(_PROGRAM, _FOLDER / "program.mjs")
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_exc: object) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def work(self, *, url: str | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        worker = subprocess.Popen(
            self._command("work"),
            cwd=_FOLDER,
            env=self._environment(url, environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(worker)
        return worker

    def call(self, *arguments: str, url: str | None = None) -> Any:
        """Run a client's command and return what it printed."""
        done = subprocess.run(
            self._command(*arguments),
            cwd=_FOLDER,
            env=self._environment(url, {}),
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    def effects(self) -> Counter[str]:
        """Return how often each body was called."""
        return Counter(self._effects.read_text().splitlines())

    def runs(self) -> Counter[str]:
        """Return the runs by status."""
        return Counter(dict(self.query(f"SELECT status, count(*) FROM {_RUNS} GROUP BY 1")))

    def doubled(self) -> int:
        """Return the steps with more than one completed attempt."""
        sql = (
            f"SELECT count(*) FROM (SELECT FROM {_STEPS} WHERE status = 'completed'"
            " GROUP BY workflow_run_id, step_name HAVING count(*) > 1) AS twice"
        )
        return int(self.query(sql)[0][0])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def _command(self, *arguments: str) -> list[str]:
        return [shutil.which("node") or "node", "program.mjs", *arguments]

    def _environment(self, url: str | None, environment: dict[str, str]) -> dict[str, str]:
        given = {"DATABASE_URL": url or self.url, "EFFECTS": str(self._effects)}
        return {**os.environ, **given, **environment}
