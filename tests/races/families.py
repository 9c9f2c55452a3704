"""Duels within a family: cancels that go down against results, cancels and starts that come up.

Who ends a child locks its parent too, who cancels a family locks all of it; both in ascending id.
Ids are drawn at random, so that parents come before, between and after their children.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from django_openworkflow.models import StepAttempt, WorkflowRun
from django_openworkflow.states import RunStatus, StepKind
from django_openworkflow.store.operations import ChildStarted, NewRun, Verdict
from tests.races.duels import Duel, cancel_run, complete, run_completed
from tests.races.judges import CANCEL, RIVAL
from tests.races.scenes import Scene, Submit, insert_run, new_run

if TYPE_CHECKING:
    from django_openworkflow.querysets import CancelOutcome
    from tests.races.rivals import Ending

ENDED: Final = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED)


def statuses(*scenes: Scene) -> list[str]:
    ids = [scene.run_id for scene in scenes]
    found = dict(WorkflowRun.objects.filter(pk__in=ids).values_list("pk", "status"))
    return [found[run_id] for run_id in ids]


# --- making -------------------------------------------------------------------------------------


def parked() -> dict[str, Any]:
    return {"worker_id": None, "available_at": timezone.now() + timedelta(hours=1)}


def insert_family(*kinship: int | None, parked_ones: int) -> list[Scene]:
    """Insert runs, each the child of the one at the index it names; the first ones are parked."""
    runs = [
        new_run(id=uuid4(), **(parked() if index < parked_ones else {}))
        for index in range(len(kinship))
    ]
    steps = []
    for run, parent in zip(runs, kinship, strict=True):
        if parent is not None:
            steps.append(link(runs[parent], run))
    with transaction.atomic():  # the two tables refer to each other: checked at the commit
        WorkflowRun._base_manager.bulk_create(runs)
        StepAttempt._base_manager.bulk_create(steps)
    scenes = [Scene.of(run) for run in runs]
    for scene, parent in zip(scenes, kinship, strict=True):
        scene.parent_id = None if parent is None else scenes[parent].run_id
    return scenes


def link(parent: WorkflowRun, child: WorkflowRun) -> StepAttempt:
    """Return the step with which the parent waits for the child."""
    step = StepAttempt(
        id=uuid4(),
        workflow_run_id=parent.pk,
        step_name=str(child.pk),
        kind=StepKind.WORKFLOW,
        child_workflow_run_id=child.pk,
        child_workflow_run_namespace_id="default",
    )
    child.parent_step_attempt_id = step.pk
    child.parent_step_attempt_namespace_id = "default"
    return step


def cascade(scene: Scene) -> CancelOutcome:
    """Cancel the run of the scene with all that is below it."""
    chosen = WorkflowRun.objects.filter(pk=scene.run_id)
    return chosen.cancel_active(reason="race", cascade=True)


# --- the parent completes while its family is canceled ------------------------------------------


def parent_with_child() -> Scene:
    parent, *family = insert_family(None, 0, parked_ones=0)
    parent.family = family
    return parent


def judge_parent(parent: Scene, rival: Ending, cancel: Ending) -> str:
    verdict, outcome = rival.told(), cancel.told()
    (child,) = parent.family
    if verdict is Verdict.ACCEPTED:
        assert statuses(parent, child) == ["completed", "running"]
        assert outcome.skipped == {parent.run_id: "completed"}
        assert outcome.all_canceled() == []
        return RIVAL
    assert verdict is Verdict.CANCELED
    assert statuses(parent, child) == ["canceled", "canceled"]
    assert (outcome.canceled, outcome.children_canceled) == ([parent.run_id], [child.run_id])
    return CANCEL


# --- the youngest completes, or is canceled, while its family is --------------------------------


def three_generations() -> Scene:
    grandparent, *family = insert_family(None, 0, 1, parked_ones=2)
    grandparent.family = family
    return grandparent


def complete_the_youngest(grandparent: Scene, submit: Submit) -> Verdict:
    return submit(run_completed(grandparent.family[-1]))


def judge_youngest_completing(grandparent: Scene, rival: Ending, cancel: Ending) -> str:
    verdict, outcome = rival.told(), cancel.told()
    parent, child = grandparent.family
    assert statuses(grandparent, parent) == ["canceled", "canceled"]
    assert outcome.canceled == [grandparent.run_id]
    if verdict is Verdict.ACCEPTED:
        assert statuses(child) == ["completed"]
        assert outcome.children_canceled == [parent.run_id]
        return RIVAL
    assert verdict is Verdict.CANCELED
    assert statuses(child) == ["canceled"]
    assert outcome.children_canceled == sorted([parent.run_id, child.run_id])
    return CANCEL


def cancel_the_youngest(grandparent: Scene, _submit: Submit) -> CancelOutcome:
    return WorkflowRun.objects.filter(pk=grandparent.family[-1].run_id).cancel_active(reason="up")


def judge_youngest_canceled(grandparent: Scene, rival: Ending, cancel: Ending) -> str:
    up, down = rival.told(), cancel.told()
    parent, child = grandparent.family
    assert statuses(grandparent, parent, child) == ["canceled"] * 3
    assert down.canceled == [grandparent.run_id]
    if up.canceled:
        assert (up.canceled, up.already_canceled) == ([child.run_id], [])
        assert down.children_canceled == [parent.run_id]
        return RIVAL
    assert up.already_canceled == [child.run_id]
    assert down.children_canceled == sorted([parent.run_id, child.run_id])
    return CANCEL


# --- a child is being started while its family is canceled --------------------------------------


def start_child(parent: Scene, submit: Submit) -> Verdict:
    child = NewRun(workflow_name="child", version=None, input=None)
    return submit(
        ChildStarted(
            lease=parent.lease,
            attempt_id=parent.attempt_id,
            step_name="child",
            child_id=uuid4(),  # below or above its parent's
            child=child,
            timeout=None,
        )
    )


def judge_child_started(parent: Scene, rival: Ending, cancel: Ending) -> str:
    verdict, outcome = rival.told(), cancel.told()
    assert outcome.canceled == [parent.run_id]
    below = WorkflowRun.objects.all().descendant_ids([parent.run_id])
    assert sorted(below) == outcome.children_canceled
    assert not WorkflowRun.objects.active().filter(pk__in=below).exists()
    if verdict is Verdict.ACCEPTED:
        assert len(below) == 1
        return RIVAL
    assert verdict is Verdict.CANCELED
    assert not below
    return CANCEL


# --- two cancels of many, of sets that overlap --------------------------------------------------

_SHUFFLE: Final = random.Random(7)  # noqa: S311 - not a secret


def crowd() -> Scene:
    """Some of them are children of others, who may have the larger id."""
    first, *family = insert_family(None, None, None, 0, 1, 2, 3, None, parked_ones=4)
    first.family = family
    _SHUFFLE.shuffle(first.family)
    return first


def cancel_some(scenes: list[Scene], reason: str) -> CancelOutcome:
    ids = [scene.run_id for scene in scenes]
    return WorkflowRun.objects.filter(pk__in=ids).order_by("?").cancel_active(reason=reason)


def cancel_the_first(scene: Scene, _submit: Submit) -> CancelOutcome:
    return cancel_some([scene, *scene.family[:5]], "rival")


def cancel_the_last(scene: Scene) -> CancelOutcome:
    return cancel_some([scene, *scene.family[2:]], "race")


def judge_crowd(scene: Scene, rival: Ending, cancel: Ending) -> str:
    theirs, mine = rival.told(), cancel.told()
    everybody = sorted(each.run_id for each in (scene, *scene.family))
    assert sorted([*theirs.canceled, *mine.canceled]) == everybody  # each of them once
    rows = WorkflowRun.objects.filter(pk__in=everybody).values_list("pk", "status", "cancel_reason")
    assert {status for _, status, _ in rows} == {"canceled"}
    assert {pk for pk, _, reason in rows if reason == "rival"} == set(theirs.canceled)
    both = sorted(each.run_id for each in (scene, *scene.family[2:5]))
    found = (theirs.already_canceled, mine.already_canceled)
    assert found in ((both, []), ([], both))  # no half of a cancel is seen
    return CANCEL if theirs.already_canceled else RIVAL


# --- a child completes while only its parent is canceled ----------------------------------------


def parent_that_waits() -> Scene:
    parent, *family = insert_family(None, 0, parked_ones=1)
    parent.family = family
    return parent


def complete_the_child(parent: Scene, submit: Submit) -> Verdict:
    return complete(parent.family[0], submit)


def judge_wake(parent: Scene, rival: Ending, cancel: Ending) -> str:
    """The child's end wakes a parent that waits, but never one that has been canceled."""
    assert rival.told() is Verdict.ACCEPTED
    cancel.told()
    (child,) = parent.family
    assert statuses(parent, child) == ["canceled", "completed"]
    assert parent.row["available_at"] is None
    return RIVAL if child.row["finished_at"] < parent.row["finished_at"] else CANCEL


FAMILY_DUELS: Final = [
    Duel("cascade, parent completes", parent_with_child, complete, judge_parent, cancel=cascade),
    Duel(
        "cascade, youngest completes",
        three_generations,
        complete_the_youngest,
        judge_youngest_completing,
        cancel=cascade,
    ),
    Duel(
        "cascade, youngest canceled",
        three_generations,
        cancel_the_youngest,
        judge_youngest_canceled,
        cancel=cascade,
    ),
    Duel(
        "cascade, child starts",
        lambda: insert_run(id=uuid4()),
        start_child,
        judge_child_started,
        cancel=cascade,
    ),
    Duel("two crowds", crowd, cancel_the_first, judge_crowd, cancel=cancel_the_last),
    Duel(
        "parent canceled, child completes",
        parent_that_waits,
        complete_the_child,
        judge_wake,
        cancel=cancel_run,
    ),
]
