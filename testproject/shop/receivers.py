"""What the shop does when somebody cancels a run."""

from typing import Any

from django.dispatch import receiver

from django_openworkflow.models import WorkflowRun
from django_openworkflow.signals import run_canceled
from testproject.shop.fulfilment import release
from testproject.shop.models import Order
from testproject.shop.workflows import fulfil_order


@receiver(run_canceled, dispatch_uid="shop.run_canceled")
def release_canceled_order(run: WorkflowRun, **_facts: Any) -> None:
    """Give back the goods of a canceled order, whoever canceled it and from where.

    Called once at most: not if the process that cancels dies just then.
    """
    if run.workflow_name == fulfil_order.name:
        release(run.pk, Order.Status.CANCELED)
