"""K10: values that JSON, PostgreSQL or JavaScript would change are refused at the call.

Each is tried at every door where a value comes in: the input of a run, the data of a signal, the
output of a step and of a workflow. Values that are accepted come back equal.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import UserDict, UserList, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

from django.db import connection
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from benchmarks.reliability.arena import Arena, Findings
from django_openworkflow import Step, send_signal, workflow
from django_openworkflow.exceptions import InvalidPayload
from django_openworkflow.models import SignalDelivery, WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.states import RunStatus
from django_openworkflow.testing import run_until_idle

_LIMIT_SECONDS: Final = 0.1
_AT_A_TIME: Final = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many random values are sent there and back."""

    random_values: int


SIZES: Final = {"small": Plan(random_values=50), "full": Plan(random_values=5_000)}


def nested(depth: int) -> Any:
    """Return lists inside of each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    """Return a list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


@dataclass
class Point:
    """A class of a project's own."""

    x: int = 1


BAD: Final[tuple[Any, ...]] = (
    math.nan,
    math.inf,
    -math.inf,
    [math.nan],
    {"a": -math.inf},
    2**53 + 1,
    -(2**53) - 1,
    10**400,
    10**5000,
    1j,
    Decimal("1.1"),
    Fraction(1, 3),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1),  # noqa: DTZ001 - naive on purpose
    date(2026, 1, 1),
    timedelta(1),
    uuid.UUID(int=1),
    b"bytes",
    bytearray(b"bytes"),
    memoryview(b"bytes"),
    {1, 2},
    frozenset({1}),
    {1: "a"},
    {1: "a", "1": "b"},
    {None: 1},
    {True: 1},
    {("a",): 1},
    {1.5: 1},
    {b"a": 1},
    "nul \0",
    {"nul \0": 1},
    ["\0"],
    "lone \ud800",
    "lone \udfff",
    {"\ud800": 1},
    nested(101),
    nested(3000),
    circle(),
    "x" * 1_048_577,
    ["x"] * 400_000,
    {"x" * 1_048_577: 1},
    object(),
    object,
    len,
    lambda: 1,
    (n for n in (1, 2)),
    range(3),
    deque([1]),
    UserDict(a=1),
    UserList([1]),
    MappingProxyType({"a": 1}),
    SimpleNamespace(a=1),
    PurePosixPath("/a"),
    Point(),
    ValueError("an error"),
    Ellipsis,
)

_TEXT: Final = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_GOOD: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@workflow("rel-value")
def returning(step: Step, index: int, *, in_step: bool) -> Any:
    """Return a bad value, from a step or as the output."""
    return step.run("value", lambda: BAD[index]) if in_step else BAD[index]


@workflow("rel-echo")
def echo(step: Step, value: Any) -> Any:
    """Send a good value through a step and back."""
    return step.run("echo", lambda: value)


def measure(arena: Arena, plan: Plan) -> Findings:
    """Try the bad ones at each door, then random good ones through all of them."""
    seconds, accepted = _at_the_call()
    stuck = _inside_of_runs()
    changed = _changed(plan, arena.seed)
    return Findings(
        facts={
            "database": connection.vendor,
            "bad_values": len(BAD),
            "doors": 4,
            "good_values": plan.random_values,
            "slowest_ms": round(max(seconds) * 1000),
        },
        wrong={
            "accepted": accepted,
            "runs_stuck_or_completed": stuck,
            "rows_written": WorkflowRun.objects.filter(workflow_name="rel-refused").count(),
            "good_values_changed": changed,
        },
        late={"slower_than_100_ms": sum(one > _LIMIT_SECONDS for one in seconds)},
    )


def _at_the_call() -> tuple[list[float], int]:
    """Start runs and send signals with bad values; return how long it took, and how many passed.

    The time is that of this thread alone, whoever else is at work on the machine.
    """
    seconds, accepted = list[float](), 0
    with registry.isolated():

        @workflow("rel-refused")
        def refused(step: Step, value: Any) -> None:
            """Never runs."""

        doors: tuple[Callable[[Any], object], ...] = (
            lambda value: refused.start(value),
            lambda value: send_signal("rel", value),
        )
        for value in BAD:
            for door in doors:
                began = time.thread_time()
                accepted += not _is_refused(door, value)
                seconds.append(time.thread_time() - began)
    return seconds, accepted + SignalDelivery.objects.count()


def _is_refused(door: Callable[[Any], object], value: Any) -> bool:
    try:
        door(value)
    except InvalidPayload:
        return True
    return False


def _inside_of_runs() -> int:
    """Return bad values from steps and workflows; return how many runs did not fail at once."""
    handles = [
        returning.start(index, in_step=in_step)
        for index in range(len(BAD))
        for in_step in (True, False)
    ]
    run_until_idle(max_seconds=300)
    ids = [handle.id for handle in handles]
    failed = WorkflowRun.objects.filter(
        pk__in=ids, status=RunStatus.FAILED, error__name="InvalidPayload"
    )
    return len(ids) - failed.count()


def _changed(plan: Plan, number: int) -> int:
    """Return 1 if Hypothesis finds a good value that does not come back as it was."""

    @seed(number)
    @settings(
        max_examples=max(1, plan.random_values // _AT_A_TIME),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_GOOD, min_size=_AT_A_TIME, max_size=_AT_A_TIME))
    def comes_back(values: list[Any]) -> None:
        handles = [echo.start(value=value) for value in values]
        run_until_idle()
        assert [handle.result(timeout=0) for handle in handles] == values  # noqa: S101

    try:
        comes_back()
    except AssertionError:
        return 1
    return 0
