"""The optional ``OPENWORKFLOW`` setting: defaults, limits, and lazy typed access."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

if TYPE_CHECKING:
    from collections.abc import Callable

SETTING: Final = "OPENWORKFLOW"
_LONGEST_NAMESPACE: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All keys with their defaults; spans are in seconds."""

    DATABASE: str = "default"
    NAMESPACE: str = "default"
    CONCURRENCY: int = 10
    LEASE_SECONDS: float = 30
    POLL_SECONDS: tuple[float, float] = (0.1, 1.0)
    STEP_LIMIT: int = 1000
    MAX_PAYLOAD_BYTES: int = 1_048_576
    MAX_CRASHES: int = 5


def _is_number(value: Any, lowest: float, highest: float) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and lowest <= value <= highest
    )


def _whole(lowest: int, highest: int) -> tuple[Callable[[Any], bool], str]:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and _is_number(value, lowest, highest)

    return holds, f"a whole number from {lowest} to {highest}"


def _is_alias(value: Any) -> bool:
    return isinstance(value, str) and value in getattr(django_settings, "DATABASES", {})


def _is_namespace(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAMESPACE and value.isprintable()


def _is_poll_range(value: Any) -> bool:
    return (
        isinstance(value, tuple | list)
        and [_is_number(item, 0.001, 3600) for item in value] == [True, True]
        and value[0] <= value[1]
    )


RULES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "DATABASE": (_is_alias, "an alias in DATABASES"),
    "NAMESPACE": (_is_namespace, f"printable text of 1 to {_LONGEST_NAMESPACE} characters"),
    "CONCURRENCY": _whole(1, 10_000),
    "LEASE_SECONDS": (lambda value: _is_number(value, 0.5, 86_400), "a number from 0.5 to 86400"),
    "POLL_SECONDS": (_is_poll_range, "two numbers, first and longest pause, 0.001 to 3600"),
    "STEP_LIMIT": _whole(1, 1_000_000),
    "MAX_PAYLOAD_BYTES": _whole(64, 1_073_741_824),
    "MAX_CRASHES": _whole(1, 1_000_000),
}


def _given() -> Any:
    given = getattr(django_settings, SETTING, None)
    return {} if given is None else given


def problems() -> list[tuple[str, str]]:
    """List what is wrong with the setting as (key, sentence); empty when all is well."""
    given = _given()
    if not isinstance(given, dict):
        return [("", f"{SETTING} must be a dictionary, not {type(given).__name__}.")]
    found = []
    for key, value in given.items():
        if key not in RULES:
            found.append((str(key), f"{SETTING} has no key {key!r}."))
        elif not RULES[key][0](value):
            found.append((key, f"{SETTING}[{key!r}] must be {RULES[key][1]}, not {value!r}."))
    return found


_loaded: Settings | None = None


def get_settings() -> Settings:
    """Return the settings in force; raises ``ImproperlyConfigured`` for a wrong key or value."""
    global _loaded
    if _loaded is None:
        if found := problems():
            raise ImproperlyConfigured(" ".join(sentence for _, sentence in found))
        given = dict(_given())
        if "POLL_SECONDS" in given:
            first, longest = given["POLL_SECONDS"]
            given["POLL_SECONDS"] = (float(first), float(longest))
        _loaded = Settings(**given)
    return _loaded


def namespace() -> str:
    """Return the namespace of this project: the default of every row's ``namespace_id``."""
    return get_settings().NAMESPACE


def _forget(*, setting: str, **_kwargs: object) -> None:
    global _loaded
    if setting == SETTING:
        _loaded = None


setting_changed.connect(_forget, dispatch_uid="django_openworkflow.conf")

KEYS: Final = tuple(field.name for field in fields(Settings))
