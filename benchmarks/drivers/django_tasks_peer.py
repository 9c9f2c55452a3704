"""django-tasks-db on Django 6: a job queue whose worker does one task at a time."""

from __future__ import annotations

import argparse
import importlib
import time
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from psycopg.conninfo import conninfo_to_dict

from benchmarks.drivers.driver import main


class DjangoTasksPeer:
    """See ``driver.Peer``."""

    def init(self, url: str) -> None:
        self.connect(url)
        call_command("migrate", verbosity=0)

    def connect(self, url: str) -> None:
        given = conninfo_to_dict(url)
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": given.get("dbname"),
            "USER": given.get("user"),
            "PASSWORD": given.get("password"),
            "HOST": given.get("host"),
            "PORT": given.get("port"),
            "CONN_MAX_AGE": None,
        }
        settings.configure(
            INSTALLED_APPS=["django_tasks_db"],
            DATABASES={"default": database},
            TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
            USE_TZ=True,
            SECRET_KEY="benchmarks",  # noqa: S106 - nothing is signed
            LOGGING_CONFIG=None,
        )
        django.setup()
        self.jobs = importlib.import_module("benchmarks.drivers.django_tasks_jobs")

    def work(self, url: str, options: argparse.Namespace) -> None:
        self.connect(url)
        interval = options.poll_seconds or 1.0
        call_command("db_worker", interval=interval, startup_delay=False, verbosity=0)

    def start(self, workflow: str, moment: float) -> Any:
        return getattr(self.jobs, workflow).enqueue(moment=moment)

    def start_many(self, workflow: str, size: int) -> list[Any]:
        return [self.start(workflow, time.time()) for _ in range(size)]

    def cancel(self, handle: Any) -> None:
        raise NotImplementedError

    def cancel_many(self, handles: list[Any]) -> None:
        raise NotImplementedError


if __name__ == "__main__":
    main(DjangoTasksPeer())
