"""The settings of the suite, with this app on top."""

from testproject.settings import *  # noqa: F403 - Django reads the names of this module
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.interop.process"]
