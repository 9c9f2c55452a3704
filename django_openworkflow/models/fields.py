"""Columns that several tables have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_openworkflow.serialization import PayloadDecoder, PayloadEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class OneOf(models.Func):
    """Whether a column is one of a few texts, in few words.

    For check constraints: PostgreSQL parses and folds them anew for every statement that writes a
    row, and Django's ``IN`` is an array that it has to build from its members each time.
    """

    output_field = models.BooleanField()

    def __init__(self, column: str, texts: Sequence[str]) -> None:
        """Take the name of the column, and words."""
        self.constant = f"'{{{','.join(texts)}}}'::text[]"
        members = ", ".join(f"'{text}'" for text in texts)
        super().__init__(column, template=f"%(expressions)s IN ({members})")

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, Any]:
        """Render as one constant, which is parsed when the constraint is made."""
        template = f"%(expressions)s = ANY ({self.constant})"
        return self.as_sql(compiler, connection, template=template, **extra)
