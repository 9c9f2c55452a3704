"""``DATABASE_URL``: what it may say, and what it must not say aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from testproject.databases import from_url

DEFAULT = Path("/somewhere/db.sqlite3")


def parse(url: str) -> dict[str, object]:
    return from_url(url, default_sqlite_path=DEFAULT)


class TestSQLite:
    def test_an_empty_url_is_the_default_file(self) -> None:
        database = parse("")
        assert database["ENGINE"] == "django.db.backends.sqlite3"
        assert database["NAME"] == str(DEFAULT)

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:////var/lib/shop.sqlite3", "/var/lib/shop.sqlite3"),
            ("sqlite:////var/lib/my%20shop.sqlite3", "/var/lib/my shop.sqlite3"),
            ("sqlite:///shop.sqlite3", os.path.abspath("shop.sqlite3")),
            ("sqlite:///data/shop.sqlite3", os.path.abspath("data/shop.sqlite3")),
        ],
    )
    def test_the_path_is_absolute_or_relative_to_the_working_directory(
        self, url: str, path: str
    ) -> None:
        assert parse(url)["NAME"] == path

    def test_writers_queue_up_instead_of_failing(self) -> None:
        assert parse("")["OPTIONS"] == {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }

    def test_the_test_database_is_a_file_of_this_process(self) -> None:
        database = parse("")
        assert isinstance(database["TEST"], dict)
        test_name = Path(database["TEST"]["NAME"])
        assert test_name.is_absolute()
        assert str(os.getpid()) in test_name.name
        assert str(test_name) != database["NAME"]

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite://",
            "sqlite:///",
            "sqlite://:memory:",
            "sqlite:///:memory:",
            "sqlite://shop.sqlite3",
            "sqlite:///shop.sqlite3?timeout=5",
        ],
    )
    def test_no_file_is_an_error(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="must name a file"):
            parse(url)


class TestPostgreSQL:
    @pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
    def test_every_part_arrives(self, scheme: str) -> None:
        assert parse(f"{scheme}://ann:s%40fe@db.example:6432/shop?sslmode=require") == {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "shop",
            "USER": "ann",
            "PASSWORD": "s@fe",
            "HOST": "db.example",
            "PORT": "6432",
            "OPTIONS": {"sslmode": "require"},
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
        }

    def test_a_socket_folder_may_be_the_host(self) -> None:
        database = parse("postgresql://postgres@/postgres?host=%2Frun%2Fmy%20server&port=5432")
        assert database["HOST"] == "/run/my server"
        assert database["PORT"] == "5432"
        assert database["OPTIONS"] == {}

    def test_without_a_name_the_database_is_the_users(self) -> None:
        assert parse("postgres://ann@db.example/")["NAME"] == "ann"

    def test_a_service_may_name_the_database(self) -> None:
        database = parse("postgres:///?service=shop")
        assert database["NAME"] == ""
        assert database["OPTIONS"] == {"service": "shop"}

    @pytest.mark.parametrize("url", ["postgres://", "postgresql://db.example/"])
    def test_neither_name_nor_user_is_an_error(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="must name a database"):
            parse(url)

    @pytest.mark.parametrize(
        "url",
        [
            "postgres://ann:hunter2@db.example:6432/shop?colour=red",
            "postgres://ann:hunter2@[db.example/shop",
            "postgres://ann:hunter2%zz@db.example/shop",
        ],
    )
    def test_a_malformed_url_is_an_error_that_keeps_the_password(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="not a valid PostgreSQL URL") as caught:
            parse(url)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ann:hunter2@db.example/shop",
        "embedded-postgres://elsewhere",
        "embedded-postgres:/",
        "postgres:shop",
        "POSTGRES://ann@db.example/shop",
        "db.sqlite3",
        " ",
    ],
)
def test_any_other_url_is_one_clear_sentence(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        parse(url)
    message = str(caught.value)
    assert message.startswith("DATABASE_URL must be empty or look like")
    assert message.count(". ") == 0
    assert "hunter2" not in message
