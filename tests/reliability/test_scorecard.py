"""A small size of each line of the scorecard; the full size is ``make reliability``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from benchmarks.reliability.arena import SHARED_CLUSTER
from benchmarks.reliability.lines import LINES

ROOT = Path(__file__).resolve().parents[2]
# The rest of the suite plays the very scenes of these lines.
PLAYED_ELSEWHERE = {"K4", "K6", "K7", "K9"}
ON_SQLITE = ("K1", "K10", "K16")
ON_POSTGRESQL = [
    line.name for line in LINES.values() if not line.on_sqlite and line.name not in PLAYED_ELSEWHERE
]

requires = {
    vendor: pytest.mark.skipif(connection.vendor != vendor, reason=f"a line on {vendor}")
    for vendor in ("sqlite", "postgresql")
}


def check(name: str, *arguments: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - a program of this project
        [
            sys.executable,
            "-m",
            "benchmarks.reliability",
            name,
            "--size",
            "small",
            "--busy",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default", **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def judge(found: dict[str, Any]) -> None:
    """Judge what must hold on a busy machine; how soon it holds is measured by the command."""
    assert not any(found["wrong"].values()), found["wrong"]


@requires["sqlite"]
@pytest.mark.parametrize("name", ON_SQLITE)
def test_a_line_on_sqlite(name: str) -> None:
    judge(check(name, "--sqlite", "--seed", "7"))


@requires["postgresql"]
@pytest.mark.parametrize("name", ON_POSTGRESQL)
def test_a_line_on_postgresql(name: str, cluster: Path) -> None:
    judge(check(name, "--seed", "7", **{SHARED_CLUSTER: str(cluster)}))
