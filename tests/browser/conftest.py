"""A browser, a site with a strict policy, and people who are logged in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client, override_settings
from playwright.sync_api import sync_playwright
from pytest_django.live_server_helper import LiveServer

from django_openworkflow.registry import registry
from django_openworkflow.testing import reset_clock
from tests.browser import chromium
from tests.browser.pages import DESKTOP, PATIENCE_SECONDS, Look, Visitor

if TYPE_CHECKING:
    from playwright._impl._api_structures import SetCookieParam
    from playwright.sync_api import Browser

POLICY = "tests.browser.policy.StrictPolicyMiddleware"

Enter = Callable[..., Visitor]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test here its marker, real commits, and time for a slow machine."""
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for one module.

    Playwright keeps an event loop in this thread until it is stopped. Django, which would refuse
    to use the database then, is told that nobody awaits anything here.
    """
    path = chromium.executable()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        with sync_playwright() as playwright:
            found = playwright.chromium.launch(executable_path=path, args=chromium.arguments())
            yield found
            found.close()


@pytest.fixture(scope="module")
def site() -> Iterator[LiveServer]:
    """The demo project's site, whose pages come with the policy."""
    with override_settings(MIDDLEWARE=[POLICY, *settings.MIDDLEWARE]):
        server = LiveServer("127.0.0.1:0")
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def _own_workflows() -> Iterator[None]:
    """Forget what a test defines; what the demo defines stays."""
    with registry.isolated():
        yield
    reset_clock()


@pytest.fixture
def enter(browser: Browser, site: LiveServer, transactional_db: None) -> Iterator[Enter]:
    """Let somebody in: a superuser, or somebody of the staff with these permissions alone.

    At the end nobody may have had anything to complain about.
    """
    visitors: list[Visitor] = []
    with ExitStack() as stack:

        def let_in(
            look: Look = DESKTOP, *, permissions: list[str] | None = None, log_in: bool = True
        ) -> Visitor:
            context = browser.new_context(
                base_url=site.url,
                color_scheme=look.scheme,
                viewport={"width": look.width, "height": look.height},
                reduced_motion="reduce",
            )
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_SECONDS * 1000)
            if log_in:
                context.add_cookies([session_of(a_user(permissions), site.url)])
            visitor = Visitor(context.new_page())
            visitor.listen()
            visitors.append(visitor)
            return visitor

        yield let_in
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []


def a_user(permissions: list[str] | None) -> Any:
    """Return the superuser ``ada``, or ``eva`` of the staff with some permissions."""
    users = get_user_model().objects
    if permissions is None:
        return users.filter(username="ada").first() or users.create_superuser("ada")
    user = users.create_user("eva", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def session_of(user: Any, address: str) -> SetCookieParam:
    """Log somebody in and return the cookie."""
    client = Client()
    client.force_login(user)
    value = client.cookies[settings.SESSION_COOKIE_NAME].value
    return {"name": settings.SESSION_COOKIE_NAME, "value": value, "url": address}
