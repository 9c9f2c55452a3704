"""Install each contestant from its registry, by name, into an environment of its own.

Everything is below ``benchmarks/.envs``. What is there already is kept; a contestant that cannot be
installed is left out, loudly, and its lines say so.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ENVIRONMENTS: Final = HERE / ".envs"
DRIVERS: Final = HERE / "drivers"

_PYENV: Final = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
_INSTALL_SECONDS: Final = 600.0
_NODE: Final = "22"  # the first with the SQLite that the original needs


class NotInstalled(Exception):
    """A contestant could not be installed; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonEnvironment:
    """A virtual environment; ``pythons`` are the interpreters that will do, best first."""

    name: str
    requirements: tuple[str, ...]
    pythons: tuple[str, ...] = ("python3.11", "python3.12", "python3.13", "python3")

    @property
    def interpreter(self) -> Path:
        """The interpreter inside."""
        return ENVIRONMENTS / self.name / "bin" / "python"

    def install(self) -> None:
        """Make the environment unless it is complete; raises ``NotInstalled``."""
        if _is_complete(self.name, self.requirements):
            return
        python = self._base_interpreter()
        folder = ENVIRONMENTS / self.name
        shutil.rmtree(folder, ignore_errors=True)
        _run([python, "-m", "venv", str(folder)])
        pip = [str(self.interpreter), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        _run([*pip, *self.requirements])
        _mark_complete(self.name, self.requirements)

    def _base_interpreter(self) -> str:
        for python in self.pythons:
            installed = sorted(_PYENV.glob(f"versions/*/bin/{python}"))
            for found in (shutil.which(python), *map(str, installed)):
                # A version manager's name may be there without the interpreter behind it.
                if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
                    return found
        message = f"{self.name} needs one of {', '.join(self.pythons)}"
        raise NotInstalled(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnvironment:
    """A folder of npm packages, with a Node of its own that is new enough."""

    name: str
    requirements: tuple[str, ...]

    @property
    def node(self) -> Path:
        """The Node inside."""
        return ENVIRONMENTS / self.name / "node_modules" / _node_package() / "bin" / "node"

    def install(self) -> None:
        """Install the packages unless they are; raises ``NotInstalled``."""
        requirements = (*self.requirements, f"{_node_package()}@{_NODE}")
        if not _is_complete(self.name, requirements):
            self._install(requirements)
        # A module's imports are looked for beside it.
        for driver in DRIVERS.glob("*.mjs"):
            shutil.copy(driver, ENVIRONMENTS / self.name)

    def _install(self, requirements: tuple[str, ...]) -> None:
        npm = shutil.which("npm")
        if npm is None:
            message = f"{self.name} needs npm"
            raise NotInstalled(message)
        folder = ENVIRONMENTS / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"type": "module", "private": True}))
        _run([npm, "install", "--silent", "--no-audit", "--no-fund", *requirements], folder)
        _mark_complete(self.name, requirements)


def _node_package() -> str:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    return f"node-{sys.platform}-{machine}"


def _run(command: list[str], folder: Path = HERE) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        message = f"{' '.join(command[:4])} … failed: {' '.join(last)}"
        raise NotInstalled(message)


def _is_complete(name: str, requirements: tuple[str, ...]) -> bool:
    marker = ENVIRONMENTS / name / ".complete"
    return marker.exists() and marker.read_text() == "\n".join(requirements)


def _mark_complete(name: str, requirements: tuple[str, ...]) -> None:
    (ENVIRONMENTS / name / ".complete").write_text("\n".join(requirements))


OPENWORKFLOW: Final = NodeEnvironment(
    name="openworkflow", requirements=("openworkflow@~0.10.1", "postgres@3")
)
DBOS: Final = PythonEnvironment(name="dbos", requirements=("dbos==3.4.*",))
ABSURD: Final = PythonEnvironment(
    name="absurd", requirements=("absurd-sdk==0.5.1", "absurdctl==0.5.1")
)
PROCRASTINATE: Final = PythonEnvironment(
    name="procrastinate", requirements=("procrastinate==3.10.*", "psycopg[binary,pool]>=3.2")
)
DJANGO_TASKS: Final = PythonEnvironment(
    name="django-tasks",
    requirements=("Django>=6.0,<6.1", "django-tasks-db==0.13.*", "psycopg[binary,pool]>=3.2"),
    pythons=("python3.13", "python3.12", "python3.14"),
)
ALL: Final = (OPENWORKFLOW, DBOS, ABSURD, PROCRASTINATE, DJANGO_TASKS)


def install_all() -> dict[str, str]:
    """Install every environment; return why some could not be, by name."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    failures = {}
    for environment in ALL:
        try:
            environment.install()
        except NotInstalled as error:
            failures[environment.name] = str(error)
    return failures
