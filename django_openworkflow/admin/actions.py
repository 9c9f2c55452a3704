"""Buttons on a run's row and page: django-admin-actions, made safe. Nothing else imports it.

Of that package we use the declarative attributes and the routes. Around them: ids are UUIDs, URL
names are those of this model and admin site, a GET shows a form and changes nothing, a POST acts,
and permissions are checked by the view. None of its templates, styles and context is used, so it
works whether or not ``admin_actions`` is in ``INSTALLED_APPS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from django_openworkflow.admin.badges import run_badge
from django_openworkflow.admin.pages import WorkflowModelAdmin

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponseBase
    from django.urls import URLPattern

    class ActionsModelAdmin(WorkflowModelAdmin):
        """What the package, which has no types, adds to a ModelAdmin."""

        actions_list: ClassVar[Sequence[str]]
        actions_row: ClassVar[Sequence[str]]
        actions_detail: ClassVar[Sequence[str]]
else:
    from admin_actions.admin import ActionsModelAdmin

_Method = TypeVar("_Method", bound=Callable[..., Any])
METHODS = ("GET", "HEAD", "POST")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a method of an admin offers. Read as its attribute ``action``.

    ``permissions``: any of them is enough, as in ``admin.action``. ``is_available``: whether there
    is any sense in it for this object; the database decides when it is done.
    """

    title: Any
    permissions: Sequence[str]
    form: type[forms.Form]
    template: str
    is_available: Callable[[Any], bool] = lambda _obj: True
    is_danger: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A link to the page of an action."""

    name: str
    title: str
    url: str
    is_danger: bool


def object_action(**options: Any) -> Callable[[_Method], _Method]:
    """Make a method ``(request, obj, form) -> response`` an action; see ``Action``."""
    action = Action(**options)

    def decorate(method: _Method) -> _Method:
        method.action = action  # type: ignore[attr-defined]
        method.short_description = action.title  # type: ignore[attr-defined]
        return method

    return decorate


class GuardedActionsAdmin(ActionsModelAdmin, WorkflowModelAdmin):
    """Names object actions in ``actions_row`` and ``actions_detail``, pages in ``actions_list``.

    A method of ``actions_list`` is a view of its own, ``(request) -> response``, guarded by
    ``list_permissions`` of that name.
    """

    list_permissions: ClassVar[dict[str, str]] = {}
    Media = None  # else a subclass inherits the package's, whose file is not there

    @property
    def media(self) -> forms.Media:
        """A ModelAdmin's own media and ours."""
        ours = forms.Media(
            css={"all": ["django_openworkflow/admin.css"]}, js=["django_openworkflow/admin.js"]
        )
        return super(ActionsModelAdmin, self).media + ours

    # --- routes ---------------------------------------------------------------------------------

    def url_name(self, name: str) -> str:
        """Return the URL name of an action or page, without the site's."""
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def url_of(self, name: str, *args: object) -> str:
        """Return the address of an action or page on this site."""
        name = f"admin:{self.url_name(name)}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def get_urls(self) -> list[URLPattern]:
        """Take the package's routes and put the guard in front of each."""
        on_objects = {*self.actions_row, *self.actions_detail}
        urls, seen = [], set()
        for url in super().get_urls():
            name = url.name or ""
            if name in seen:  # one action may be on rows and on pages
                continue
            if name in on_objects:
                seen.add(name)
                route = str(url.pattern).replace("<int:pk>", "<uuid:object_id>").rstrip("/")
                view = partial(self._object_action_view, name=name)
                urls.append(self._guarded(f"actions/{route}/", view, name))
            elif name in self.actions_list:
                view = partial(self._list_action_view, name=name)
                urls.append(self._guarded(f"{url.pattern}/", view, name))
            else:
                urls.append(url)
        return urls

    def _guarded(self, route: str, view: Callable[..., Any], name: str) -> URLPattern:
        return path(route, self.admin_site.admin_view(view), name=self.url_name(name))

    # --- guards ---------------------------------------------------------------------------------

    def may(self, request: HttpRequest, permissions: Iterable[str], obj: Any = None) -> bool:
        """Whether this user may view the object and has any of these permissions."""
        return self.has_view_permission(request, obj) and any(
            getattr(self, f"has_{permission}_permission")(request, obj)
            for permission in permissions
        )

    def _list_action_view(self, request: HttpRequest, *, name: str) -> HttpResponseBase:
        if request.method not in METHODS:
            return HttpResponseNotAllowed(METHODS)
        if not self.may(request, [self.list_permissions[name]]):
            raise PermissionDenied
        response: HttpResponseBase = getattr(self, name)(request)
        return response

    def _object_action_view(
        self, request: HttpRequest, object_id: UUID, *, name: str
    ) -> HttpResponseBase:
        """Show the form on a GET, act on a POST. Who may not is refused before anything is read."""
        if request.method not in METHODS:
            return HttpResponseNotAllowed(METHODS)
        method = getattr(self, name)
        action: Action = method.action
        if not self.may(request, action.permissions):
            raise PermissionDenied
        obj = self.get_object(request, str(object_id))
        if obj is None:
            return self._no_such_object(request, object_id)
        if not self.may(request, action.permissions, obj):
            raise PermissionDenied
        form = self.action_form_for(request, obj, action)
        if request.method == "POST" and form.is_valid():
            response: HttpResponseBase | None = method(request, obj, form)
            if response is not None or form.is_valid():
                return response or HttpResponseRedirect(self.url_back(request, obj))
        return self._action_page(request, obj, name, form)

    def _no_such_object(self: Any, request: HttpRequest, object_id: UUID) -> HttpResponseBase:
        response: HttpResponseBase = self._get_obj_does_not_exist_redirect(
            request, self.opts, str(object_id)
        )
        return response

    def action_form_for(self, request: HttpRequest, obj: Any, action: Action) -> forms.Form:
        """Return the action's form, filled with what was posted."""
        posted = request.POST if request.method == "POST" else None
        return action.form(posted)

    def _action_page(
        self, request: HttpRequest, obj: Any, name: str, form: forms.Form
    ) -> TemplateResponse:
        action: Action = getattr(self, name).action
        context = {
            **self.page_context(request, action.title),
            "subtitle": None,
            "original": obj,
            "badge": run_badge(obj),
            "object_url": self.url_of("change", obj.pk),
            "action": action,
            "action_name": name,
            "is_available": action.is_available(obj),
            "form": form,
            "media": self.media + form.media,
            "back_url": self.url_back(request, obj),
            **self.action_context(request, obj, name),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.templates(action.template), context)

    def action_context(self, request: HttpRequest, obj: Any, name: str) -> dict[str, Any]:
        """Return what a template of one action needs besides; nothing by default."""
        return {}

    def url_back(self, request: HttpRequest, obj: Model) -> str:
        """Return where an action leads back to: the list it was chosen on, or the object's page.

        Only these two: an address is never taken from the request.
        """
        if request.GET.get("back") == "list":
            return self.with_filters(request, self.url_of("changelist"))
        return self.with_filters(request, self.url_of("change", obj.pk))

    # --- buttons --------------------------------------------------------------------------------

    def buttons(
        self, request: HttpRequest, obj: Any, names: Iterable[str], *, back: str = ""
    ) -> list[Button]:
        """Return the actions that make sense for this object and that this user may do."""
        found = []
        for name in names:
            action: Action = getattr(self, name).action
            if action.is_available(obj) and self.may(request, action.permissions, obj):
                query = "?back=list" if back == "list" else ""
                url = self.with_filters(request, self.url_of(name, obj.pk) + query)
                found.append(
                    Button(name=name, title=action.title, url=url, is_danger=action.is_danger)
                )
        return found

    # --- what the package would do without asking -----------------------------------------------

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave out the package's column, which cannot see the request."""
        return super(ActionsModelAdmin, self).get_list_display(request)

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Leave out the package's context, whose names are others' too."""
        return super(ActionsModelAdmin, self).change_view(request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Leave out the package's context, whose names are others' too."""
        return super(ActionsModelAdmin, self).changelist_view(request, *args, **kwargs)
