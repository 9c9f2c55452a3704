"""Python source as a tree."""

from __future__ import annotations

import ast
import gc


def parse(source: str, filename: str = "<unknown>") -> ast.Module:
    """Parse a module, and let no garbage be collected meanwhile.

    A future that is collected may be logged with a traceback, for which Python 3.11 parses as well;
    and a parse within another has been a ``SystemError`` now and then.
    Source: https://github.com/python/cpython/issues/106905
    """
    gc.disable()
    try:
        return ast.parse(source, filename)
    finally:
        gc.enable()
