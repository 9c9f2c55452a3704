"""Where the tests scrape."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path(
        "metrics/",
        include("django_openworkflow.contrib.prometheus.urls"),
        {"token": "a-long-token"},
    ),
    path("open/", include("django_openworkflow.contrib.prometheus.urls")),
]
