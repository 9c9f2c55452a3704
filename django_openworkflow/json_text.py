"""Read JSON that a person typed: only what the format knows, with the place of a mistake."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

# Finds what Python's JSON reader takes and JSON does not know, but not inside of a string.
_NOT_A_NUMBER: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(-?Infinity|NaN)', re.DOTALL)


def read(text: str) -> Any:
    """Return the value of a JSON text; raises ``ValueError`` with one sentence."""

    def refuse(_constant: str) -> NoReturn:
        found = next(match for match in _NOT_A_NUMBER.finditer(text) if match[1])
        problem = f"{found[1]} is not a JSON number"
        raise json.JSONDecodeError(problem, text, found.start())

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")  # some of Python's messages end so
        message = f"{what} at line {error.lineno}, column {error.colno}"
        raise ValueError(message) from None
    except RecursionError as error:  # nested too deeply
        raise ValueError(str(error)) from None
