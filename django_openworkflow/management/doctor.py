"""What ``workflowdoctor`` looks at: each check says what it finds, and none ends the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.core.checks import ERROR
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.utils.module_loading import module_has_submodule

from django_openworkflow import checks, conf
from django_openworkflow.exceptions import DuplicateWorkflow
from django_openworkflow.management.output import age, count_of, flatten, shorten
from django_openworkflow.registry import Key, registry
from django_openworkflow.store import diagnosis, foreign

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    from django_openworkflow.store.diagnosis import AliveWorker, Count, Diagnosis

_APP: Final = "django_openworkflow"
OLDEST: Final = {"PostgreSQL": (14,), "SQLite": (3, 37)}
_NAMES_SHOWN: Final = 5
_NAME_WIDTH: Final = 60
_START_ONE: Final = 'Start one: "manage.py runworker".'


class Level(StrEnum):
    """How bad a finding is; only a problem makes the doctor's exit code 1."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's: what is, and what to do about it."""

    check: str
    level: Level
    message: str
    hint: str = ""


# What a check says: how bad it is, what is, what to do.
Said = tuple[Level, str, str]
Check = Callable[[], Iterator[Said]]


class Doctor:
    """Examines a project from the ground up; where the ground is missing, nothing stands on it."""

    def examine(self) -> Iterator[Finding]:
        """Yield what each check finds. A check that fails itself is a problem, not an end."""
        stands = yield from _run("settings", self._settings)
        yield from _run("workflows", self._workflows)
        yield from _run("duplicates", self._duplicates)
        for name, check in (("database", self._database), ("migrations", self._migrations)):
            stands = stands and (yield from _run(name, check))
        if not stands:
            return
        for name, check in (
            ("workers", self._workers),
            ("unknown", self._unknown),
            ("queues", self._queues),
            ("stuck", self._stuck),
            ("pending", self._pending),
        ):
            yield from _run(name, check)

    # --- the project ----------------------------------------------------------------------------

    def _settings(self) -> Iterator[Said]:
        found = [
            *checks.check_settings(None),
            *checks.check_lease(None),
            *checks.check_commands(None),
        ]
        yield from map(_of_check, found)
        if not found:
            yield Level.OK, "OPENWORKFLOW is valid.", ""

    @cached_property
    def _failures(self) -> list[tuple[str, Exception]]:
        """The modules of workflows that cannot be imported, and why."""
        failures: list[tuple[str, Exception]] = []
        for config in apps.get_app_configs():
            if config.module is None or not module_has_submodule(config.module, "workflows"):
                continue
            module = f"{config.name}.workflows"
            try:
                import_module(module)
            except Exception as error:  # code of the project's may raise anything
                failures.append((module, error))
        return failures

    def _workflows(self) -> Iterator[Said]:
        failures = [pair for pair in self._failures if not isinstance(pair[1], DuplicateWorkflow)]
        for module, error in failures:
            words = f"{module} cannot be imported: {type(error).__name__}: {error}"
            yield Level.PROBLEM, words, "No workflow of this module can run."
        known = registry.definitions()
        if known:
            yield Level.OK, f"Found {count_of(len(known), 'workflow')}: {_listed(known)}.", ""
        elif not failures:
            hint = "Is there a workflows.py in an installed app?"
            yield Level.WARNING, "No workflow is registered.", hint

    def _duplicates(self) -> Iterator[Said]:
        found = [pair for pair in self._failures if isinstance(pair[1], DuplicateWorkflow)]
        for module, error in found:
            hint = "Give one of the two another name or version."
            yield Level.PROBLEM, f"{module}: {error}.", hint
        if not found:
            yield Level.OK, "No name and version is registered twice.", ""

    # --- the database ---------------------------------------------------------------------------

    @property
    def _using(self) -> str:
        return conf.get_settings().DATABASE

    def _database(self) -> Iterator[Said]:
        kind, version, shown = diagnosis.server_version(self._using)
        oldest = OLDEST.get(kind)
        if oldest is None:
            yield Level.WARNING, f"{kind} is not tested.", "Use PostgreSQL or SQLite."
        elif version < oldest:
            needed = ".".join(map(str, oldest))
            yield Level.PROBLEM, f"{kind} {shown} is too old.", f"Use {kind} {needed} or newer."
        else:
            yield Level.OK, f'{kind} {shown} answers as "{self._using}".', ""
        has_wal = kind == "SQLite" and diagnosis.journal_mode(self._using) == "wal"
        for message in checks.check_database(None, databases=[self._using]):
            if not (has_wal and message.id == f"{_APP}.W004"):  # the file remembers it
                yield _of_check(message)

    def _migrations(self) -> Iterator[Said]:
        loader = MigrationLoader(connections[self._using])
        ours = {key for key in loader.graph.nodes if key[0] == _APP}
        applied = {key for key in loader.applied_migrations if key[0] == _APP}
        if missing := ours - applied:
            what = count_of(len(missing), "migration")
            words = f"{what} not applied: {', '.join(sorted(name for _, name in missing))}."
            yield Level.PROBLEM, words, 'Run "manage.py migrate".'
        elif unknown := applied - ours - set(loader.disk_migrations):
            words = f"The database is newer than the code: {max(name for _, name in unknown)}."
            yield Level.WARNING, words, "Update the code."
        else:
            yield Level.OK, f"{count_of(len(ours), 'migration')} applied.", ""

    # --- workers and runs -----------------------------------------------------------------------

    @cached_property
    def _diagnosis(self) -> Diagnosis:
        return diagnosis.Diagnosis(self._using)

    @cached_property
    def _alive(self) -> list[AliveWorker]:
        return self._diagnosis.alive_workers()

    def _workers(self) -> Iterator[Said]:
        if self._alive:
            slots = sum(worker.concurrency for worker in self._alive)
            is_one = len(self._alive) == 1
            words = f"{count_of(len(self._alive), 'worker')} {'is' if is_one else 'are'} alive"
            yield Level.OK, f"{words}, for {count_of(slots, 'run')} at a time.", ""
        elif due := self._diagnosis.due():
            yield Level.PROBLEM, f"No worker is alive, and {_told(due)} due.", _START_ONE
        else:
            yield Level.WARNING, "No worker is alive; nothing is due.", _START_ONE

    def _unknown(self) -> Iterator[Said]:
        if self._alive:
            who, known = (
                "No live worker knows",
                {key for one in self._alive for key in one.workflows},
            )
        else:
            who, known = "This project does not know", set(registry.claimable())
        unknown = self._diagnosis.unknown_workflows(known)
        if unknown:
            runs = count_of(unknown.total(), "active run")
            names = _listed(key for key, _ in unknown.most_common())
            words = f"{who} the workflows of {runs}: {names}."
            if foreign.has_views(self._using):
                hint = "Does a client in another language? If not, deploy them or cancel the runs."
                yield Level.WARNING, words, hint
            else:
                yield Level.PROBLEM, words, "Deploy their code, or cancel the runs."
        else:
            yield Level.OK, "The workflows of all active runs are known.", ""

    def _queues(self) -> Iterator[Said]:
        if not self._alive or any(worker.queues is None for worker in self._alive):
            return
        served = {queue for worker in self._alive for queue in worker.queues or ()}
        if unserved := self._diagnosis.unserved_queues(served):
            names = ", ".join(f'"{shorten(name, _NAME_WIDTH)}"' for name in unserved)
            runs = count_of(unserved.total(), "active run")
            hint = 'Start a worker with these "--queues", or with none, for all.'
            yield Level.PROBLEM, f"No live worker serves the queues of {runs}: {names}.", hint
        else:
            yield Level.OK, "The queues of all active runs are served.", ""

    def _stuck(self) -> Iterator[Said]:
        abandoned, overdue = self._diagnosis.abandoned(), self._diagnosis.overdue()
        crashed = self._diagnosis.crashed()
        if abandoned:
            words = f"{_told(abandoned).capitalize()} held by a lease that ran out long ago."
            yield Level.PROBLEM, words, "Is a worker for them alive?"
        if overdue and self._alive:
            words = f"{_told(overdue).capitalize()} due for more than a minute beside live workers."
            yield Level.PROBLEM, words, "The workers may be too few, or busy with steps that hang."
        if crashed:
            words = f"{_told(crashed).capitalize()} without progress since a worker was lost."
            yield Level.WARNING, words, "Does a step end the process, or use too much memory?"
        if not (abandoned or crashed or (overdue and self._alive)):
            yield Level.OK, "No run is stuck.", ""

    def _pending(self) -> Iterator[Said]:
        oldest = self._diagnosis.oldest_pending()
        if oldest is None:
            yield Level.OK, "No pending run is due.", ""
        else:
            yield Level.OK, f"The oldest pending run has been due for {age(oldest)}.", ""


def _run(name: str, check: Check) -> Generator[Finding, None, bool]:
    """Yield what a check finds; return whether it found no problem."""
    stands = True
    try:
        for level, message, hint in check():
            stands = stands and level is not Level.PROBLEM
            yield Finding(check=name, level=level, message=flatten(message), hint=flatten(hint))
    except Exception as error:  # a doctor does not faint
        message = f"{type(error).__name__}: {flatten(str(error))}"
        yield Finding(check=name, level=Level.PROBLEM, message=message)
        return False
    return stands


def _of_check(message: CheckMessage) -> Said:
    level = Level.PROBLEM if message.level >= ERROR else Level.WARNING
    return level, str(message.msg), str(message.hint or "")


def _told(count: Count) -> str:
    """Return ``1 run is``, ``2 runs are``, ``at least 1000 runs are``."""
    words = f"{count_of(count.number, 'run')} {'is' if count.number == 1 else 'are'}"
    return words if count.is_all else f"at least {words}"


def _listed(keys: Iterable[Key]) -> str:
    names = [name if version is None else f"{name} ({version})" for name, version in keys]
    shown = [shorten(name, _NAME_WIDTH) for name in names[:_NAMES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])
