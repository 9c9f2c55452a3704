"""Definitions and starts: what is refused, what is written, and when others see it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest

from django_openworkflow import RetryPolicy, Step, Workflow, clock, workflow
from django_openworkflow.exceptions import (
    DuplicateWorkflow,
    InvalidDuration,
    InvalidInput,
    InvalidPayload,
    WorkflowNotRegistered,
)
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import advance, reset_clock, run_until_idle

Orders: TypeAlias = Workflow[..., None]
# PostgreSQL refuses index rows beyond 2.7 kB, and this does not compress.
LONG = "".join(chr(0x4E00 + number) for number in range(4000))


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    with registry.isolated():
        yield
    reset_clock()


def order(step: Step, order_id: int, *, express: bool = False) -> None:
    return None


@pytest.fixture
def process_order() -> Orders:
    """Return a workflow that takes two arguments."""
    defined: Orders = workflow("process-order")(order)
    return defined


# --- define -------------------------------------------------------------------------------------


def test_the_package_can_be_imported_before_settings_and_apps_exist() -> None:
    code = (
        "from django_openworkflow import *\n"
        "@workflow\n"
        "def early(step: Step, n: int) -> int: return n\n"
        "assert (early.name, early.version) == ('early', None)\n"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-W", "error", "-c", code],
        env={},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_bare_workflow_is_named_after_its_function() -> None:
    @workflow
    def send_the_invoice(step: Step) -> None:
        return None

    assert (send_the_invoice.name, send_the_invoice.version, send_the_invoice.queue) == (
        "send-the-invoice",
        None,
        "default",
    )
    assert registry.find("send-the-invoice", None) is send_the_invoice


def test_options_without_a_name_keep_the_name_of_the_function() -> None:
    policy = RetryPolicy(maximum_attempts=5)

    @workflow(version="2", retry_policy=policy, queue="slow")
    def send_the_invoice(step: Step) -> None:
        return None

    assert (send_the_invoice.name, send_the_invoice.version) == ("send-the-invoice", "2")
    assert (send_the_invoice.retry_policy, send_the_invoice.queue) == (policy, "slow")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, 'Workflow "twice" is already registered'),
        ("1", 'Workflow "twice" (version: 1) is already registered'),
    ],
)
def test_the_same_name_and_version_twice_is_refused(version: str | None, words: str) -> None:
    first = workflow("twice", version=version)(order)
    with pytest.raises(DuplicateWorkflow) as caught:
        workflow("twice", version=version)(order)

    assert str(caught.value) == words
    assert registry.find("twice", version) is first


def test_versions_live_side_by_side() -> None:
    for version in ("2", None, "10", "1"):
        workflow("versioned", version=version)(order)

    assert registry.versions("versioned") == [None, "1", "10", "2"]
    with pytest.raises(
        WorkflowNotRegistered, match=r'"versioned" \(version: 3\) is not registered'
    ):
        registry.find("versioned", "3")


@pytest.mark.parametrize("text", ["", "two\nlines", "nul\x00", "lone\ud800", 7, b"bytes"], ids=repr)
@pytest.mark.parametrize("option", ["name", "version", "queue"])
def test_names_that_no_log_could_show_are_refused(option: str, text: Any) -> None:
    given: dict[str, Any] = {"name": "named", option: text}
    name = given.pop("name")
    with pytest.raises(InvalidInput, match=rf"^A workflow's {option} must be printable text"):
        workflow(name, **given)(order)

    assert not registry.versions("named")


@pytest.mark.parametrize("option", ["name", "queue"])
def test_names_too_long_for_an_index_are_refused(option: str) -> None:
    given: dict[str, Any] = {"name": "named", option: LONG}
    name = given.pop("name")
    with pytest.raises(InvalidInput):
        workflow(name, **given)(order)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda: None, "must take the step as its first argument"),
        (lambda *, step: None, "must take the step as its first argument"),
        (lambda **steps: None, "must take the step as its first argument"),
        (lambda step, *items: None, r"cannot take \*args"),
        (lambda *steps: None, r"cannot take \*args"),
    ],
)
def test_a_function_that_could_never_be_called_is_refused(fn: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        workflow("impossible")(fn)


@pytest.mark.parametrize("policy", [3, "3", {"maximum_attempts": 3}, RetryPolicy], ids=repr)
def test_a_retry_policy_that_is_none_is_refused(policy: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^retry_policy must be a RetryPolicy, not "):
        workflow("named", retry_policy=policy)(order)


def test_registrations_of_an_isolated_block_are_forgotten() -> None:
    with registry.isolated():
        workflow("short-lived")(order)
        assert ("short-lived", None) in registry.definitions()

    assert ("short-lived", None) not in registry.definitions()


# --- start: what is written ---------------------------------------------------------------------


@pytest.mark.django_db
def test_a_started_run_is_pending_and_due_with_its_arguments_by_name(process_order: Orders) -> None:
    run = process_order.start(7, express=True).run

    assert (run.workflow_name, run.version, run.status) == ("process-order", None, "pending")
    assert run.input == {"express": True, "order_id": 7}
    assert (run.attempts, run.priority, run.queue) == (0, 0, "default")
    assert (run.worker_id, run.started_at, run.finished_at, run.error) == (None,) * 4
    assert run.available_at is not None
    assert run.available_at <= clock.read("default")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "stored"),
    [
        (order, (), {"order_id": None}, {"order_id": None}),
        (order, ((1, 2),), {}, {"order_id": [1, 2]}),
        (lambda step: None, (), {}, None),
        (lambda step, a=1: None, (), {}, None),
        (lambda step, a, /, b=2: None, (5,), {}, {"a": 5}),
        (lambda step, a=1, **rest: None, (), {"x": 1, "rest": 2}, {"x": 1, "rest": 2}),
    ],
)
def test_arguments_become_one_json_object(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], stored: Any
) -> None:
    started: Workflow[..., Any] = workflow("stored")(fn)

    assert started.start(*args, **kwargs).run.input == stored


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'order_id'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"order_id": 2}, "multiple values for argument 'order_id'"),
        ((1,), {"typo": 2}, "got an unexpected keyword argument 'typo'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    process_order: Orders, args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        process_order.start(*args, **kwargs)

    assert str(caught.value).startswith('Workflow "process-order" was started with wrong arguments')
    assert words in str(caught.value)
    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db
def test_two_arguments_of_one_name_are_refused_instead_of_losing_one() -> None:
    def collecting(step: Step, a: int, /, **rest: int) -> None: ...

    started: Orders = workflow("collecting")(collecting)
    with pytest.raises(InvalidInput):
        started.start(1, a=2)

    assert not WorkflowRun.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("value", [1j, float("nan"), {1: 2}, "\x00", 2**60], ids=repr)
def test_arguments_that_json_cannot_keep_are_refused_before_anything_is_written(
    process_order: Orders, value: Any
) -> None:
    with pytest.raises(InvalidPayload, match=r'^The input of workflow "process-order" cannot be s'):
        process_order.start(value)

    assert not WorkflowRun.objects.exists()


# --- start: options -----------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("delay", ["5m", timedelta(minutes=5)], ids=repr)
@pytest.mark.parametrize("option", ["available_at", "deadline_at"])
def test_a_delay_counts_from_now_by_the_databases_clock(
    process_order: Orders, option: str, delay: Any
) -> None:
    before = clock.read("default")
    run = process_order.using(**{option: delay}).start(1).run

    five = timedelta(minutes=5)
    assert before + five <= getattr(run, option) <= clock.read("default") + five


@pytest.mark.django_db
@pytest.mark.parametrize("option", ["available_at", "deadline_at"])
def test_an_aware_moment_is_kept_exactly(process_order: Orders, option: str) -> None:
    moment: Any = datetime(2999, 3, 28, 2, 30, 0, 123456, tzinfo=UTC)

    assert getattr(process_order.using(**{option: moment}).start(1).run, option) == moment


@pytest.mark.parametrize(
    "moment",
    [datetime(2999, 1, 1), "-5m", "soon", 5, timedelta(days=-1), "1001y"],  # noqa: DTZ001 - naive
    ids=repr,
)
@pytest.mark.parametrize("option", ["available_at", "deadline_at"])
def test_a_moment_that_means_nothing_is_refused(
    process_order: Orders, option: str, moment: Any
) -> None:
    with pytest.raises(InvalidDuration):
        process_order.using(**{option: moment})


@pytest.mark.django_db
def test_a_scheduled_run_does_not_begin_early(process_order: Orders) -> None:
    handle = process_order.using(available_at="1h").start(1)
    assert run_until_idle() == 0
    advance("1h")

    assert run_until_idle() == 1
    assert handle.status == "completed"


@pytest.mark.django_db
@pytest.mark.parametrize("priority", [2**31 - 1, 1 - 2**31, 0])
def test_a_priority_within_bounds_is_kept(process_order: Orders, priority: int) -> None:
    assert process_order.using(priority=priority).start(1).run.priority == priority


@pytest.mark.parametrize("priority", [2**31, -(2**31), 10**400, 1.0, True, "1"], ids=type)
def test_a_priority_out_of_bounds_is_refused(process_order: Orders, priority: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^priority must be a whole number within "):
        process_order.using(priority=priority)


@pytest.mark.parametrize(
    "key", ["", "two\nlines", "nul\x00", "\ud800", 7, LONG], ids=lambda key: ascii(key)[:9]
)
def test_an_idempotency_key_that_cannot_be_stored_is_refused(
    process_order: Orders, key: Any
) -> None:
    with pytest.raises(InvalidInput):
        process_order.using(idempotency_key=key)


def test_an_unknown_option_is_refused(process_order: Orders) -> None:
    with pytest.raises(TypeError, match="idempotencykey"):
        process_order.using(idempotencykey="typo")  # type: ignore[call-arg]


@pytest.mark.django_db
def test_options_belong_to_the_copy_and_not_to_the_definition(process_order: Orders) -> None:
    process_order.using(priority=9, available_at="1h")

    assert process_order.start(1).run.priority == 0
    assert registry.find("process-order", None) is process_order


# --- other doors --------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "stored"),
    [({"order_id": 7}, {"order_id": 7}), (7, {"order_id": 7}), ([1], {"order_id": [1]})],
)
def test_one_json_value_starts_a_run_as_an_operator_types_it(
    process_order: Orders, value: Any, stored: Any
) -> None:
    assert process_order.start_input(value).run.input == stored


@pytest.mark.django_db
@pytest.mark.parametrize("value", [None, {}, {"typo": 1}], ids=repr)
def test_one_json_value_that_does_not_fit_is_refused(process_order: Orders, value: Any) -> None:
    with pytest.raises(InvalidInput):
        process_order.start_input(value)

    assert not WorkflowRun.objects.exists()


def test_options_given_later_leave_the_earlier_ones_as_they_are(process_order: Orders) -> None:
    both = process_order.using(priority=5).using(idempotency_key="order-1")

    assert (both.options.priority, both.options.idempotency_key) == (5, "order-1")
