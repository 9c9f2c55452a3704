"""Enter every start of a step's body in a table, so that "executed once" can be counted."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from django_openworkflow import Step
from testproject.shop.models import BodyStart

P = ParamSpec("P")
T = TypeVar("T")


def journaled(body: Callable[Concatenate[Step, P], T]) -> Callable[Concatenate[Step, P], T]:
    """Write a row before the body does anything, under the name of its function.

    The row is committed at once: nothing that happens to the body, not even the death of the
    process, takes it back.
    """

    @wraps(body)
    def start(step: Step, /, *args: P.args, **kwargs: P.kwargs) -> T:
        BodyStart.objects.create(run_id=step.info.id, step=body.__name__, process=os.getpid())
        return body(step, *args, **kwargs)

    return start
