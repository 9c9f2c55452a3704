"""The page that Prometheus scrapes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from django_openworkflow.contrib.prometheus.scraping import new_registry

if TYPE_CHECKING:
    from django.http import HttpRequest
    from prometheus_client import CollectorRegistry


@never_cache
@require_safe
def metrics(request: HttpRequest, *, token: str | None = None) -> HttpResponse:
    """Answer whoever carries the token, as a bearer, and members of the staff; 401 for others."""
    if not (_carries(request, token) or _is_staff(request)):
        return HttpResponse(
            "Metrics need the token or a member of the staff.\n",
            status=401,
            content_type="text/plain; charset=utf-8",
            headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
        )
    encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encoder(_registry()), content_type=content_type)


@cache
def _registry() -> CollectorRegistry:
    return new_registry()


def _carries(request: HttpRequest, token: str | None) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if not token or scheme.lower() != "bearer":
        return False
    return constant_time_compare(given.strip(), token)


def _is_staff(request: HttpRequest) -> bool:
    user: Any = getattr(request, "user", None)  # there is none without the middleware
    return bool(user is not None and user.is_active and user.is_staff)
