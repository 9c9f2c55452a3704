"""Type checkers accept right calls with the right types, and report every wrong one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mypy import api

from tests.once import once

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

Check = Callable[[str], tuple[set[int], str]]

_ERROR_LINE = re.compile(r"^(?P<file>[^:]*\.py):(?P<line>\d+)(?::\d+)? ?[:-] error:?", re.MULTILINE)

pytestmark = [once, pytest.mark.timeout(600)]  # seconds: a cold type checker takes its time


def stripped(name: str, folder: Path) -> Path:
    """Copy a module without the comments that keep the project's own run of mypy silent."""
    text = (HERE / name).read_text()
    copy = folder / name
    copy.write_text(re.sub(r" *# type: ignore\[[^\]]*\]", "", text))
    return copy


def by_mypy(path: Path, cache: Path) -> tuple[set[int], str]:
    """Return the lines that mypy, configured as for the project, reports, and all that it says."""
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    output, trouble, _ = api.run([*options, str(path)])
    assert not trouble
    return lines_of(path, output), output


def by_pyright(path: Path, _cache: Path) -> tuple[set[int], str]:
    """Return the lines that pyright reports, and all that it says.

    basedpyright is pyright with a runtime of its own, which nothing has to download when it runs;
    asked for the mode "standard", it judges like the original.
    """
    config = path.parent / "pyrightconfig.json"
    config.write_text(f'{{"extraPaths": ["{ROOT}"], "typeCheckingMode": "standard"}}')
    done = subprocess.run(  # noqa: S603 - our own files
        [
            sys.executable,
            "-m",
            "basedpyright",
            "--pythonpath",
            sys.executable,
            "--project",
            str(config.parent),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "0 errors" in done.stdout or "error:" in done.stdout, done.stdout + done.stderr
    return lines_of(path, done.stdout), done.stdout


def lines_of(path: Path, output: str) -> set[int]:
    """Return the numbers of the lines of this file that were reported as errors."""
    return {
        int(found["line"])
        for found in _ERROR_LINE.finditer(re.sub(r"^ +", "", output, flags=re.MULTILINE))
        if found["file"].endswith(path.name)
    }


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture(params=[pytest.param(by_mypy, id="mypy"), pytest.param(by_pyright, id="pyright")])
def check(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    mypy_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Check:
    """Return a function that checks a module: (reported lines, words)."""
    monkeypatch.chdir(ROOT)

    def run(name: str) -> tuple[set[int], str]:
        found: tuple[set[int], str] = request.param(stripped(name, tmp_path), mypy_cache)
        return found

    return run


@pytest.mark.parametrize("name", ["right.py", "options.py"])
def test_right_calls_are_accepted_with_their_types(check: Check, name: str) -> None:
    reported, words = check(name)

    assert reported == set(), words


@pytest.mark.parametrize("check", [by_mypy], indirect=True, ids=["mypy"])
def test_the_managers_verbs_are_known_to_mypy(check: Check) -> None:
    reported, words = check("managers.py")  # other checkers know nothing of Django's from_queryset

    assert reported == set(), words


@pytest.mark.parametrize("name", ["wrong.py", "wrong_transaction.py"])
def test_wrong_calls_are_reported_line_by_line(check: Check, name: str) -> None:
    text = (HERE / name).read_text()
    wrong = {number for number, line in enumerate(text.splitlines(), 1) if "# error" in line}
    assert wrong
    reported, words = check(name)

    assert wrong - reported == set(), f"not reported:\n{words}"
    assert reported - wrong == set(), f"reported for nothing:\n{words}"
