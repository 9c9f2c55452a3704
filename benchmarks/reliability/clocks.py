"""Wrong clocks: a library that, preloaded, shifts the wall clock of one process."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("skewed_clock.c")


def compile_clock(folder: Path) -> Path:
    """Compile the library that makes a clock wrong, and return its path."""
    compiler = shutil.which("cc")
    if compiler is None:
        message = "the wrong clocks need a C compiler: cc"
        raise RuntimeError(message)
    library = folder / "skewed_clock.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library
