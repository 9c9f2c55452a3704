"""Find out what a suspended task waits for, as far as Python can tell."""

from __future__ import annotations

import asyncio
import gc
import types
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# Enough for asyncio's own constructs: gather, wait, as_completed, TaskGroup, timeouts.
_MOST_OBJECTS: Final = 300
# Through these, everything could be reached that happens to be alive.
_NEVER_ENTERED: Final = (
    asyncio.AbstractEventLoop,
    asyncio.Handle,
    asyncio.Task,
    Context,
    type,
    types.CodeType,
    types.FrameType,
    types.ModuleType,
)


def refers_to(roots: Iterable[Any], target: object) -> bool:
    """Whether one of the callbacks holds on to ``target``, directly or through a few objects.

    asyncio wakes who waits for several tasks through callbacks of these tasks; whichever construct
    it is, the callback refers to the future that is waited for.
    """
    todo = list(roots)
    seen: set[int] = set()
    while todo and len(seen) < _MOST_OBJECTS:
        one = todo.pop(0)
        if one is target:
            return True
        if id(one) in seen or isinstance(one, _NEVER_ENTERED) or _is_namespace(one):
            continue
        seen.add(id(one))
        todo.extend(gc.get_referents(one))
    return False


def _is_namespace(one: object) -> bool:
    """Whether this is the global namespace of a module, from where everything can be reached."""
    return isinstance(one, dict) and "__builtins__" in one
