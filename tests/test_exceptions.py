"""Errors cross the borders of processes whole."""

from __future__ import annotations

import copy
import pickle
from typing import Final
from uuid import UUID

import pytest

from django_openworkflow import exceptions

RUN_ID: Final = UUID(int=7)
ERRORS: Final[list[BaseException]] = [
    exceptions.OpenWorkflowError("words"),
    exceptions.RunNotFound(RUN_ID),
    exceptions.RunNotCancelable(RUN_ID, "completed"),
    exceptions.RunNotRetryable(RUN_ID, "running"),
    exceptions.WorkflowCanceled("order", RUN_ID, "duplicate"),
    exceptions.WorkflowFailed("order", RUN_ID, {"name": "ValueError", "message": "No stock"}),
    exceptions.ResultTimeout(RUN_ID, 1.0),
    exceptions.InvalidInput("words"),
    exceptions.InvalidPayload("input", "$.a", "not JSON"),
    exceptions.InvalidDuration("words"),
    exceptions.DuplicateWorkflow("order", "2"),
    exceptions.WorkflowNotRegistered("order", None),
    exceptions.StepLimitExceeded(1000, 1001),
    exceptions.StepFailed("charge", 3, {"message": "declined"}),
    exceptions.NonDeterministicWorkflow("words"),
    exceptions.StepCallRefused("words"),
    exceptions.RunCanceled(RUN_ID),
]


def test_every_error_is_here() -> None:
    named = {
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    assert {type(error) for error in ERRORS} == named


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_pickled_and_copied_with_its_sentence_and_its_facts(
    error: BaseException,
) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


def test_one_second_is_said_as_one() -> None:
    sentence = str(exceptions.ResultTimeout(RUN_ID, 1.0))
    assert sentence == f"Workflow run {RUN_ID} did not end within 1 second"
