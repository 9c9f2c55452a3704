"""The quickstart, followed to the letter in an empty folder."""

from __future__ import annotations

import ast
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import syntax
from tests.docs.pages import ROOT, Block, blocks
from tests.once import once

pytestmark = once  # a project of its own, on SQLite

PROMPT: Final = "$ "
# What "python manage.py shell" is to a reader: keeps its names, answers each block with a line.
SHELL: Final = """
import json, os, sys, traceback
import django
django.setup()
names = {}
for line in sys.stdin:
    try:
        exec(json.loads(line), names)
    except Exception as error:
        if f"# raises {type(error).__name__}: {error}" not in json.loads(line):
            traceback.print_exc()
            os._exit(1)
    print("done", flush=True)
"""


class Reader:
    """Types what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DJANGO_SETTINGS_MODULE", "DATABASE_URL"}
        }
        self.environment["PYTHONPATH"] = str(ROOT)
        self.worker: subprocess.Popen[str] | None = None
        self._shell: subprocess.Popen[str] | None = None

    def follow(self, block: Block) -> None:
        if block.language == "console":
            for line in block.text.splitlines():
                self.command(line.removeprefix(PROMPT))
        elif block.language == "python" and block.is_settings:
            self.install(block)
        elif block.language == "python" and block.module:
            path = self.folder / (block.module.replace(".", "/") + ".py")
            path.write_text(block.text)
        elif block.language == "python":
            self.type(block.text)

    def command(self, line: str) -> None:
        words = shlex.split(line)
        if words[:4] == ["python", "-m", "pip", "install"]:
            return  # the suite has it installed
        if words[0] == "cd":
            self.folder /= words[1]
            return
        if words[0] == "django-admin":
            words = ["python", "-m", "django", *words[1:]]
        words[0] = sys.executable
        if words[1:] == ["manage.py", "runworker"]:
            self.worker = self.start(words)
            return
        done = subprocess.run(  # noqa: S603 - our own page
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    def install(self, block: Block) -> None:
        apps = [
            node.value
            for node in ast.walk(syntax.parse(block.text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        with (self.folder / "mysite" / "settings.py").open("a") as settings:
            settings.write(f"\nINSTALLED_APPS += {apps!r}\n")

    def type(self, text: str) -> None:
        if self._shell is None:
            self.environment["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
            self._shell = self.start([sys.executable, "-c", SHELL], stdin=subprocess.PIPE)
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(json.dumps(text) + "\n")
        self._shell.stdin.flush()
        assert self._shell.stdout.readline() == "done\n", text

    def start(self, words: list[str], *, stdin: int | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own page
            words,
            cwd=self.folder,
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            text=True,
        )

    def leave(self) -> str:
        """Close the shell, press Ctrl-C at the worker, and return what it printed."""
        assert self._shell
        self._shell.communicate(timeout=30)
        assert self.worker
        self.worker.send_signal(signal.SIGINT)
        printed, _ = self.worker.communicate(timeout=30)
        assert self.worker.returncode == 0
        return printed

    def kill(self) -> None:
        for process in (self.worker, self._shell):
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    someone = Reader(tmp_path)
    yield someone
    someone.kill()


def test_the_quickstart_works_from_an_empty_folder(reader: Reader) -> None:
    page = blocks(ROOT / "docs" / "quickstart.md")
    for block in page:
        reader.follow(block)
    printed = reader.leave()
    expected = next(block.text for block in page if block.language == "text").splitlines()
    assert expected[1:] == [line for line in printed.splitlines() if line in expected[1:]]
