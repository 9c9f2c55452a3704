"""What people type after a command's options: each type refuses with one clear sentence."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any, Final

from django_openworkflow import json_text
from django_openworkflow.durations import to_timedelta
from django_openworkflow.exceptions import InvalidDuration, InvalidInput
from django_openworkflow.management.output import one_line

MOST: Final = 10_000
_LONGEST_SECONDS: Final = 86_400


def positive(text: str) -> int:
    """Parse a whole number above zero."""
    if text.isdecimal() and len(text) <= len(str(MOST)) and 0 < int(text) <= MOST:
        return int(text)
    message = f"must be a whole number from 1 to {MOST}, not {text!r}"
    raise ArgumentTypeError(message)


def seconds(text: str) -> float:
    """Parse a span in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value <= _LONGEST_SECONDS:
        return value
    message = f"must be seconds from 0 to {_LONGEST_SECONDS}, not {text!r}"
    raise ArgumentTypeError(message)


def names(text: str) -> list[str]:
    """Parse a list of names with commas between them."""
    found = [name.strip() for name in text.split(",")]
    if all(found):
        return found
    message = f"must be names with commas between them, not {text!r}"
    raise ArgumentTypeError(message)


def duration(text: str) -> timedelta:
    """Parse a duration such as ``90s`` or ``7d``."""
    try:
        return to_timedelta(text)
    except InvalidDuration as error:
        raise ArgumentTypeError(one_line(str(error))) from None


def stored_text(text: str) -> str:
    """Take text to compare with what is stored; the other clients may store unprintable names."""
    if text and "\x00" not in text and text == text.encode(errors="ignore").decode():
        return text
    message = f"must be text that a database can store, not {text!r}"
    raise ArgumentTypeError(message)


def parse_json(text: str, option: str) -> Any:
    """Parse the JSON given to ``option``; raises ``InvalidInput`` that names the place in it."""
    try:
        return json_text.read(text)
    except ValueError as error:
        message = f"{option} is not valid JSON: {one_line(str(error))}"
        raise InvalidInput(message) from None
