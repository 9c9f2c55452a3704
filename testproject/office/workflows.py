"""What the back office does: it waits for people, starts other runs, and meets trouble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypedDict

from django_openworkflow import RetryPolicy, Step, workflow

PATIENCE: Final = RetryPolicy(initial_interval="2s", maximum_attempts=4)


@dataclass(frozen=True)
class NewCustomer:
    """What ``onboard-customer`` needs to know; anything else is refused when a run is started."""

    email: str
    plan: str = "basic"

    def __post_init__(self) -> None:
        if "@" not in self.email:
            message = "email must be an address"
            raise ValueError(message)


class Account(TypedDict):
    """A customer's account."""

    customer: int
    plan: str


def create_account(email: str, plan: str) -> Account:
    """Return the account of this address; the same for the same one."""
    return Account(customer=sum(email.encode()) % 9000 + 1000, plan=plan)


def count_letters(text: str) -> int:
    """Return how many letters a mail has."""
    return len(text)


def total_of(amounts: list[int]) -> int:
    """Add up."""
    return sum(amounts)


@workflow("welcome-mail")
def welcome_mail(step: Step, email: str) -> dict[str, int]:
    """Write a mail, wait a little, send it."""
    letters = step.run("write", count_letters, f"Welcome, {email}!")
    step.sleep("not-at-once", "30s")
    return {"sent": step.run("send", int, letters)}


@workflow("onboard-customer", version="2", schema=NewCustomer)
def onboard_customer(step: Step, customer: NewCustomer) -> dict[str, object]:
    """Create an account, welcome the customer, and wait until somebody approves."""
    account = step.run(
        "create-account", create_account, customer.email, customer.plan, retry_policy=PATIENCE
    )
    step.sleep("cooling-off", "1m")
    step.run_workflow(welcome_mail, email=customer.email)
    approval = step.wait_for_signal(f"approval:{account['customer']}", timeout="3d")
    return {**account, "approved": approval is not None and bool(approval.data)}


@workflow("nightly-report", version="1", queue="reports")
def nightly_report(step: Step, amounts: list[int]) -> dict[str, int]:
    """Add up the amounts of a day."""
    total = step.run("add-up", total_of, amounts, retry_policy=PATIENCE)
    return {"total": step.run("publish", int, total)}
