"""A process that is ready to work, and forks workers on demand: far quicker than new ones.

For each line on standard input it forks a worker that runs until it is idle, prints its process id,
and another line when it has ended. It has no connection and no thread of its own when it forks.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Set up, then fork as often as asked."""
    import django

    django.setup()
    from django.conf import settings

    from django_openworkflow.worker.worker import Worker, WorkerOptions

    grace_seconds = 5.0
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            options = WorkerOptions(
                using="default",
                concurrency=4,
                grace_seconds=grace_seconds,
                lease_seconds=settings.OPENWORKFLOW["LEASE_SECONDS"],
                poll_seconds=(0.01, 0.05),
            )
            Worker(options).run(until_idle=True)
            os._exit(0)
        _say(pid)
        os.waitpid(pid, 0)
        _say("ended")


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
