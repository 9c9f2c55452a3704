"""Where a line of the scorecard is checked: a folder, a database, a seed; and what was found."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.reliability.cluster import Cluster

SETTINGS: Final = "benchmarks.reliability.settings"
# A cluster that somebody else has started, in this folder, and will stop.
SHARED_CLUSTER: Final = "RELIABILITY_CLUSTER"
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Arena:
    """What a check works on. ``cluster`` is None on SQLite."""

    folder: Path
    database: str  # its name in the cluster
    url: str
    seed: int
    random: random.Random
    cluster: Cluster | None = None

    @property
    def postgres(self) -> Cluster:
        """The cluster of a check that needs one."""
        if self.cluster is None:
            message = "this line of the scorecard needs PostgreSQL"
            raise RuntimeError(message)
        return self.cluster


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was done, and what was found wrong: every number must be zero.

    ``late`` depends on how busy the machine is as well, ``wrong`` never does.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    wrong: Mapping[str, int] = field(default_factory=dict)
    late: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the goal was met."""
        return not any([*self.wrong.values(), *self.late.values()])


@contextmanager
def arena(*, seed: int, on_sqlite: bool) -> Iterator[Arena]:
    """Prepare a migrated database of its own and Django on top of it; remove it all afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="reliability-"))
    folder.chmod(0o755)  # PostgreSQL's user must get through it
    cluster = None if on_sqlite else _cluster(folder)
    name = f"reliability_{secrets.token_hex(4)}"
    url = cluster.create_database(name) if cluster else f"sqlite:///{folder / 'db.sqlite3'}"
    os.environ["RELIABILITY_EFFECTS"] = str(folder / "effects")
    os.environ["DATABASE_URL"] = url
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    try:
        _set_up()
        yield Arena(
            folder=folder,
            database=name,
            url=url,
            seed=seed,
            random=random.Random(seed),  # noqa: S311 - not a secret
            cluster=cluster,
        )
    finally:
        _close_connections()
        if cluster is not None and SHARED_CLUSTER not in os.environ:
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _cluster(folder: Path) -> Cluster:
    from benchmarks.reliability.cluster import Cluster

    if shared := os.environ.get(SHARED_CLUSTER):
        return Cluster(Path(shared))
    cluster = Cluster(folder / "cluster")
    cluster.start()
    return cluster


def _set_up() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _close_connections() -> None:
    from django.db import connections

    connections.close_all()


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Look again and again until it holds; return whether it did in time."""
    gives_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > gives_up_at:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
