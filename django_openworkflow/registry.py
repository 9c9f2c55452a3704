"""Which workflows this process knows: name and version to definition."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django_openworkflow.cleanups import cleanup_name, workflow_name_of
from django_openworkflow.exceptions import (
    DuplicateWorkflow,
    InvalidInput,
    WorkflowNotRegistered,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_openworkflow.workflows import Workflow

Key = tuple[str, str | None]


class Registry:
    """Definitions by name and version. Never filled from the database: rows name, code defines."""

    def __init__(self) -> None:
        self._workflows: dict[Key, Workflow[Any, Any]] = {}

    def register(self, workflow: Workflow[Any, Any]) -> None:
        """Add a definition; raises ``DuplicateWorkflow`` when the name and version are taken."""
        key = (workflow.name, workflow.version)
        if workflow_name_of(workflow.name) != workflow.name:
            message = f"The name {workflow.name!r} is reserved for clean-up runs"
            raise InvalidInput(message)
        if key in self._workflows:
            raise DuplicateWorkflow(*key)
        self._workflows[key] = workflow

    def find(self, name: str, version: str | None) -> Workflow[Any, Any]:
        """Return the definition of exactly this name and version, or raise."""
        try:
            return self._workflows[name, version]
        except KeyError:
            raise WorkflowNotRegistered(name, version) from None

    def definitions(self) -> list[Key]:
        """Return all names and versions, sorted."""
        return sorted(self._workflows, key=lambda key: (key[0], key[1] or ""))

    def claimable(self) -> list[Key]:
        """Return the names and versions that a worker can execute, clean-up runs included."""
        return [
            (runs_as, version)
            for name, version in self.definitions()
            for runs_as in (name, cleanup_name(name))
        ]

    def versions(self, name: str) -> list[str | None]:
        """Return the registered versions of a name, sorted; unversioned first."""
        return [version for known, version in self.definitions() if known == name]

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Undo all registrations of the block at its end; for tests."""
        before = dict(self._workflows)
        try:
            yield
        finally:
            self._workflows = before


registry = Registry()
