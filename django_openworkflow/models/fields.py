"""Columns that several tables have."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_openworkflow.serialization import PayloadDecoder, PayloadEncoder


def payload_field(verbose_name: Any) -> models.JSONField[Any, Any]:
    """Return a column for a value of the user's: NULL for none."""
    return models.JSONField(
        verbose_name, null=True, blank=True, encoder=PayloadEncoder, decoder=PayloadDecoder
    )


def empty_config() -> models.JSONField[Any, Any]:
    """Return the original's ``config`` column: always an empty object."""
    return models.JSONField(
        _("configuration"), default=dict, db_default=models.Value({}, models.JSONField())
    )
