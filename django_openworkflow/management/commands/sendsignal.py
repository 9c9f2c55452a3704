"""``manage.py sendsignal``: deliver a signal to every run that waits for it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django_openworkflow.management.arguments import parse_json
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.output import count_of, json_line
from django_openworkflow.sending import send_signal


class Command(WorkflowCommand):
    help = "Delivers a signal to every workflow run that waits for it, and prints their ids."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the signal")
        parser.add_argument("--data", metavar="JSON", help="what the waiting steps receive")
        parser.add_argument(
            "--key",
            metavar="K",
            help="idempotency key: the same key again delivers nothing and prints the same ids",
        )
        parser.add_argument(
            "--buffered",
            action="store_true",
            help="when nobody waits, keep the signal for the next step that does",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        name, data = options["name"], options["data"]
        received = send_signal(
            name,
            parse_json(data, "--data") if isinstance(data, str) else data,
            idempotency_key=options["key"],
            buffered=options["buffered"],
        )
        is_kept = options["buffered"] and not received
        if options["format"] == "json":
            report = {"signal": name, "received": received, "buffered": is_kept}
            self.stdout.write(json_line(report))
        else:
            self.stdout.write("\n".join(_lines(name, received, is_kept=is_kept)))


def _lines(name: str, received: list[UUID], *, is_kept: bool) -> list[str]:
    if received:
        head = f'Signal "{name}" was received by {count_of(len(received), "workflow run")}:'
        return [head, *map(str, received)]
    end = "it is kept for the next step that does." if is_kept else "nobody received it."
    return [f'No workflow run waits for signal "{name}": {end}']
