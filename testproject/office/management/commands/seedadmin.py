"""``manage.py seedadmin``: a gallery of runs for the admin to show."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_openworkflow.models import WorkflowRun
from testproject.office import gallery


class Command(BaseCommand):
    help = (
        "Fills the admin with made-up workflow runs of every state; those of the last time are "
        f'removed. All of them are in the queue "{gallery.QUEUE}".'
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--runs", type=int, default=240, help="runs that have ended")
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing when there is any workflow run"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_empty"] and WorkflowRun.objects.exists():
            return
        for run in gallery.hang(runs=options["runs"]):
            self.stdout.write(f"{run.status:<10} {run.workflow_name:<18} {run.pk}")
