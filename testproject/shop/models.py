"""The shop's tables: stock, orders, payments, shipments, and a journal of what was done."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class StockItem(models.Model):
    """A product and how many of it lie in the warehouse."""

    sku = models.CharField("SKU", max_length=20, primary_key=True)
    name = models.CharField(max_length=100)
    unit_price_cents = models.PositiveIntegerField()
    on_hand = models.PositiveIntegerField()
    reserved = models.PositiveIntegerField(default=0)

    class Meta:
        """Nobody can promise what is not there."""

        ordering = ("sku",)
        constraints = (
            models.CheckConstraint(
                name="shop_reserved_is_there", condition=Q(reserved__lte=F("on_hand"))
            ),
        )

    def __str__(self) -> str:
        return self.sku


class Order(models.Model):
    """One product for one customer."""

    class Status(models.TextChoices):
        """How far the order has come."""

        NEW = "new"
        RESERVED = "reserved"
        SHIPPED = "shipped"
        CANCELED = "canceled"
        FAILED = "failed"

    class Service(models.TextChoices):
        """How long an order may still be canceled once it is packed."""

        EXPRESS = "express"
        STANDARD = "standard"
        SAVER = "saver"

    number = models.PositiveIntegerField(primary_key=True)
    placed_on = models.DateField()
    customer = models.CharField(max_length=100)
    email = models.EmailField()
    item = models.ForeignKey(StockItem, on_delete=models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField()
    total_cents = models.PositiveIntegerField()
    card = models.CharField(max_length=30, help_text="The gateway's token; never a number.")
    service = models.CharField(max_length=10, choices=Service)
    engraving = models.CharField(max_length=60, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.NEW)
    # No foreign key: finished runs may be pruned, orders are kept.
    run_id = models.UUIDField("workflow run", unique=True, null=True, blank=True)
    notified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Listed by number."""

        ordering = ("number",)

    def __str__(self) -> str:
        return f"Order {self.number}"


class Payment(models.Model):
    """Money taken by the gateway. One per key; nothing but the key keeps it to one per order."""

    key = models.CharField(max_length=100, unique=True)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="payments")
    amount_cents = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.key


class GatewayRequest(models.Model):
    """One request to the gateway, and what it answered."""

    class Answer(models.TextChoices):
        """What the gateway makes of a request."""

        ACCEPTED = "accepted"
        REPEATED = "repeated"  # the key had been charged before: the same payment again
        DECLINED = "declined"
        UNAVAILABLE = "unavailable"

    key = models.CharField(max_length=100, db_index=True)
    answer = models.CharField(max_length=11, choices=Answer)
    received_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.key}: {self.answer}"


class Shipment(models.Model):
    """A parcel on its way. Like payments, not limited to one per order by the table."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="shipments")
    tracking_number = models.CharField(max_length=20)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.tracking_number


class BodyStart(models.Model):
    """The body of a step has started: one row for each time, whatever became of it."""

    run_id = models.UUIDField()
    step = models.CharField(max_length=30)
    process = models.IntegerField("process id")
    started_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Read by run and step."""

        indexes = (models.Index(fields=("run_id", "step"), name="shop_bodystart_step"),)

    def __str__(self) -> str:
        return f"{self.step} in process {self.process}"
