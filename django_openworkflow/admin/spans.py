"""How long something took, in few words: ``2.7 s``, ``2 m 28 s``, ``4 d 3 h``."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.utils.formats import number_format

NOTHING: Final = "\N{EN DASH}"
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_UNITS: Final = (  # a unit, the next smaller one, and their lengths
    ("d", "h", timedelta(days=1), timedelta(hours=1)),
    ("h", "m", timedelta(hours=1), _MINUTE),
    ("m", "s", _MINUTE, _SECOND),
)
_TENTHS_UP_TO: Final = 60


def span_text(span: timedelta | None) -> str:
    """Return a span in its two longest units, in the active language; a dash for None."""
    if span is None:
        return NOTHING
    span = max(span, timedelta())
    if timedelta() < span < _SECOND:
        return f"{span // timedelta(milliseconds=1)} ms"
    tenths = round(span / _SECOND, 1)
    if tenths < _TENTHS_UP_TO:
        return f"{number_format(tenths, decimal_pos=0 if tenths.is_integer() else 1)} s"
    for unit, smaller, length, smaller_length in _UNITS:
        if span >= length:
            whole, rest = divmod(span, length)
            return f"{whole} {unit} {rest // smaller_length} {smaller}".removesuffix(
                f" 0 {smaller}"
            )
    return "1 m"  # what is above 59.95 seconds
