"""Doors that stay shut: templates, other managers, notes that cannot be stored."""

from __future__ import annotations

from typing import Any, cast

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.template import Context, Template
from django.utils.translation import gettext_lazy, override

from django_openworkflow.exceptions import (
    InvalidInput,
)
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests.cancelling.scenes import (
    handle_of,
    make,
    row,
)

pytestmark = pytest.mark.django_db


class TestTemplates:
    """A page that is only shown must not cancel anything."""

    @pytest.mark.parametrize(
        "source",
        [
            "{{ run.cancel }}",
            "{{ runs.cancel_active }}",
            "{{ runs.cancel }}",
            "{{ runs.all.cancel_active }}",
            "{% with outcome=runs.cancel_active %}{{ outcome.canceled }}{% endwith %}",
            "{% for run in runs %}{{ run.cancel }}{% endfor %}",
            "{{ handle.cancel }}",
            "{{ run.acancel }}",
            "{{ runs.acancel }}",
            "{{ runs.acancel_active }}",
        ],
    )
    def test_cannot_cancel(self, source: str) -> None:
        run = make("running")
        before = row(run)
        context = {
            "run": run,
            "runs": WorkflowRun.objects.all(),
            "handle": handle_of(run.pk),
        }
        rendered = Template(source).render(Context(context))
        assert row(run) == before
        assert rendered == ""


class TestTheManager:
    def test_cannot_cancel_everything_by_a_slip(self) -> None:
        run = make("running")
        assert not hasattr(WorkflowRun.objects, "cancel_active")
        assert hasattr(WorkflowRun.objects.all(), "cancel_active")
        assert row(run)["status"] == "running"

    def test_of_related_runs_neither(self) -> None:
        make("running", child=True, parent=make("parked"))
        attempt = StepAttempt.objects.get()
        assert not hasattr(attempt.child_runs, "cancel_active")

    def test_takes_the_source_by_name_only(self) -> None:
        run = make("running")
        manager: Any = WorkflowRun.objects
        with pytest.raises(TypeError):
            manager.cancel(run, "reason", None, False, "admin")  # noqa: FBT003
        with pytest.raises(TypeError):
            manager.all().cancel_active("reason", None, False, "admin")  # noqa: FBT003
        assert row(run)["status"] == "running"


class TestNotes:
    def test_a_reason_may_be_translated_late(self) -> None:
        run, reason = make("running"), cast("str", gettext_lazy("Cancel workflow run"))
        with override("de"):
            assert run.cancel(reason).cancel_reason == "Workflow-Lauf abbrechen"
        assert row(run)["cancel_reason"] == "Workflow-Lauf abbrechen"


class TestBadNotes:
    @pytest.mark.parametrize(
        "bad", ["a\x00b", "\x00", "\ud800", "x\udfff", None, 7, b"bytes", ["list"], object()]
    )
    def test_a_reason_that_cannot_be_stored(self, bad: Any) -> None:
        run = make("running")
        before = row(run)
        with pytest.raises(InvalidInput, match="reason"):
            run.cancel(reason=bad)
        with pytest.raises(InvalidInput, match="reason"):
            WorkflowRun.objects.all().cancel_active(reason=bad, cascade=True)
        assert row(run) == before

    @pytest.mark.parametrize("bad", ["a\x00b", "\ud800"])
    def test_an_actor_that_cannot_be_stored(self, bad: str) -> None:
        run = make("running")
        before = row(run)
        with pytest.raises(InvalidInput, match="actor"):
            run.cancel(actor=bad)
        user = get_user_model()(username=bad)
        with pytest.raises(InvalidInput, match="actor"):
            run.cancel(actor=user)
        assert row(run) == before

    def test_do_not_break_the_caller_s_transaction(self) -> None:
        run = make("running")
        with transaction.atomic():
            with pytest.raises(InvalidInput):
                run.cancel(reason="\x00")
            run.cancel(reason="second try")
        assert row(run)["cancel_reason"] == "second try"

    @pytest.mark.parametrize(
        "good", ["", " ", "Zoë → 漢字 🙂", "'; DROP TABLE x; --", "%s %% {}", "x" * 10_000]
    )
    def test_any_other_text_is_kept(self, good: str) -> None:
        run = make("running").cancel(reason=good, actor=good)
        assert (run.cancel_reason, run.cancel_actor) == (good, good)
