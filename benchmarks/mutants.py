"""Switch off one safety rule after the other: does any test notice?

``python -m benchmarks.mutants [NAME ...] [--write]`` copies the repository into a temporary folder,
replaces one piece of source there, and runs the small set of tests that should turn red, first
without the change, when they must be green. Exit 1 when a rule is missed by nobody, or when a
piece of source is not found any more. PostgreSQL is the one that ``DATABASE_URL`` names, else a
private cluster. ``--write`` keeps the report in ``docs/reliability.md``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.mutations import MUTANTS, Mutant
from benchmarks.reliability.table import PAGE, replaced

ROOT: Final = Path(__file__).resolve().parents[1]
_COPIED: Final = (
    "benchmarks",
    "django_openworkflow",
    "docs",
    "testproject",
    "tests",
    "pyproject.toml",
)
_RED: Final = 1  # pytest: tests ran, and some failed
_TIMEOUT_SECONDS: Final = 300


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    was_green: bool
    is_red: bool

    @property
    def ok(self) -> bool:
        """Whether the tests were green with the rule, and red without it."""
        return self.was_green and self.is_red


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and try the mutants, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of mutants (default: all)")
    parser.add_argument("--write", action="store_true", help="keep the report in docs")
    options = parser.parse_args(arguments)
    chosen = [one for one in MUTANTS if not options.names or one.name in options.names]
    with tempfile.TemporaryDirectory(prefix="mutants-") as name, _server() as url:
        Path(name).chmod(0o755)
        verdicts = [_try(mutant, Path(name), url) for mutant in chosen]
    if options.write:
        PAGE.write_text(replaced(PAGE.read_text(), "mutants", _report(verdicts)))
    return 0 if all(verdict.ok for verdict in verdicts) else 1


def _try(mutant: Mutant, folder: Path, url: str) -> Verdict:
    """Run the tests of one mutant with and without its rule."""
    copy = folder / mutant.name
    for part in _COPIED:
        source = ROOT / part
        copied = shutil.copytree if source.is_dir() else shutil.copy
        copy.mkdir(exist_ok=True)
        copied(source, copy / part)
    was_green = _run(mutant, copy, url) == 0
    mutant.apply(copy / "django_openworkflow")
    is_red = _run(mutant, copy, url) == _RED
    verdict = Verdict(mutant=mutant, was_green=was_green, is_red=is_red)
    words = "noticed" if verdict.ok else f"NOT NOTICED (green before: {was_green})"
    sys.stdout.write(f"{mutant.name}: {words}\n")
    sys.stdout.flush()
    shutil.rmtree(copy)
    return verdict


def _run(mutant: Mutant, copy: Path, url: str) -> int:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--tb=native",  # no parsing of sources: some CPython 3.11 cannot in a deep recursion
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
    ]
    environment = {
        **os.environ,
        "DATABASE_URL": url if mutant.on_postgresql else "",
        "RACE_ROUNDS": "40",
        # The copy comes before the installed package.
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            [*command, *mutant.tests],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_SECONDS,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _RED  # a test that hangs has noticed as well
    if done.returncode not in (0, _RED):
        sys.stderr.write(done.stdout[-3000:])
    return done.returncode


@contextmanager
def _server() -> Iterator[str]:
    url = os.environ.get("DATABASE_URL", "")
    if url.startswith(("postgres://", "postgresql://")):
        yield url
        return
    from benchmarks.reliability.cluster import Cluster

    with tempfile.TemporaryDirectory(prefix="mutants-cluster-") as name:
        Path(name).chmod(0o755)
        cluster = Cluster(Path(name))
        cluster.start()
        try:
            yield cluster.create_database("mutants")
        finally:
            cluster.stop()


def _report(verdicts: Sequence[Verdict]) -> str:
    rows = "".join(
        f"| {verdict.mutant.rule} | {'yes' if verdict.ok else '**no**'} "
        f"| {', '.join(f'`{test}`' for test in verdict.mutant.tests)} |\n"
        for verdict in verdicts
    )
    return f"| rule switched off | noticed | by |\n| --- | --- | --- |\n{rows}"


if __name__ == "__main__":
    sys.exit(main())
