"""What helps a process that does nothing but work: one CPU for its threads, little for the GC."""

from __future__ import annotations

import gc
import os
import sys


def can_pin() -> bool:
    """Whether this system lets a process choose its CPUs. Source: ``sched_setaffinity(2)``."""
    return hasattr(os, "sched_setaffinity")


def pin(index: int) -> int:
    """Keep the calling thread, and those it starts from now on, on one CPU; return its number.

    One thread at a time can run Python code. Where they may run anywhere, each that is woken goes
    to a CPU that is idle, only to find that another one has the interpreter, and what the last one
    has just read is in another CPU's cache. ``index`` keeps several processes apart: they take the
    CPUs that this one may use in turn. Raises ``OSError`` where the system refuses.
    """
    if sys.platform == "win32" or sys.platform == "darwin":
        message = "a process cannot be kept on one CPU on this system"
        raise OSError(message)
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[index % len(allowed)]
    os.sched_setaffinity(0, {chosen})
    return chosen


def spare_collector() -> None:
    """Let the garbage collector leave alone what has been imported: it is there to stay."""
    gc.collect()
    gc.freeze()
