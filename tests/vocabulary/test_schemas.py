"""Schemas of inputs: pydantic models, dataclasses, callables; at the start and at execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from django_openworkflow import RunHandle, Step, Workflow, workflow
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.factories import WorkflowRunFactory

pytestmark = pytest.mark.django_db


@dataclass
class Order:
    """A dataclass that checks itself."""

    number: int
    express: bool = False

    def __post_init__(self) -> None:
        given: Any = self.number
        if not isinstance(given, int) or given < 1:
            message = f"number must be 1 or more, not {self.number!r}"
            raise ValueError(message)


def pydantic_order() -> Any:
    """Return the same as a pydantic model."""
    pydantic = pytest.importorskip("pydantic")
    number = (int, pydantic.Field(ge=1))
    return pydantic.create_model("Order", number=number, express=(bool, False))


def order_mapping(value: Any) -> dict[str, Any]:
    """Be a schema that returns a mapping."""
    if not isinstance(value, dict) or not isinstance(value.get("number"), int):
        message = "an order has a number"
        raise ValueError(message)
    if value["number"] < 1:
        message = "number must be 1 or more"
        raise ValueError(message)
    return {"express": False, **value}


SCHEMAS: dict[str, Callable[[], Any]] = {
    "pydantic": pydantic_order,
    "dataclass": lambda: Order,
    "callable": lambda: order_mapping,
}
Taken = list[tuple[int, bool]]


@pytest.fixture
def taken() -> Taken:
    return []


@pytest.fixture(params=SCHEMAS)
def orders(request: pytest.FixtureRequest, taken: Taken) -> Workflow[..., None]:
    """Define a workflow whose input one of the schemas checks, and which notes what it got."""
    make: Callable[..., Any] = workflow("orders", schema=SCHEMAS[request.param]())
    if request.param != "callable":

        def takes_object(step: Step, order: Any) -> None:
            taken.append((order.number, order.express))

        return make(takes_object)  # type: ignore[no-any-return]

    def takes_arguments(step: Step, number: int, *, express: bool) -> None:
        taken.append((number, express))

    return make(takes_arguments)  # type: ignore[no-any-return]


# --- start --------------------------------------------------------------------------------------


def test_what_the_schema_returned_is_stored_and_given_to_the_function(
    orders: Workflow[..., None], taken: Taken
) -> None:
    handles = [orders.start(number=7), orders.start({"number": 8, "express": True})]
    assert [handle.run.input for handle in handles] == [
        {"number": 7, "express": False},
        {"number": 8, "express": True},
    ]
    run_until_idle()

    assert taken == [(7, False), (8, True)]
    assert {handle.status for handle in handles} == {"completed"}


@pytest.mark.parametrize("wrong", [{"number": 0}, {"number": "many"}, {}])
def test_a_wrong_input_is_refused_before_anything_is_written(
    orders: Workflow[..., None], wrong: dict[str, Any]
) -> None:
    for start in (
        lambda: orders.start(**wrong),
        lambda: orders.start_input(wrong),
        lambda: orders.start_many([{"number": 1}, wrong]),
    ):
        with pytest.raises(InvalidInput, match=r'^The input of workflow "orders" is not valid: '):
            start()

    assert WorkflowRun.objects.count() == 0


def test_one_json_value_is_checked_as_the_arguments_are(
    orders: Workflow[..., None], taken: Taken
) -> None:
    orders.start_input({"number": 9})
    run_until_idle()

    assert taken == [(9, False)]


def test_the_problems_that_pydantic_finds_are_named_with_their_places() -> None:
    @workflow("orders", schema=pydantic_order())
    def orders(step: Step, order: Any) -> None:
        return None

    with pytest.raises(InvalidInput) as caught:
        orders.start({"number": 0, "express": "perhaps"})

    sentence = str(caught.value)
    assert "number: Input should be greater than or equal to 1; express: Input should" in sentence


def test_an_error_of_another_kind_is_the_schemas_own() -> None:
    def broken(value: Any) -> Any:
        raise LookupError

    @workflow("broken", schema=broken)
    def breaking(step: Step, value: Any) -> None:
        return None

    with pytest.raises(LookupError):
        breaking.start(1)

    assert WorkflowRun.objects.count() == 0


@pytest.mark.parametrize("schema", ["order", 7, {"number": int}], ids=repr)
def test_something_that_cannot_check_is_no_schema(schema: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^schema must be a pydantic model, a dataclass or a c"):
        workflow("orders", schema=schema)(lambda step: None)


# --- execution ----------------------------------------------------------------------------------


def executed(value: Any) -> WorkflowRun:
    """Execute a run that another client started with this input."""
    run = WorkflowRunFactory.create(workflow_name="orders", input=value)
    run_until_idle()
    return RunHandle.get(run.pk).run


def test_an_input_of_another_client_is_checked_when_it_is_executed(
    orders: Workflow[..., None], taken: Taken
) -> None:
    run = executed({"number": 5})

    assert (run.status, taken) == ("completed", [(5, False)])
    assert run.input == {"number": 5}  # a row of somebody else's is not rewritten


def test_a_wrong_input_of_another_client_fails_the_run_with_clear_words(
    orders: Workflow[..., None], taken: Taken
) -> None:
    run = executed({"number": 0})

    assert (run.status, run.error["name"], taken) == ("failed", "InvalidInput", [])
    assert run.error["message"].startswith('The input of workflow "orders" is not valid: ')


def test_a_schema_may_turn_the_input_into_something_that_json_cannot_keep() -> None:
    seen: list[Any] = []

    @workflow("orders", schema=frozenset)
    def orders(step: Step, numbers: frozenset[int]) -> None:
        seen.append(numbers)

    handle = orders.start([1, 2, 2])  # type: ignore[arg-type]
    assert handle.run.input == [1, 2, 2]  # what was given is kept
    run_until_idle()

    assert seen == [frozenset({1, 2})]
