"""What the shop does when a run has ended without a shipment."""

from typing import Any

from django.dispatch import receiver

from django_openworkflow.models import WorkflowRun
from django_openworkflow.signals import run_canceled, run_failed
from testproject.shop.fulfilment import release
from testproject.shop.models import Order
from testproject.shop.workflows import fulfil_order


@receiver(run_canceled, dispatch_uid="shop.run_canceled")
def release_canceled_order(run: WorkflowRun, **_facts: Any) -> None:
    """Give back the goods of a canceled order, whoever canceled it and from where."""
    if run.workflow_name == fulfil_order.name:
        release(run.pk, Order.Status.CANCELED)


@receiver(run_failed, dispatch_uid="shop.run_failed")
def release_failed_order(run: WorkflowRun, **_facts: Any) -> None:
    """Give back the goods of an order that cannot be fulfilled."""
    if run.workflow_name == fulfil_order.name:
        release(run.pk, Order.Status.FAILED)
