"""Which commit and which code a measurement belongs to."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
#: Words, and what was measured: the code is the same whatever they say.
_NOT_CODE: Final = re.compile(r"docs/|\.ci/|[^/]+\.md$|benchmarks/.*\.jsonl?$")
DIRTY: Final = "-dirty"


def commit() -> str:
    """Name the commit, in short; "unknown" outside a repository."""
    return _git("describe", "--always", "--exclude", "*").strip() or "unknown"


def code() -> str:
    """Name the code: the same for two commits that differ in words and measurements alone."""
    files = [line.split("\t", 1) for line in _git("ls-tree", "-r", "HEAD").splitlines()]
    kept = "".join(f"{what}\t{path}\n" for what, path in files if is_code(path))
    changed = [line[3:] for line in _git("status", "--porcelain").splitlines()]
    name = hashlib.sha256(kept.encode()).hexdigest()[:10]
    return name + (DIRTY if any(map(is_code, changed)) else "")


def is_code(path: str) -> bool:
    """Return whether what the tests do may depend on this file."""
    return not _NOT_CODE.match(path)


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
