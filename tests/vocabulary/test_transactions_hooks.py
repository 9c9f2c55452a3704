"""Transaction steps whose bodies have something done after the commit."""

from __future__ import annotations

from django.db import transaction

from tests.engine.passes import attempts_of, raiser, tick
from tests.vocabulary.test_transactions import ONCE, add_group, groups, start, with_real_commits


@with_real_commits
def test_hooks_of_the_body_run_once_after_the_commit_and_never_after_a_rollback() -> None:
    seen: list[tuple[int, int]] = []
    tries: list[int] = []

    def body() -> None:
        tries.append(len(tries))
        transaction.on_commit(lambda: seen.append((len(tries), len(groups()))))
        add_group()
        if len(tries) == 1:
            raise KeyError

    start(body)
    tick("10s")
    tick("1h")

    assert seen == [(2, 1)]


@with_real_commits
def test_a_hook_that_raises_after_the_commit_does_not_undo_the_step() -> None:
    """The writes are there and the attempt has completed: the run must not say otherwise."""

    def body() -> str:
        transaction.on_commit(raiser(KeyError("missing")))
        return add_group()

    handle = start(body, retry_policy=ONCE)
    tick("1h")

    assert groups() == ["written"]
    assert attempts_of(handle)[0].status == "completed"
    assert handle.status == "completed"
