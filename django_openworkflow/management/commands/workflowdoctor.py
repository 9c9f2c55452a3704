"""``manage.py workflowdoctor``: is everything there that workflows need, and does anything hang?"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.doctor import Doctor, Finding, Level
from django_openworkflow.management.output import count_of, json_line


class Command(WorkflowCommand):
    help = (
        "Checks the settings, the database, the workflows, the workers and the runs: a line each. "
        "Exits with 0 when there is no problem, and with 1 otherwise."
    )
    # Django's own checks would end the command before it could say what is wrong.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options["format"] == "json"
        findings = []
        for finding in Doctor().examine():
            findings.append(finding)
            if not as_json:
                self.stdout.write(self._line(finding))
        problems = sum(finding.level is Level.PROBLEM for finding in findings)
        if as_json:
            found = [asdict(finding) for finding in findings]
            self.stdout.write(json_line({"healthy": not problems, "findings": found}))
        if problems:
            message = f"Found {count_of(problems, 'problem')}."
            raise CommandError(message)

    def _line(self, finding: Finding) -> str:
        styles = {
            Level.OK: self.style.SUCCESS,
            Level.WARNING: self.style.WARNING,
            Level.PROBLEM: self.style.ERROR,
        }
        level = styles[finding.level](f"{finding.level:<7}")
        return f"{level}  {finding.check:<10}  {finding.message} {finding.hint}".rstrip()
