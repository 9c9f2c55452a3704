"""A small storm in every run of the suite; a big one is ``python -m tests.chaos.kill_workers``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


def test_killed_workers_cost_nothing_but_time() -> None:
    command = "-m tests.chaos.kill_workers --runs 40 --kills 3 --cancels 4 --workers 2 --seed 7"
    storm = subprocess.run(  # noqa: S603 - a program of this project
        [sys.executable, *command.split(" ")],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert storm.returncode == 0, storm.stdout + storm.stderr
    found = json.loads(storm.stdout)
    assert found["ok"] is True
    assert found["database"] == connection.vendor
    assert found["kills_in_a_body"] == 3
    assert found["runs"] >= 40
    assert set(found["wrong"].values()) == {0}
