"""The app: registers its checks and discovers every installed app's ``workflows`` module."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class OpenWorkflowConfig(AppConfig):
    """Durable workflows."""

    name = "django_openworkflow"
    verbose_name = _("Workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Load definitions, as ``django.contrib.admin`` loads ``admin`` modules."""
        from django_openworkflow import checks  # noqa: F401 - registers the checks

        autodiscover_modules("workflows")
