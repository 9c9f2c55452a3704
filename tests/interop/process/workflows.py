"""Found by Django's start-up, as any app's workflows are."""

from tests.interop.scripts import register

register()
