"""What every page of this admin has in common: it only shows rows, and it knows its own URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django
from django.contrib.admin import ModelAdmin
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.auth import get_permission_codename
from django.utils.http import urlencode

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest

    _ModelAdmin = ModelAdmin[Any]
else:
    _ModelAdmin = ModelAdmin


def may_view(admin: Any, request: HttpRequest, model: type[Model]) -> bool:
    """Whether a page of this site may lead this user to rows of another model."""
    site = admin.admin_site
    if not site.is_registered(model):
        return False
    return bool(site.get_model_admin(model).has_view_permission(request))


class WorkflowModelAdmin(_ModelAdmin):
    """Shows rows and never edits them: state changes only through the verbs of the querysets.

    ``show_in_index``: whether the model is listed on the index of the admin and in its sidebar.
    """

    show_in_index = True
    show_full_result_count = False  # a count of all rows, for one number
    list_per_page = 50
    list_max_show_all = 200
    actions: Any = ()

    # --- rights ---------------------------------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the model stands in the index, for those who may view it."""
        return self.show_in_index and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits rows by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes rows by hand; ``pruneruns`` does."""
        return False

    def has_own_permission(self, request: HttpRequest, verb: str) -> bool:
        """Whether this user has the permission ``<verb>_<model>`` of this app."""
        codename = get_permission_codename(verb, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    # --- pages ----------------------------------------------------------------------------------

    def page_context(self, request: HttpRequest, title: Any) -> dict[str, Any]:
        """Return what the templates of a page of our own need."""
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "has_list_breadcrumbs": django.VERSION >= (6, 1),
            "preserved_filters": self.get_preserved_filters(request),
        }

    def templates(self, name: str) -> list[str]:
        """Return where a template of this model is looked for; projects may put theirs before."""
        app, model = self.opts.app_label, self.opts.model_name
        return [f"admin/{app}/{model}/{name}", f"admin/{app}/{name}"]

    def with_filters(self, request: HttpRequest, url: str) -> str:
        """Return one of our addresses that remembers how the list was filtered."""
        context: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return add_preserved_filters(context, url)

    def get_preserved_filters(self, request: HttpRequest) -> str:
        """Return the filters of the list, also for the list's own fragment."""
        match = request.resolver_match
        name = f"{self.opts.app_label}_{self.opts.model_name}_live_list"
        if match is not None and match.url_name == name:
            return (
                urlencode({"_changelist_filters": request.GET.urlencode()}) if request.GET else ""
            )
        return super().get_preserved_filters(request)
