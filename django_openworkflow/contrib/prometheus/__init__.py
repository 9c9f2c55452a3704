"""Numbers for Prometheus: what the tables say, and what this process does.

Needs the extra ``prometheus``. The tables' numbers are the same from every process; the meters of a
process are its own.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

try:
    import prometheus_client  # noqa: F401 - to say in one line what is missing
except ImportError as error:
    message = 'Metrics need prometheus-client: pip install "django-openworkflow[prometheus]"'
    raise ImproperlyConfigured(message) from error

from django_openworkflow.contrib.prometheus.meters import Meters
from django_openworkflow.contrib.prometheus.tables import TableCollector

__all__ = ["Meters", "TableCollector"]
