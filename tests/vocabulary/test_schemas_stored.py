"""What is stored of an input with a schema: only what the schema takes again in the worker."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import date
from typing import Any

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from django_openworkflow import RunHandle, Step, workflow
from django_openworkflow.exceptions import InvalidInput, InvalidPayload
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle

pytestmark = pytest.mark.django_db

_numbers = itertools.count()


class Aliased(BaseModel):
    order_id: int = Field(alias="orderId")
    express: bool = False


class Either(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    order_id: int = Field(alias="orderId")


class ValidationAliased(BaseModel):
    order_id: int = Field(validation_alias="orderId")


class Lenient(BaseModel):
    """Without its alias there is a default, which would take the place of the value."""

    order_id: int = Field(0, alias="orderId")


class Secretive(BaseModel):
    password: SecretStr


class Computing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    net: int

    @pydantic.computed_field
    def gross(self) -> int:
        return self.net * 2


class Excluding(BaseModel):
    number: int
    note: str = Field("none", exclude=True)


class Dated(BaseModel):
    day: date


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date


class Express(Dated):
    hour: int


class Holding(BaseModel):
    held: Dated


class Free(BaseModel):
    model_config = ConfigDict(extra="allow")
    any: Any


@dataclasses.dataclass
class Counted:
    items: list[int]
    count: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.count = len(self.items)


@dataclasses.dataclass
class Discounted:
    price: int
    percent: dataclasses.InitVar[int]

    def __post_init__(self, percent: int) -> None:
        self.price -= self.price * percent // 100


@dataclasses.dataclass
class Cents:
    amount: int

    def __post_init__(self) -> None:
        self.amount *= 100


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Place(Point):
    y: int = 0


@dataclasses.dataclass
class Line:
    start: Point | dict[str, int]
    tags: tuple[str, ...] | list[str] = ()


class Ticket:
    """An object that is equal to nothing but itself."""

    def __init__(self, number: int) -> None:
        self.number = number


class Array(Ticket):
    """Its comparison is as numpy's, without a truth value."""

    def __eq__(self, other: object) -> Any:
        return NotImplementedBool()

    __hash__ = None  # type: ignore[assignment]


class NotImplementedBool:
    def __bool__(self) -> bool:
        message = "the truth value is ambiguous"
        raise ValueError(message)


def cents(value: Any) -> dict[str, int]:
    """Take another form than it returns."""
    return {"cents": value["euros"] * 100}


def counting(value: Any) -> int:
    """Make another value each time, as one with the present time in it."""
    return next(_numbers)


def taken_by_worker(schema: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Start a run, execute it, and return what was stored and what the function got."""
    seen: list[Any] = []

    @workflow("schemas", schema=schema)
    def schemas(step: Step, value: Any = None, /, **rest: Any) -> None:
        seen.append(rest or value)

    start: Any = schemas.start
    handle: RunHandle[Any] = start(*args, **kwargs)
    stored = handle.run.input
    run_until_idle()
    assert handle.run.error is None
    return stored, seen[0]


@pytest.mark.parametrize(
    ("schema", "given", "stored"),
    [
        (Aliased, {"orderId": 1}, {"orderId": 1, "express": False}),
        (Either, {"order_id": 1}, {"order_id": 1}),
        (Either, {"orderId": 1}, {"order_id": 1}),
        (ValidationAliased, {"orderId": "1"}, {"orderId": "1"}),
        (Lenient, {"orderId": 1}, {"orderId": 1}),
        (Secretive, {"password": "open"}, {"password": "open"}),
        (Computing, {"net": 1}, {"net": 1}),
        (Excluding, {"number": 1, "note": "two"}, {"number": 1, "note": "two"}),
        (Excluding, {"number": "1"}, {"number": 1}),
        (Dated, {"day": date(2026, 5, 1)}, {"day": "2026-05-01"}),
        (Free, {"any": (1, 2), "other": (3,)}, {"any": [1, 2], "other": [3]}),
        (Counted, {"items": [1, 2]}, {"items": [1, 2]}),
        (Discounted, {"price": 200, "percent": 10}, {"price": 200, "percent": 10}),
        (Cents, {"amount": 3}, {"amount": 3}),
        (Line, {"start": {"x": 1}, "tags": ("a",)}, {"start": {"x": 1}, "tags": ["a"]}),
    ],
)
def test_the_function_gets_what_the_schema_made_at_the_start(
    schema: Any, given: dict[str, Any], stored: object
) -> None:
    expected = schema(**given)
    text, got = taken_by_worker(schema, **given)

    assert text == stored
    assert type(got) is schema
    assert comparable(got) == comparable(expected)


def comparable(value: Any) -> Any:
    """Return the fields of a model or dataclass; in JSON a tuple is a list."""
    fields = dict(vars(value)) | (getattr(value, "__pydantic_extra__", None) or {})
    return {key: list(part) if isinstance(part, tuple) else part for key, part in fields.items()}


@pytest.mark.parametrize(
    ("schema", "given"), [(Aliased, Aliased(orderId=1)), (Dated, Dated(day=date(2026, 5, 1)))]
)
def test_a_model_may_be_given_where_its_dump_is_taken_again(schema: Any, given: Any) -> None:
    assert taken_by_worker(schema, given)[1] == given


@pytest.mark.parametrize(
    ("schema", "given", "words"),
    [
        (Strict, {"day": date(2026, 5, 1)}, "day: Input should be a valid date"),
        (Secretive, Secretive(password=SecretStr("open")), "the value would be another one there"),
        (ValidationAliased, ValidationAliased(orderId=1), "orderId: Field required"),  # type: ignore[call-arg]
        (Dated, Express(day=date(2026, 5, 1), hour=3), "the value would be another one there"),
        (Holding, Holding(held=Express(day=date(2026, 5, 1), hour=3)), "would be another one"),
        (Point, Place(1, 2), "unexpected keyword argument 'y'"),
        (Line, {"start": Point(1)}, "the value would be another one there"),
        (Cents, Cents(3), "the value would be another one there"),
        (counting, 7, "the value would be another one there"),
    ],
)
def test_what_a_worker_would_refuse_or_change_is_refused_in_the_caller(
    schema: Any, given: Any, words: str
) -> None:
    started: Any = workflow("schemas", schema=schema)(lambda step, value: None)
    starts = 'The input of workflow "schemas" cannot be stored so that its schema would take it '
    for start in (started.start, started.start_input):
        with pytest.raises(InvalidInput) as caught:
            start(given)
        assert str(caught.value).startswith(starts)
        assert words in str(caught.value)

    assert not WorkflowRun.objects.exists()


def test_what_json_can_keep_in_no_form_is_refused_as_without_a_schema() -> None:
    started: Any = workflow("schemas", schema=Ticket)(lambda step, ticket: None)
    with pytest.raises(InvalidPayload, match="a value of type Ticket is not JSON"):
        started.start(Ticket(1))


def test_it_is_refused_with_the_place_in_what_the_caller_gave() -> None:
    def wrapping(value: Any) -> Any:
        return {"wrapped": value}

    started: Any = workflow("schemas", schema=wrapping)(lambda step, wrapped: None)
    with pytest.raises(InvalidPayload, match=r"cannot be stored: \$\.day: a value of type date"):
        started.start(day=date(2026, 5, 1))


def test_a_callable_may_return_another_form_than_it_takes() -> None:
    assert taken_by_worker(cents, euros=3) == ({"euros": 3}, {"cents": 300})


@pytest.mark.parametrize("schema", [Ticket, Array])
def test_objects_that_cannot_be_compared_are_taken_as_they_are(schema: Any) -> None:
    stored, got = taken_by_worker(schema, 7)
    assert (stored, got.number, type(got)) == (7, 7, schema)


@pytest.mark.parametrize("make", [Ticket, Array])
def test_nor_are_objects_inside_of_a_value(make: Any) -> None:
    def schema(value: Any) -> Any:
        return {"ticket": make(value["number"])}

    stored, got = taken_by_worker(schema, number=7)
    assert (stored, got["ticket"].number) == ({"number": 7}, 7)
