"""Columns that several tables have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_openworkflow.serialization import PayloadDecoder, PayloadEncoder

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


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


class SignalAddress(models.Func):
    """The address in a signal wait's context, written so that the partial index can serve it.

    Django's own key transform has a form on SQLite that varies from process to process.
    """

    output_field = models.TextField()

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, Any]:
        """Render with the operator that the original uses."""
        return self.as_sql(compiler, connection, template="(%(expressions)s ->> 'signal')", **extra)

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, Any]:
        """Render for SQLite."""
        template = "JSON_EXTRACT(%(expressions)s, '$.signal')"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, Any]:
        """Render for MariaDB and MySQL."""
        template = "JSON_UNQUOTE(JSON_EXTRACT(%(expressions)s, '$.signal'))"
        return self.as_sql(compiler, connection, template=template, **extra)
