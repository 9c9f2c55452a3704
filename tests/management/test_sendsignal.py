"""sendsignal: reaches whoever waits, once per key, and says so when nobody does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from django_openworkflow.models import BufferedSignal, SignalDelivery, WorkflowRun
from tests.factories import StepAttemptFactory
from tests.management.conftest import make

if TYPE_CHECKING:
    from tests.management.conftest import Invoke, Shell

pytestmark = pytest.mark.django_db


def waiting(trait: str = "parked") -> WorkflowRun:
    """Make a run with a step that waits for the signal "approval"."""
    run = make(trait)
    StepAttemptFactory.create(workflow_run=run, signal_wait=True)
    return run


def data() -> list[Any]:
    return list(SignalDelivery.objects.values_list("data", flat=True))


def test_everybody_who_waits_receives_it_and_is_named(invoke: Invoke) -> None:
    runs = [waiting(), waiting("running")]
    bystander = make("parked")
    done = invoke("sendsignal", "approval", "--data", '{"by": "me"}')
    assert (done.error, done.err) == (None, "")
    assert done.lines[0] == 'Signal "approval" was received by 2 workflow runs:'
    assert done.lines[1:] == [str(run.pk) for run in runs]
    assert data() == [{"by": "me"}] * 2
    assert WorkflowRun.objects.due().get().pk == runs[0].pk
    assert str(bystander.pk) not in done.out


@pytest.mark.parametrize("trait", ["canceled", "completed", "failed"])
def test_an_ended_run_is_no_receiver(trait: str, invoke: Invoke) -> None:
    waiting(trait)
    done = invoke("sendsignal", "approval")
    assert done.lines == ['No workflow run waits for signal "approval": nobody received it.']
    assert (done.error, data()) == (None, [])
    assert not BufferedSignal.objects.exists()


def test_a_buffered_signal_is_kept_for_later(invoke: Invoke) -> None:
    done = invoke("sendsignal", "approval", "--buffered", "--data", "1")
    assert done.error is None
    assert done.lines == [
        'No workflow run waits for signal "approval": it is kept for the next step that does.'
    ]
    assert BufferedSignal.objects.get().data == 1


def test_the_same_key_delivers_nothing_more_and_names_the_same_runs(invoke: Invoke) -> None:
    waiting()
    first = invoke("sendsignal", "approval", "--key", "k")
    waiting()
    assert invoke("sendsignal", "approval", "--key", "k").lines == first.lines
    assert len(data()) == 1


def test_json_is_for_machines(invoke: Invoke) -> None:
    run = waiting()
    report = json.loads(invoke("sendsignal", "approval", "--format", "json").out)
    assert report == {"signal": "approval", "received": [str(run.pk)], "buffered": False}
    report = json.loads(invoke("sendsignal", "x", "--buffered", "--format", "json").out)
    assert report == {"signal": "x", "received": [], "buffered": True}


def test_other_namespaces_are_not_reached(invoke: Invoke) -> None:
    waiting()
    with override_settings(OPENWORKFLOW={"NAMESPACE": "other"}):
        assert invoke("sendsignal", "approval").lines[0].startswith("No workflow run waits")
    assert data() == []


def test_code_may_give_data_by_name(invoke: Invoke) -> None:
    waiting()
    assert invoke("sendsignal", "approval", data=[1, None]).error is None
    assert data() == [[1, None]]


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ([], "Error: the following arguments are required: NAME"),
        (["approval", "--data", "{"], "--data is not valid JSON: "),
        (["approval", "--data", ""], "--data is not valid JSON: "),
        (["approval", "--data", "NaN"], "--data is not valid JSON: NaN is not a JSON number"),
        (["approval", "--data", r'"\u0000"'], 'The data of signal "approval" cannot be stored'),
        (["a\nb"], ""),
        ([""], ""),
        (["approval", "--key", "a\x00b"], ""),
    ],
)
def test_nonsense_is_one_line_and_reaches_nobody(
    args: list[str], problem: str, invoke: Invoke
) -> None:
    waiting()
    done = invoke("sendsignal", *args)
    assert done.out == ""
    assert done.error is not None
    assert done.error.startswith(problem)
    assert done.error.isprintable()
    assert data() == []


def test_a_shell_gets_exit_code_0_though_nobody_waits_and_1_for_nonsense(shell: Shell) -> None:
    done = shell("sendsignal", "approval")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell("sendsignal", "approval", "--data", "{")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
