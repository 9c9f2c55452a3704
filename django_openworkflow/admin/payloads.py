"""Show values of the users: as JSON that is easy to read, without what nobody should see."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from django.utils.formats import number_format
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

MASK: Final = "••••••"
LARGEST_SHOWN: Final = 50_000  # characters of JSON; what is longer is cut, and says so

# Names that hold secrets wherever they occur: whole words, in any of the usual spellings.
HIDDEN_KEYS: Final = re.compile(
    r"(?:^|[_\-.\s])(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|private[_-]?key"
    r"|authorization|credentials?|cookie)s?(?:$|[_\-.\s])",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# The tokens of what json.dumps writes: a key, a text, a number, a word.
_TOKEN: Final = re.compile(
    r'("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b'
)


def masked(value: Any, hidden: re.Pattern[str]) -> Any:
    """Return a JSON value with a mask in place of what stands under a hidden key."""
    if isinstance(value, dict):
        return {
            key: MASK if item is not None and _is_hidden(key, hidden) else masked(item, hidden)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item, hidden) for item in value]
    return value


def _is_hidden(key: str, hidden: re.Pattern[str]) -> bool:
    return hidden.search(_CAMEL.sub("_", key)) is not None


def pretty(value: Any) -> str:
    """Return JSON as people read it, line by line."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def highlighted(value: Any) -> SafeString:
    """Return a value as coloured JSON; a very long one is cut, and says so."""
    text = pretty(value)
    limit = min(len(text), LARGEST_SHOWN)
    parts: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        if match.end() > limit:
            break
        parts += (escape(text[end : match.start()]), _coloured(match))
        end = match.end()
    parts.append(escape(text[end:limit]))
    if rest := len(text) - limit:
        more = number_format(rest, force_grouping=True)
        parts.append(format_html('\n<span class="ow-cut">… +{}</span>', more))
    return mark_safe("".join(parts))  # noqa: S308 - each part was escaped above


def _coloured(match: re.Match[str]) -> SafeString:
    text, colon, number, word = match.groups()
    if text and colon:
        return format_html('<span class="ow-key">{}</span>{}', text, colon)
    kind = "ow-text" if text else "ow-number" if number else "ow-word"
    return format_html('<span class="{}">{}</span>', kind, text or number or word)
