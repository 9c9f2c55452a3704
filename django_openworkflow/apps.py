"""The app: registers its checks and discovers every installed app's ``workflows`` module."""

import sys
from typing import Final

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

# This command imports the modules one by one itself, to say which of them cannot be imported.
_DOCTOR: Final = "workflowdoctor"


class OpenWorkflowConfig(AppConfig):
    """Durable workflows."""

    name = "django_openworkflow"
    verbose_name = _("Workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Load definitions, as ``django.contrib.admin`` loads ``admin`` modules."""
        from django_openworkflow import checks  # noqa: F401 - registers the checks

        if sys.argv[1:2] != [_DOCTOR]:
            autodiscover_modules("workflows")
