"""Kill workers in the middle of steps; nothing may be lost, doubled, or changed after its end.

    python -m tests.chaos.kill_workers --runs 500 --kills 20 --seed 1

``DATABASE_URL`` chooses the server as it does for the test project; the storm makes a database of
its own there, and removes it. Prints one JSON object. Exits 0 if all is well, 1 if not: also when
fewer kills than asked for have hit a worker inside of a step's body.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, make a database, and let it storm."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        found = _rage(options, Path(name))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if found["ok"] else 1


def _rage(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from tests.chaos.own_database import own_database

    with own_database(folder) as url:
        os.environ["DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.chaos.settings"
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connections

        from tests.chaos.storm import Plan, Storm

        call_command("migrate", verbosity=0)
        try:
            found = Storm(Plan(**vars(options)), folder).rage()
            if not found["ok"]:
                sys.stderr.write((folder / "workers.log").read_text()[-4000:])
            return found
        finally:
            connections.close_all()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kill_workers", description="Kills workers at work.")
    parser.add_argument("--runs", type=int, default=500, help="runs to start (default: 500)")
    parser.add_argument("--kills", type=int, default=20, help="kills inside a body (default: 20)")
    parser.add_argument("--cancels", type=int, default=25, help="runs to cancel (default: 25)")
    parser.add_argument("--seed", type=int, default=1, help="of all random choices (default: 1)")
    parser.add_argument("--concurrency", type=int, default=5, help="runs per worker (default: 5)")
    parser.add_argument("--workers", type=int, default=3, help="processes (default: 3)")
    parser.add_argument(
        "--quiet-seconds", type=float, default=120, help="for the rest to end (default: 120)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
