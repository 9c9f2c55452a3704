"""``manage.py runworker``: execute workflow runs until told to stop."""

from __future__ import annotations

import os
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Final

from django.core.management.base import CommandError
from django.db import connections
from django.utils import autoreload

from django_openworkflow.management.arguments import names, positive, seconds
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.metrics import address, metrics_served
from django_openworkflow.registry import registry
from django_openworkflow.worker.processors import pin, spare_collector
from django_openworkflow.worker.supervisor import (
    Supervisor,
    call_when_orphaned,
    own_index,
    signals_handled,
)
from django_openworkflow.worker.worker import Worker, WorkerOptions

_CLOSING_SECONDS: Final = 5.0  # for what is left to do after the grace time


class Command(WorkflowCommand):
    """Runs a worker. The first SIGTERM or SIGINT drains it, the second ends it at once."""

    help = "Executes workflow runs until SIGTERM or SIGINT: the first drains, the second quits."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--concurrency",
            type=positive,
            help="runs executed at a time (default: the setting CONCURRENCY, 10)",
        )
        parser.add_argument(
            "--processes", type=positive, default=1, help="processes of that many runs each"
        )
        parser.add_argument("--queues", type=names, help="queues to serve, a,b (default: all)")
        parser.add_argument("--database", help="alias of the database with the workflow tables")
        parser.add_argument(
            "--grace", type=seconds, default=30.0, help="seconds for steps in flight (default: 30)"
        )
        parser.add_argument("--once", action="store_true", help="one round of claims, then exit")
        parser.add_argument(
            "--until-idle", action="store_true", help="exit when nothing is due within a second"
        )
        parser.add_argument(
            "--metrics-port",
            type=address,
            metavar="[HOST:]PORT",
            help="answer Prometheus there; several processes take the ports from this one on",
        )
        parser.add_argument(
            "--pin-cpu", action="store_true", help="keep each process on a CPU of its own"
        )
        parser.add_argument(
            "--reload", action="store_true", help="start anew when code changes; for development"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker and report what it did."""
        chosen = self._options(options)
        if options["processes"] > 1 and own_index() is None:
            self._supervise(options)
        elif options["reload"]:
            self._work_and_reload(chosen, options)
        else:
            self._work(Worker(chosen), options)

    def _supervise(self, options: dict[str, Any]) -> None:
        """Watch over processes that are called as this one was."""
        if options["reload"]:
            message = "--reload is for one process: leave out --processes."
            raise CommandError(message)
        connections.close_all()  # the processes have their own
        supervisor = Supervisor(options["processes"], autoreload.get_child_arguments())

        def stop(_number: int) -> None:
            supervisor.stop()

        with signals_handled(stop, stop, for_good=self._is_the_process):
            ended_badly = supervisor.run()
        if ended_badly:
            message = "A worker process ended badly."
            raise CommandError(message)

    @property
    def _is_the_process(self) -> bool:
        """Whether the process is this command's alone, and ends with it."""
        return bool(getattr(self, "_called_from_command_line", False))

    def _work(self, worker: Worker, options: dict[str, Any]) -> None:
        with self._signals_handled(worker):
            self._run(worker, options)

    def _run(self, worker: Worker, options: dict[str, Any]) -> None:
        if options["verbosity"]:
            self.stdout.write(self._greeting(worker))
        index = own_index()
        if options["pin_cpu"]:
            _pin(os.getpid() if index is None else index)
        if index is not None:
            call_when_orphaned(worker.request_stop)
        if self._is_the_process:
            spare_collector()
        with metrics_served(options["metrics_port"], using=worker.options.using, index=index or 0):
            worker.run(until_idle=options["until_idle"], once=options["once"])
        if options["verbosity"]:
            self.stdout.write(f"Worker {worker.name} stopped after {worker.executed} passes.")

    def _work_and_reload(self, chosen: WorkerOptions, options: dict[str, Any]) -> None:
        """Work in the reloader's thread; drain when it is about to end the process.

        Without the drain each change of code would count as a crash of the runs in flight, and
        they would wait for their leases to run out.
        """
        if options["once"] or options["until_idle"]:
            message = "--reload goes on until it is stopped: leave out --once and --until-idle."
            raise CommandError(message)
        begun: list[tuple[Worker, threading.Event]] = []

        def work() -> None:
            worker, ended = Worker(chosen), threading.Event()
            begun.append((worker, ended))
            try:
                self._work(worker, options)
            finally:
                ended.set()

        try:
            with _sigint_for_the_child():
                autoreload.run_with_reloader(work)
        finally:
            for worker, ended in begun:
                worker.request_stop()
                ended.wait(chosen.grace_seconds + _CLOSING_SECONDS)

    def _options(self, options: dict[str, Any]) -> WorkerOptions:
        chosen = WorkerOptions.from_settings()
        using = options["database"] or chosen.using
        if using not in connections:
            message = f"There is no database {using!r} in DATABASES."
            raise CommandError(message)
        _check_tables(using)
        return replace(
            chosen,
            using=using,
            concurrency=options["concurrency"] or chosen.concurrency,
            queues=options["queues"],
            grace_seconds=options["grace"],
        )

    def _greeting(self, worker: Worker) -> str:
        known = ", ".join(
            name if version is None else f"{name} ({version})"
            for name, version in registry.definitions()
        )
        return (
            f"Worker {worker.name} executes up to {worker.options.concurrency} runs at a time.\n"
            f"Workflows: {known or 'none - is there a workflows.py in an installed app?'}"
        )

    def _signals_handled(self, worker: Worker) -> AbstractContextManager[None]:
        """Let the first signal drain and the second end the process, as if it were killed.

        Handlers take no lock and do not log: they are run by the thread that may just do so itself.
        """

        def drain(number: int) -> None:
            worker.request_stop(signal.Signals(number).name)

        def quit_at_once(number: int) -> None:
            os._exit(128 + number)

        return signals_handled(drain, quit_at_once, for_good=self._is_the_process)


@contextmanager
def _sigint_for_the_child() -> Iterator[None]:
    """Let the process that only watches over the reloading one outlive a Ctrl-C, which both get.

    It would kill its child in the middle of the drain. It ends when the child does.
    """
    is_child = os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"
    if is_child or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _pin(index: int) -> None:
    try:
        pin(index)
    except OSError as error:
        message = f"--pin-cpu: {error}."
        raise CommandError(message) from error


def _check_tables(using: str) -> None:
    """Fail here, in one line, rather than in the worker's threads."""
    from django_openworkflow.models import WorkflowRun

    WorkflowRun.objects.using(using).first()
