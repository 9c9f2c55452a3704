"""Settings: defaults, overrides, and a clear word for everything that is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_openworkflow import conf

if TYPE_CHECKING:
    from pytest_django import Settings

DEFAULTS = {
    "DATABASE": "default",
    "NAMESPACE": "default",
    "CONCURRENCY": 10,
    "LEASE_SECONDS": 30,
    "POLL_SECONDS": (0.1, 1.0),
    "STEP_LIMIT": 1000,
    "MAX_PAYLOAD_BYTES": 1_048_576,
    "MAX_CRASHES": 5,
}


def in_force() -> dict[str, Any]:
    """Return all settings in force."""
    settings = conf.get_settings()
    return {key: getattr(settings, key) for key in conf.KEYS}


@pytest.mark.parametrize("given", [{}, None])
def test_without_the_setting_all_is_as_the_contract_says(settings: Settings, given: Any) -> None:
    settings.OPENWORKFLOW = given

    assert in_force() == DEFAULTS


def test_the_setting_may_be_missing_altogether(settings: Settings) -> None:
    settings.OPENWORKFLOW = {}
    del settings.OPENWORKFLOW

    assert in_force() == DEFAULTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NAMESPACE", "shop of Zürich"),
        ("NAMESPACE", "n" * 255),
        ("CONCURRENCY", 1),
        ("CONCURRENCY", 10_000),
        ("LEASE_SECONDS", 0.5),
        ("LEASE_SECONDS", 86_400),
        ("POLL_SECONDS", (0.001, 3600.0)),
        ("POLL_SECONDS", (1.0, 1.0)),
        ("STEP_LIMIT", 1),
        ("MAX_PAYLOAD_BYTES", 64),
        ("MAX_CRASHES", 1),
    ],
)
def test_a_value_within_its_limits_is_in_force_and_the_rest_is_default(
    settings: Settings, key: str, value: Any
) -> None:
    settings.OPENWORKFLOW = {key: value}

    assert in_force() == {**DEFAULTS, key: value}
    assert conf.problems() == []


def test_poll_seconds_may_be_a_list_of_whole_numbers(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"POLL_SECONDS": [1, 2]}

    assert conf.get_settings().POLL_SECONDS == (1.0, 2.0)


WRONG: list[tuple[str, list[Any]]] = [
    ("DATABASE", ["", None, 7, b"default"]),
    ("DATABASE", ["no-such-alias"]),
    ("NAMESPACE", ["", "n" * 256, "two\nlines", "nul\x00", "lone\ud800", None, 7]),
    ("CONCURRENCY", [0, -1, 10_001, 1.0, True, "10", None, math.nan, 10**400]),
    ("LEASE_SECONDS", [0.49, 86_401, math.nan, math.inf, True, "30", None, 10**400]),
    ("POLL_SECONDS", [(1, 0.5), (0, 1), (1,), (1, 2, 3), 1, "12", (1, math.nan), (1, 3601), None]),
    ("STEP_LIMIT", [0, 1_000_001, 1.5]),
    ("MAX_PAYLOAD_BYTES", [63, 1_073_741_825, "1MB"]),
    ("MAX_CRASHES", [0, -1, False]),
]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(key, value, id=f"{key}-{ascii(value)[:20]}")
        for key, values in WRONG
        for value in values
    ],
)
def test_a_value_out_of_its_limits_is_named_and_refused(
    settings: Settings, key: str, value: Any
) -> None:
    settings.OPENWORKFLOW = {key: value}

    ((named, sentence),) = conf.problems()
    assert named == key
    assert sentence.startswith(f"OPENWORKFLOW['{key}'] must be ")
    with pytest.raises(ImproperlyConfigured, match=rf"OPENWORKFLOW\['{key}'\] must be "):
        conf.get_settings()


@pytest.mark.parametrize("key", ["concurrency", "LEASE", "", 7, None, ("a",)], ids=repr)
def test_an_unknown_key_is_named_and_refused(settings: Settings, key: Any) -> None:
    settings.OPENWORKFLOW = {key: 1}

    assert conf.problems() == [(str(key), f"OPENWORKFLOW has no key {key!r}.")]
    with pytest.raises(ImproperlyConfigured, match="OPENWORKFLOW has no key"):
        conf.get_settings()


@pytest.mark.parametrize(
    "given", [["CONCURRENCY"], "CONCURRENCY", 7, object, [], "", 0, False], ids=repr
)
def test_a_setting_that_is_no_dictionary_is_refused(settings: Settings, given: Any) -> None:
    settings.OPENWORKFLOW = given

    assert conf.problems() == [
        ("", f"OPENWORKFLOW must be a dictionary, not {type(given).__name__}.")
    ]
    with pytest.raises(ImproperlyConfigured, match="must be a dictionary"):
        conf.get_settings()


def test_a_changed_setting_is_in_force_at_once(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"NAMESPACE": "one"}
    assert conf.namespace() == "one"
    settings.OPENWORKFLOW = {"NAMESPACE": "two"}

    assert conf.namespace() == "two"


def test_other_settings_leave_ours_alone(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"NAMESPACE": "one"}
    settings.USE_THOUSAND_SEPARATOR = True

    assert conf.namespace() == "one"
