"""Configuration of the demo app."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """A small shop whose orders are workflows."""

    name = "testproject.shop"
    label = "shop"
    verbose_name = "Shop"

    def ready(self) -> None:
        """Connect the receivers."""
        from testproject.shop import receivers  # noqa: F401 (importing them connects them)
