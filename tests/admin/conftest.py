"""Who opens the admin, and what they find there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from django_openworkflow import Step, workflow
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from tests.admin.addresses import APP

VERBS = ("cancel", "retry", "start", "signal")
ClientOf = Callable[..., Client]


@pytest.fixture(autouse=True)
def _definitions() -> Iterator[None]:
    with registry.isolated():
        registry._workflows.clear()

        @workflow("process-order", version="2")
        def process_order(step: Step, order_id: int, *, express: bool = False) -> int:
            """Fulfil an order."""
            return order_id

        yield


@pytest.fixture
def client_of(db: None) -> ClientOf:
    """Return a logged-in browser of a new user of staff with these permissions."""

    def make(*verbs: str, superuser: bool = False, **options: Any) -> Client:
        users = get_user_model().objects
        name = "-".join(verbs) or ("root" if superuser else "nobody")
        user = users.create_user(name, is_staff=True, is_superuser=superuser)
        codes = [f"{verb}_workflowrun" for verb in verbs]
        codes += [f"view_{other}" for other in OTHERS if "view" in verbs]
        granted = Permission.objects.filter(content_type__app_label=APP, codename__in=codes)
        user.user_permissions.set(granted)
        client = Client(**options)
        client.force_login(user)
        return client

    return make


OTHERS = ("stepattempt", "signaldelivery", "workerprocess")


@pytest.fixture
def operator(client_of: ClientOf) -> Client:
    """A browser of somebody who may do everything that runs allow."""
    return client_of("view", *VERBS)


@pytest.fixture
def viewer(client_of: ClientOf) -> Client:
    """A browser of somebody who may only look."""
    return client_of("view")


def refresh(run: WorkflowRun) -> WorkflowRun:
    """Return the run as it is in the database."""
    return WorkflowRun._base_manager.get(pk=run.pk)
