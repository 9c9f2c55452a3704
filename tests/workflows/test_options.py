"""Options of a start: when it may begin, how urgent it is, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_openworkflow import clock
from django_openworkflow.exceptions import InvalidDuration, InvalidInput
from django_openworkflow.registry import registry
from django_openworkflow.testing import advance, run_until_idle
from tests.workflows.orders import LONG, Orders


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


def test_options_given_later_leave_the_earlier_ones_as_they_are(process_order: Orders) -> None:
    both = process_order.using(priority=5).using(idempotency_key="order-1")

    assert (both.options.priority, both.options.idempotency_key) == (5, "order-1")
