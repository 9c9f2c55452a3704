"""The spans. Names, attributes and the context that runs carry are those of the original.

Source: the original's ``telemetry.ts``, ``client.ts`` and ``execution.ts``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from django_openworkflow import __version__, conf
from django_openworkflow.instrumentation import Observer, carrier_in
from django_openworkflow.serialization import decode
from django_openworkflow.store import figures
from django_openworkflow.store.operations import (
    RunCompleted,
    RunFailed,
    RunParked,
    RunReleased,
    RunRescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from opentelemetry.trace import TracerProvider

    from django_openworkflow.querysets import CancelOutcome
    from django_openworkflow.store.operations import ClaimedRun

# How a pass ended, in the original's words.
_OUTCOMES: Final[dict[type, str]] = {
    RunCompleted: "completed",
    RunFailed: "failed",
    RunParked: "suspended",
    RunReleased: "suspended",
    RunRescheduled: "retrying",
}
_STALE: Final = "stale"  # the run was canceled, or is somebody else's by now
_MOST_LINKS: Final = 32


class Tracing(Observer):
    """Makes the spans, with the provider that is the process's, or with one of the caller's."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("django_openworkflow", __version__, provider)

    def starting(self, workflow_name: str, version: str | None) -> _Start:
        """Trace the start of runs; they carry its context, and so lead back to it."""
        facts = _workflow_facts(workflow_name, version)
        return _Start(self._span("workflow_run.create", facts, SpanKind.PRODUCER))

    def executing(self, claimed: ClaimedRun) -> _Execution:
        """Trace a pass. Each is a trace of its own, linked to the start, with its baggage."""
        origin = propagate.extract(carrier_in(claimed.context), context=Context())
        origin_span = trace.get_current_span(origin).get_span_context()
        facts = {
            **_workflow_facts(claimed.workflow_name, claimed.version),
            "openworkflow.run.id": str(claimed.lease.run_id),
            "openworkflow.execution.attempt": claimed.attempts,
        }
        alone = trace.set_span_in_context(trace.INVALID_SPAN, origin)
        span = self._tracer.start_span(
            "workflow_run.execute",
            context=alone,
            kind=SpanKind.CONSUMER,
            attributes=facts,
            links=[Link(origin_span)] if origin_span.is_valid else [],
        )
        return _Execution(span, alone)

    def calling(self, claimed: ClaimedRun, step_name: str) -> _Traced:
        """Trace the body of a step, below its pass."""
        facts = {
            "openworkflow.workflow.name": claimed.workflow_name,
            "openworkflow.run.id": str(claimed.lease.run_id),
            "openworkflow.step.name": step_name,
        }
        return _Traced(self._span("step_attempt.execute", facts))

    def canceling(self, using: str) -> _Cancel:
        """Trace a cancel, of however many runs, linked to where they were started."""
        facts = {"openworkflow.namespace.id": conf.namespace()}
        return _Cancel(self._span("workflow_run.cancel", facts), using)

    def _span(
        self, name: str, facts: dict[str, Any], kind: SpanKind = SpanKind.INTERNAL
    ) -> trace.Span:
        return self._tracer.start_span(name, kind=kind, attributes=facts)


class _Traced:
    """A span that is the current one until it ends."""

    def __init__(self, span: trace.Span, parent: Context | None = None) -> None:
        self.span = span
        self._context = trace.set_span_in_context(span, parent)
        self._token = context.attach(self._context)

    @property
    def carrier(self) -> dict[str, str]:
        """Return the span's context as it travels."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=self._context)
        return carrier

    def end(self, result: Any, error: BaseException | None) -> None:
        """End the span; control flow that passes through it is no error."""
        context.detach(self._token)
        try:
            if self.span.is_recording():
                if error is None:
                    self.describe(result)
                elif isinstance(error, Exception):
                    self.span.record_exception(error)
                    self.fail(type(error).__name__, str(error))
        finally:
            self.span.end()

    def describe(self, result: Any) -> None:
        """Say what it came to."""

    def fail(self, kind: str, text: str) -> None:
        """Say that it failed."""
        self.span.set_attribute("error.type", kind)
        self.span.set_status(Status(StatusCode.ERROR, text))


class _Start(_Traced):
    """The start of one run, or of many at once."""

    def describe(self, result: Sequence[UUID] | None) -> None:
        """Name the run, or count them."""
        _name_runs(self.span, result or ())


class _Execution(_Traced):
    """A pass."""

    def describe(self, result: Any) -> None:
        """Say how it ended, and what went wrong if it is to be tried again or has failed."""
        outcome = _OUTCOMES.get(type(result), _STALE)
        self.span.set_attribute("openworkflow.execution.outcome", outcome)
        if isinstance(result, RunFailed | RunRescheduled):
            error = decode(result.error)
            self.fail(str(error.get("name", "Error")), str(error.get("message", "")))


class _Cancel(_Traced):
    """A cancel."""

    def __init__(self, span: trace.Span, using: str) -> None:
        super().__init__(span)
        self._using = using

    def describe(self, result: CancelOutcome | None) -> None:
        """Name what was canceled, and lead back to where that was started."""
        canceled = result.all_canceled() if result is not None else []
        _name_runs(self.span, canceled)
        for carried in figures.contexts(canceled[:_MOST_LINKS], using=self._using):
            origin = propagate.extract(carrier_in(carried), context=Context())
            origin_span = trace.get_current_span(origin).get_span_context()
            if origin_span.is_valid:
                self.span.add_link(origin_span)


def _workflow_facts(name: str, version: str | None) -> dict[str, Any]:
    facts = {"openworkflow.workflow.name": name, "openworkflow.namespace.id": conf.namespace()}
    return facts if version is None else {**facts, "openworkflow.workflow.version": version}


def _name_runs(span: trace.Span, ids: Sequence[UUID]) -> None:
    if len(ids) == 1:
        span.set_attribute("openworkflow.run.id", str(ids[0]))
    else:
        span.set_attribute("openworkflow.run.count", len(ids))
