"""``manage.py createinteropviews``: let the original's npm package work on our tables."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError
from django.db import connections, transaction

from django_openworkflow import conf
from django_openworkflow.management.command import WorkflowCommand
from django_openworkflow.management.interop import (
    DEFAULT_SCHEMA,
    FIND_HOME,
    FIND_RELATIONS,
    TABLE_KINDS,
    VIEW_KINDS,
    VIEWS,
    InteropViews,
    quoted,
)
from django_openworkflow.management.interop_move import move_statements
from django_openworkflow.models import WorkflowRun


class Command(WorkflowCommand):
    help = (
        "Creates the views through which clients and workers of the TypeScript package "
        "openworkflow share the workflow tables of this project, on PostgreSQL. Safe to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--schema",
            default=DEFAULT_SCHEMA,
            metavar="NAME",
            help="where the views are to be (default: %(default)s, as the package expects)",
        )
        parser.add_argument(
            "--grant-to",
            action="append",
            default=[],
            metavar="ROLE",
            help="let this role use the views and nothing else; may be repeated",
        )
        parser.add_argument(
            "--move-from",
            metavar="SCHEMA",
            help="copy the rows of the package's own tables in this schema, which is renamed",
        )
        parser.add_argument(
            "--no-guard",
            dest="guard",
            action="store_false",
            help="let foreign workers claim, and put back, runs that they do not know",
        )
        parser.add_argument(
            "--drop", action="store_true", help="take the views away; no row is lost"
        )
        parser.add_argument(
            "--sql", action="store_true", help="print the statements and change nothing"
        )
        parser.add_argument("--database", help="alias of the database with the workflow tables")

    def handle(self, *args: Any, **options: Any) -> None:
        using = _database(options["database"])
        views = InteropViews(
            home=_home(using),
            schema=options["schema"],
            guard=options["guard"],
            roles=options["grant_to"],
        )
        if options["move_from"] and options["drop"]:
            message = "--move-from and --drop exclude each other."
            raise CommandError(message)
        if options["sql"]:
            self._print(views, options)
            return
        _check_schemas(views.schema, options["move_from"], using)
        if options["drop"]:
            found = _relations(views.schema, using, VIEW_KINDS)
            _execute(views.drop_statements(), using)
            what = "Dropped the views of schema" if found else "There are no views in schema"
            self._tell(f'{what} "{views.schema}".', options)
            return
        concurrently = not connections[using].in_atomic_block
        _execute(views.index_statements(concurrently=concurrently), using, together=False)
        _execute(_statements(views, options), using)
        self._tell(f'Created the views of schema "{views.schema}".', options)

    def _tell(self, line: str, options: dict[str, Any]) -> None:
        if options["verbosity"]:
            self.stdout.write(line)

    def _print(self, views: InteropViews, options: dict[str, Any]) -> None:
        apart = [] if options["drop"] else views.index_statements(concurrently=True)
        together = views.drop_statements() if options["drop"] else _statements(views, options)
        for statement in (*apart, "BEGIN", *together, "COMMIT"):
            self.stdout.write(f"{statement};\n")


def _database(alias: str | None) -> str:
    using = alias or conf.get_settings().DATABASE
    if using not in connections:
        message = f"There is no database {using!r} in DATABASES."
        raise CommandError(message)
    if connections[using].vendor != "postgresql":
        kind = connections[using].display_name
        message = f'This needs PostgreSQL; the database "{using}" is {kind}.'
        raise CommandError(message)
    return using


def _home(using: str) -> str:
    """Return the schema of our tables: not every reader of the statements has our search path."""
    with connections[using].cursor() as cursor:
        cursor.execute(FIND_HOME, [quoted(WorkflowRun._meta.db_table)])
        found = cursor.fetchone()
    if found is None:
        message = f'The database "{using}" has no workflow tables: run "manage.py migrate" first.'
        raise CommandError(message)
    home: str = found[0]
    return home


def _statements(views: InteropViews, options: dict[str, Any]) -> list[str]:
    if (source := options["move_from"]) is not None:
        return move_statements(views, source)
    return views.create_statements()


def _check_schemas(schema: str, source: str | None, using: str) -> None:
    if source is not None and len(_relations(source, using, TABLE_KINDS)) < len(VIEWS):
        message = f'Schema "{source}" does not have the package\'s tables: nothing to move.'
        raise CommandError(message)
    tables = [] if source == schema else _relations(schema, using, TABLE_KINDS)
    if tables:
        message = (
            f'Schema "{schema}" has tables of its own where views should be: {", ".join(tables)}. '
            "Choose another --schema, or move them with --move-from."
        )
        raise CommandError(message)


def _relations(schema: str, using: str, kinds: Sequence[str]) -> list[str]:
    with connections[using].cursor() as cursor:
        cursor.execute(FIND_RELATIONS, [schema, list(VIEWS), list(kinds)])
        return [f'"{name}"' for (name,) in cursor.fetchall()]


def _execute(statements: list[str], using: str, *, together: bool = True) -> None:
    if together:
        with transaction.atomic(using=using):
            _execute(statements, using, together=False)
        return
    with connections[using].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
