"""The demo as a whole, in processes of its own and on a database of its own."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from testproject.shop.demo.workers import MANAGE
from tests.once import once

pytestmark = once  # always on SQLite

DEMO = [sys.executable, MANAGE, "demo", "--fast"]
LONGEST_SECONDS = 100


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "demo.sqlite3"


def environment(database: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": f"sqlite:///{database}", **more}


def worker_pids(database: Path) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT pid FROM django_openworkflow_workerprocess")
        return [pid for (pid,) in rows]


def test_the_small_demo_ends_by_itself_and_all_it_claims_is_true(database: Path) -> None:
    done = subprocess.run(  # noqa: S603 (our own command line)
        DEMO,
        env=environment(database, PYTHONIOENCODING="ascii"),
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.isascii()
    assert "with status completed\n" in done.stdout
    assert "FALSE" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("All 21 claims hold, after ")


def test_a_demo_that_is_stopped_leaves_no_worker_behind(database: Path) -> None:
    with subprocess.Popen(  # noqa: S603 (our own command line)
        DEMO, env=environment(database), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout
        next(line for line in demo.stdout if "Started 3 workers" in line)
        pids = worker_pids(database)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(30) == 128 + signal.SIGTERM
    assert len(pids) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_too_few_orders_are_refused() -> None:
    done = subprocess.run(  # noqa: S603 (our own command line)
        [sys.executable, MANAGE, "demo", "--orders", "59"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "must be a whole number of 60 or more, not '59'" in done.stderr
