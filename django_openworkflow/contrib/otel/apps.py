"""The app that lets the tracer look on."""

from __future__ import annotations

from importlib.util import find_spec

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from django_openworkflow import instrumentation


class OtelConfig(AppConfig):
    """Has no models: its ``ready`` is all there is."""

    name = "django_openworkflow.contrib.otel"
    label = "django_openworkflow_otel"
    verbose_name = _("Traces of workflow runs")

    def ready(self) -> None:
        """Begin to trace, if the API is installed."""
        if find_spec("opentelemetry") is not None:
            from django_openworkflow.contrib.otel.spans import Tracing

            instrumentation.install(Tracing())
