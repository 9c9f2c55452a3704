"""System checks: wrong settings are named when the project starts, all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

if TYPE_CHECKING:
    from django.core.checks import CheckMessage
    from pytest_django import Settings


def ours() -> list[CheckMessage]:
    """Run all of Django's checks and return what ours have to say."""
    return [found for found in run_checks() if str(found.id).startswith("django_openworkflow.")]


@pytest.mark.parametrize("given", [{}, None, {"CONCURRENCY": 50, "NAMESPACE": "shop"}])
def test_good_settings_pass(settings: Settings, given: Any) -> None:
    settings.OPENWORKFLOW = given

    assert ours() == []


def test_every_wrong_key_and_value_is_named_at_once(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"CONCURENCY": 5, "LEASE_SECONDS": 0, "STEP_LIMIT": 10}

    found = ours()
    assert [message.msg for message in found] == [
        "OPENWORKFLOW has no key 'CONCURENCY'.",
        "OPENWORKFLOW['LEASE_SECONDS'] must be a number from 0.5 to 86400, not 0.",
    ]
    assert {message.id for message in found} == {"django_openworkflow.E001"}
    assert all(message.is_serious() for message in found)
    assert "CONCURRENCY, LEASE_SECONDS" in (found[0].hint or "")
    assert found[1].hint == "Without the key it is 30."


def test_the_check_command_fails_with_the_sentence(settings: Settings) -> None:
    settings.OPENWORKFLOW = {"MAX_CRASHES": "many"}

    with pytest.raises(SystemCheckError, match=r"OPENWORKFLOW\['MAX_CRASHES'\] must be a whole"):
        call_command("check")


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        (["admin_actions", "django.contrib.admin"], ["django_openworkflow.W005"]),
        (["django.contrib.admin", "admin_actions"], []),
        (["django.contrib.admin"], []),
    ],
)
def test_a_package_that_takes_over_toolbars_is_named(
    settings: Settings, apps: list[str], expected: list[str]
) -> None:
    others = [app for app in settings.INSTALLED_APPS if app != "django.contrib.admin"]
    with override_settings(INSTALLED_APPS=[*apps, *others]):
        assert [message.id for message in ours()] == expected


@pytest.mark.parametrize("given", ["shop", ["CONCURRENCY"], {1: 2}, [], "", 0, False], ids=repr)
def test_a_setting_of_the_wrong_shape_is_a_message_and_no_traceback(
    settings: Settings, given: Any
) -> None:
    settings.OPENWORKFLOW = given

    assert len(ours()) == 1
