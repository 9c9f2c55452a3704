"""System checks: settings that would fail later are named when the project starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error, register

from django_openworkflow import conf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig


@register("openworkflow")
def check_settings(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """E001: an unknown key or a value out of range in ``OPENWORKFLOW``."""
    hint = f"Known keys: {', '.join(conf.KEYS)}."
    return [
        Error(sentence, hint=hint, id="django_openworkflow.E001") for _, sentence in conf.problems()
    ]
