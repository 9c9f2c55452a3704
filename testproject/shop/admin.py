"""The shop in the admin."""

from django.contrib import admin

from testproject.shop.models import (
    BodyStart,
    GatewayRequest,
    Order,
    Payment,
    Shipment,
    StockItem,
)

admin.site.register(
    StockItem, list_display=("sku", "name", "unit_price_cents", "on_hand", "reserved")
)
admin.site.register(
    Order,
    list_display=("number", "customer", "item", "quantity", "service", "status", "run_id"),
    list_filter=("status", "service", "item"),
    search_fields=("number", "customer", "email", "run_id"),
)
admin.site.register(Payment, list_display=("key", "order", "amount_cents", "created_at"))
admin.site.register(Shipment, list_display=("tracking_number", "order", "created_at"))
admin.site.register(
    GatewayRequest, list_display=("key", "answer", "received_at"), list_filter=("answer",)
)
admin.site.register(
    BodyStart,
    list_display=("run_id", "step", "process", "started_at"),
    list_filter=("step",),
    search_fields=("run_id",),
)
