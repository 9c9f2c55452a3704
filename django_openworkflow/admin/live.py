"""Pages that keep up with what happens: parts of them, asked for again while somebody looks.

A part has an ETag of its own. The script asks with the one it has, and as long as nothing would
look different the answer is 304 and nothing is rendered.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseNotAllowed, HttpResponseNotModified
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone
from django.utils.translation import get_language

from django_openworkflow import clock
from django_openworkflow.admin.detail import fingerprint
from django_openworkflow.admin.overview import overview_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.http import HttpRequest
    from django.urls import URLPattern

    from django_openworkflow.admin.runs import WorkflowRunAdmin

_READ = ("GET", "HEAD")
_SECONDS = 10  # after which the times of an unchanged list are told anew


class LivePages:
    """The addresses of the parts: of the list, of a run, of the overview."""

    def get_urls(self: Any) -> list[URLPattern]:
        """Add the parts before what the admin has."""
        routes: list[tuple[str, Callable[..., Any], str]] = [
            ("live/", _list_part, "live_list"),
            ("live/overview/", _overview_part, "live_overview"),
            ("live/<uuid:object_id>/", _run_part, "live_run"),
        ]
        urls: list[URLPattern] = super().get_urls()  # type: ignore[misc]
        return [*(self._live_url(*route) for route in routes), *urls]

    def _live_url(self: Any, route: str, part: Callable[..., Any], name: str) -> URLPattern:
        def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            if request.method not in _READ:
                return HttpResponseNotAllowed(_READ)
            if not self.has_view_permission(request):
                raise PermissionDenied
            request.current_app = self.admin_site.name
            response: HttpResponse = part(self, request, **kwargs)
            return response

        url: URLPattern = path(route, self.admin_site.admin_view(view), name=self.url_name(name))
        return url

    def live_context(self, url: str, request: HttpRequest) -> dict[str, str]:
        """Return where a page asks for its parts: with the query that it was asked with."""
        query = request.GET.urlencode()
        return {"live_url": f"{url}?{query}" if query else url}


def _run_part(admin: WorkflowRunAdmin, request: HttpRequest, object_id: UUID) -> HttpResponse:
    run = admin.get_object(request, str(object_id))
    if run is None or not admin.has_view_permission(request, run):
        raise Http404
    seen = fingerprint(run, timezone.now() + clock.offset())
    return _answer(
        admin,
        request,
        seen,
        "live_run.html",
        lambda: {"page": admin.run_context(request, run)},
    )


def _list_part(admin: WorkflowRunAdmin, request: HttpRequest) -> HttpResponse:
    """Answer with the rows, and with what counts them: all that the list itself would show."""
    page = admin.changelist_view(request)
    context = getattr(page, "context_data", None) or {}
    if "cl" not in context:  # sent elsewhere, as the query is nonsense
        raise Http404
    changelist = context["cl"]
    rows = [(run.pk, run.updated_at, run.status) for run in changelist.result_list]
    now = int(timezone.now().timestamp()) // _SECONDS
    seen = repr((rows, changelist.result_count, now))
    return _answer(admin, request, seen, "live_list.html", lambda: context)


def _overview_part(admin: WorkflowRunAdmin, request: HttpRequest) -> HttpResponse:
    context = overview_context(admin, request)
    seen = context["fingerprint"]
    return _answer(admin, request, seen, "live_overview.html", lambda: context)


def _answer(
    admin: WorkflowRunAdmin,
    request: HttpRequest,
    seen: str,
    template: str,
    context: Callable[[], dict[str, Any]],
) -> HttpResponse:
    """Answer 304 to whoever has seen this already, else render it.

    The user and the query belong to what was seen: buttons differ, and so do languages.
    """
    facts = (seen, request.user.pk, request.get_full_path(), get_language())
    etag = f'"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    body = render_to_string(admin.templates(template), {"opts": admin.opts, **context()}, request)
    return HttpResponse(body, headers={"ETag": etag})
