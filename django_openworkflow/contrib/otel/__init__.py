"""Spans for OpenTelemetry: ``"django_openworkflow.contrib.otel"`` in ``INSTALLED_APPS``.

Needs the extra ``otel``, which is the API alone: whoever wants spans brings an SDK. Without the
package nothing happens, so that settings may name this app everywhere.
"""
