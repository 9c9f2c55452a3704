"""This package, as its users have it: ``manage.py migrate``, ``start()``, ``runworker``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

import django
from django.core.management import call_command

from benchmarks.drivers.driver import main


class DjangoOpenworkflowPeer:
    """See ``driver.Peer``."""

    def init(self, url: str) -> None:
        """Create the tables."""
        self.connect(url)
        call_command("migrate", verbosity=0)

    def connect(self, url: str) -> None:
        """Get ready to start and cancel runs."""
        os.environ["BENCH_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.project.settings"
        django.setup()

    def work(self, url: str, options: argparse.Namespace) -> None:
        """Be a worker until killed."""
        os.environ["BENCH_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.project.settings"
        command = [sys.executable, "-m", "django", "runworker", "--verbosity", "0"]
        command += ["--concurrency", str(options.concurrency)]
        command += ["--pin-cpu"] * options.pin_cpu
        os.execv(command[0], command)  # noqa: S606 - Python itself

    def start(self, workflow: str, moment: float) -> Any:
        """Start one run and return its handle."""
        return self._workflow(workflow).start(moment=moment)

    def start_many(self, workflow: str, size: int) -> list[Any]:
        """Start many with one call."""
        inputs = ({"moment": time.time()} for _ in range(size))
        return list(self._workflow(workflow).start_many(inputs))

    def cancel(self, handle: Any) -> None:
        """Cancel one run."""
        handle.cancel()

    def cancel_many(self, handles: list[Any]) -> None:
        """Cancel all pending runs with one call."""
        from django_openworkflow.models import WorkflowRun

        outcome = WorkflowRun.objects.pending().cancel_active()
        if len(outcome.canceled) != len(handles):
            message = f"{len(outcome.canceled)} of {len(handles)} runs were canceled"
            raise SystemExit(message)

    def _workflow(self, name: str) -> Any:
        from benchmarks.project import workflows

        return getattr(workflows, name.replace("-", "_"))


if __name__ == "__main__":
    main(DjangoOpenworkflowPeer())
