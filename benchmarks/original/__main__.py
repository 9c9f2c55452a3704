"""Give the original the troubles of the scorecard, and keep what was seen.

``python -m benchmarks.original`` installs ``openworkflow`` 0.10.1 with npm into its own folder,
makes a private PostgreSQL cluster and writes ``seen.json`` beside this file: the last column of the
scorecard. Takes two minutes: the original's lease is 30 seconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.original import scenarios
from benchmarks.original.site import install
from benchmarks.reliability.cluster import Cluster
from benchmarks.reliability.original import SEEN


def main() -> int:
    """Play all scenarios side by side, each in a database of its own."""
    install()
    with tempfile.TemporaryDirectory(prefix="original-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder / "cluster")
        cluster.start()
        try:
            with ThreadPoolExecutor(3) as pool:
                plays = {
                    line: pool.submit(play, cluster, folder)
                    for line, play in scenarios.SCENARIOS.items()
                }
                seen = {line: play.result() for line, play in plays.items()}
        finally:
            cluster.stop()
    SEEN.write_text(json.dumps(seen, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(seen, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
