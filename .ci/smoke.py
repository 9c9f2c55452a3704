"""What a user meets first: the installed package alone, on a new SQLite database."""

from __future__ import annotations

import importlib.util
import tempfile
from importlib.resources import files
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

import django_openworkflow  # while Django knows of no settings yet


@django_openworkflow.workflow
def greet(step: django_openworkflow.Step, name: str) -> str:
    """Say hello in one step."""
    return step.run("compose", "Hello, {}".format, name)


def main() -> None:
    """Install, migrate, check, and run one workflow to its end."""
    for name in django_openworkflow.__all__:
        getattr(django_openworkflow, name)
    assert files("django_openworkflow").joinpath("py.typed").is_file()
    for tool in ("psycopg", "pytest", "testproject", "tests"):
        assert importlib.util.find_spec(tool) is None, f"{tool} is installed with the wheel"
    with tempfile.TemporaryDirectory() as folder:
        settings.configure(**minimal_settings(Path(folder)))
        django.setup()
        call_command("check", fail_level="WARNING")
        call_command("migrate", verbosity=0)
        call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)
        handle = greet.start(name="world")
        call_command("runworker", until_idle=True, verbosity=0)
        assert handle.result(timeout=0) == "Hello, world"
    print(f"django-openworkflow {django_openworkflow.__version__}, Django {django.get_version()}")


def minimal_settings(folder: Path) -> dict[str, object]:
    """Return the least settings that a project needs."""
    return {
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "db.sqlite3",
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        },
        "INSTALLED_APPS": [
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django_openworkflow",
        ],
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "USE_TZ": True,
    }


if __name__ == "__main__":
    main()
