"""``path("metrics/", include("django_openworkflow.contrib.prometheus.urls"), {"token": …})``."""

from __future__ import annotations

from django.urls import path

from django_openworkflow.contrib.prometheus.scraping import meters
from django_openworkflow.contrib.prometheus.views import metrics

meters()  # a web process measures what it does from here on, not from the first scrape

urlpatterns = [path("", metrics, name="openworkflow-metrics")]
