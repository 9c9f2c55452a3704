"""Who may see and do what: every user, on every page, with every method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from django_openworkflow.models import BufferedSignal, SignalDelivery, StepAttempt, WorkflowRun
from tests.admin.addresses import on_run, url
from tests.admin.conftest import VERBS, ClientOf
from tests.admin.places import deeds, pages, scene

pytestmark = pytest.mark.django_db

USERS: dict[str, Callable[[ClientOf], Client]] = {
    "anonymous": lambda _client_of: Client(),
    "staff without rights": lambda client_of: client_of(),
    "viewer": lambda client_of: client_of("view"),
    "operator": lambda client_of: client_of("view", *VERBS),
    "superuser": lambda client_of: client_of(superuser=True),
    # Whoever may do something but not look may not do it either.
    "blind operator": lambda client_of: client_of(*VERBS),
    **{f"only {verb}": (lambda c, verb=verb: c("view", verb)) for verb in VERBS},  # type: ignore[misc]
}
RIGHTS: dict[str, set[str]] = {
    "anonymous": set(),
    "staff without rights": set(),
    "viewer": {"view"},
    "operator": {"view", *VERBS},
    "superuser": {"view", *VERBS},
    "blind operator": set(),
    **{f"only {verb}": {"view", verb} for verb in VERBS},
}
OTHER_METHODS = ("PUT", "PATCH", "DELETE", "OPTIONS")
OWN_PAGES = ("overview", "cancel", "retry", "signal", "start")


def snapshot() -> list[Any]:
    models = (WorkflowRun, StepAttempt, SignalDelivery, BufferedSignal, LogEntry)
    return [list(model._base_manager.order_by("pk").values()) for model in models]


def is_login(response: Any) -> bool:
    return bool(response.status_code == 302 and response.url.startswith("/admin/login/"))


@pytest.mark.parametrize("user", USERS)
def test_pages_open_for_those_who_may_see_them(client_of: ClientOf, user: str) -> None:
    client, rights = USERS[user](client_of), RIGHTS[user]
    there = scene()
    for name, (right, address) in pages(there).items():
        for method in ("GET", "HEAD"):
            response = client.generic(method, address)
            if user == "anonymous":
                assert is_login(response), name
            else:
                assert response.status_code == (200 if right in rights else 403), (name, method)


@pytest.mark.parametrize("user", USERS)
def test_deeds_are_done_for_those_who_may_do_them(client_of: ClientOf, user: str) -> None:
    client, rights = USERS[user](client_of), RIGHTS[user]
    for name in deeds(scene()):
        there = scene()
        right, address, data = deeds(there)[name]
        before = snapshot()
        response = client.post(address, data)
        changed = snapshot() != before
        assert changed == (right in rights), name
        if user == "anonymous":
            assert is_login(response), name
        elif right in rights:
            assert response.status_code == 302, name
        elif name != "cancel many" or not rights:  # the list shows itself, without the action
            assert response.status_code == 403, name


@pytest.mark.parametrize("user", ["viewer", "operator", "superuser"])
def test_no_other_method_does_anything(client_of: ClientOf, user: str) -> None:
    client = USERS[user](client_of)
    there = scene()
    before = snapshot()
    for name, (_right, address) in pages(there).items():
        for method in OTHER_METHODS:
            response = client.generic(method, address)
            if name in OWN_PAGES or name.startswith("part of"):
                assert response.status_code == 405, (name, method)
    assert snapshot() == before


@pytest.mark.parametrize("name", ["part of list", "part of run", "part of overview"])
def test_parts_cannot_be_posted_to(operator: Client, name: str) -> None:
    _right, address = pages(scene())[name]
    assert operator.post(address).status_code == 405


@pytest.mark.parametrize("verb", VERBS)
def test_what_one_may_not_do_is_not_to_be_seen(client_of: ClientOf, verb: str) -> None:
    there = scene()
    allowed = {
        "cancel": on_run("cancel_run", there.run),
        "retry": on_run("retry_run", there.failed),
        "signal": on_run("send_signal", there.run),
        "start": url("start_run"),
    }
    client = client_of("view", verb)
    shown = [on_run("change", there.run), on_run("change", there.failed), url("changelist")]
    markup = "".join(client.get(page).content.decode() for page in [*shown, url("overview")])
    seen = {name for name, address in allowed.items() if f'href="{address}' in markup}
    assert seen == {verb}


def test_nobody_edits_rows_by_hand(client_of: ClientOf) -> None:
    client = client_of(superuser=True)
    there = scene()
    before = snapshot()
    for model, pk in (
        ("workflowrun", there.run.pk),
        ("stepattempt", there.attempt.pk),
        ("signaldelivery", there.delivery.pk),
        ("workerprocess", there.worker.pk),
    ):
        assert client.get(url("add", model=model)).status_code == 403
        assert client.post(url("add", model=model), {}).status_code == 403
        assert client.post(url("change", pk, model=model), {"status": "x"}).status_code == 403
        assert client.post(url("delete", pk, model=model), {"post": "yes"}).status_code == 403
        listed = client.get(url("changelist", model=model)).content.decode()
        assert "delete_selected" not in listed
    assert snapshot() == before


def test_only_runs_are_in_the_index(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()
    assert url("changelist") in page
    for model in ("stepattempt", "signaldelivery", "workerprocess", "bufferedsignal"):
        assert f"/{model}/" not in page


def test_an_inactive_user_is_nobody(operator: Client) -> None:
    from django.contrib.auth import get_user_model

    there = scene()
    get_user_model().objects.update(is_active=False)
    assert is_login(operator.get(url("changelist")))
    assert is_login(operator.post(on_run("cancel_run", there.run), {}))


def test_a_post_without_its_token_is_refused(client_of: ClientOf) -> None:
    client = client_of("view", *VERBS, enforce_csrf_checks=True)
    there = scene()
    before = snapshot()
    for name, (_right, address, data) in deeds(there).items():
        assert client.post(address, data).status_code == 403, name
    assert snapshot() == before
