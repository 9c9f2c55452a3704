"""The package behind the buttons is tamed: on any site, with any storage, installed or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import override_settings
from django.urls import path, reverse

from django_openworkflow.admin import WorkflowRunAdmin
from django_openworkflow.admin.actions import GuardedActionsAdmin
from django_openworkflow.admin.rows import SignalDeliveryAdmin, StepAttemptAdmin, WorkerProcessAdmin
from django_openworkflow.models import SignalDelivery, StepAttempt, WorkerProcess, WorkflowRun
from tests.admin.addresses import bulk, on_run, url
from tests.admin.places import pages, scene
from tests.admin.rows import make_run

if TYPE_CHECKING:
    from pathlib import Path

    from django.test import Client

second = AdminSite(name="second")
second.register(WorkflowRun, WorkflowRunAdmin)
second.register(StepAttempt, StepAttemptAdmin)
second.register(SignalDelivery, SignalDeliveryAdmin)
second.register(WorkerProcess, WorkerProcessAdmin)
urlpatterns = [path("admin/", admin.site.urls), path("second/", second.urls)]


def test_addresses_are_named_after_model_and_action() -> None:
    run = WorkflowRun(workflow_name="x")
    base = "/admin/django_openworkflow/workflowrun"
    for name in ("cancel_run", "retry_run", "send_signal"):
        assert on_run(name, run) == f"{base}/actions/{name}/{run.pk}/"
    assert url("start_run") == f"{base}/start_run/"
    assert url("overview") == f"{base}/overview/"


def test_no_other_module_imports_the_package() -> None:
    from tests.docs.pages import ROOT

    users = [
        file.name
        for file in (ROOT / "django_openworkflow").rglob("*.py")
        if "import" in file.read_text() and "from admin_actions" in file.read_text()
    ]
    assert users == ["actions.py"]


@pytest.mark.django_db
@pytest.mark.urls("tests.admin.test_guarded_actions")
def test_links_stay_on_their_site(operator: Client) -> None:
    there = scene()
    run = there.run
    for _right, address in pages(there).values():
        there_too = address.replace("/admin/", "/second/", 1)
        response = operator.get(there_too)
        assert response.status_code == 200, there_too
        inside = response.content.decode().replace("/admin/logout/", "")
        assert 'href="/admin/' not in inside, there_too
    answer = operator.post(
        reverse("second:django_openworkflow_workflowrun_cancel_run", args=[run.pk]), {}
    )
    assert answer.headers["Location"].startswith("/second/")


@pytest.mark.django_db
@pytest.mark.parametrize("place", ["absent", "first", "last"])
def test_it_does_not_matter_whether_the_package_is_installed(operator: Client, place: str) -> None:
    apps = {
        "absent": settings.INSTALLED_APPS,
        "first": ["admin_actions", *settings.INSTALLED_APPS],
        "last": [*settings.INSTALLED_APPS, "admin_actions"],
    }[place]
    there = scene()
    with override_settings(INSTALLED_APPS=apps):
        for name, (_right, address) in pages(there).items():
            assert operator.get(address).status_code == 200, name
        page = operator.get(url("changelist")).content.decode()
    assert on_run("cancel_run", there.run) in page
    assert 'id="ow-start-link"' in page


@pytest.mark.django_db
def test_hashed_names_of_static_files(operator: Client, tmp_path: Path) -> None:
    storages = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }
    with override_settings(STORAGES=storages, STATIC_ROOT=str(tmp_path), DEBUG=False):
        call_command("collectstatic", interactive=False, verbosity=0)
        there = scene()
        for name, (_right, address) in pages(there).items():
            assert operator.get(address).status_code == 200, name
        page = operator.get(url("changelist")).content.decode()
    assert "django_openworkflow/admin." in page
    assert "django_openworkflow/admin.css" not in page


def test_only_our_own_files_are_asked_for() -> None:
    runs_admin = admin.site.get_model_admin(WorkflowRun)
    media = str(runs_admin.media)
    assert "admin-actions" not in media
    assert "django_openworkflow/admin.css" in media
    for name in ("admin.css", "admin.js"):
        assert finders.find(f"django_openworkflow/{name}")


def test_a_subclass_does_not_inherit_foreign_files() -> None:
    class Narrow(WorkflowRunAdmin):
        pass

    assert "admin-actions" not in str(Narrow(WorkflowRun, admin.site).media)
    assert issubclass(Narrow, GuardedActionsAdmin)


@pytest.mark.django_db
def test_the_index_and_other_models_are_left_alone(client_of: Any) -> None:
    client = client_of(superuser=True)
    make_run()
    for address in ("/admin/", "/admin/auth/user/", "/admin/auth/group/add/"):
        page = client.get(address).content.decode()
        assert "ow-" not in page.replace("row-", "").replace("show-", "").replace("low-", "")


@pytest.mark.django_db
def test_a_link_does_not_say_that_it_is_a_button(operator: Client) -> None:
    """A button answers to the space bar, and a link does not."""
    run, failed = make_run(running=True), make_run(failed=True)
    answers = [operator.get(on_run(name, run)) for name in ("cancel_run", "send_signal")]
    answers += [operator.get(on_run(name, failed)) for name in ("cancel_run", "retry_run")]
    answers += [operator.get(url("start_run")), operator.post(url("changelist"), bulk(run))]
    for answer in answers:
        page = answer.content.decode()
        assert 'id="ow-back"' in page
        assert 'role="button"' not in page
