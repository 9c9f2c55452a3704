"""Spans by the real SDK: which there are, how they hang together, what runs carry."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.test import override_settings
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from django_openworkflow import AsyncStep, RetryPolicy, Step, instrumentation, workflow
from django_openworkflow.contrib.otel.spans import Tracing
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import raiser
from tests.factories import WorkflowRunFactory
from tests.worker.workers import work_until_idle

if TYPE_CHECKING:
    from collections.abc import Sequence

PROVIDER = TracerProvider()
TRACER = PROVIDER.get_tracer("tests")
ONCE = RetryPolicy(maximum_attempts=1)


class Spans:
    """What the exporter got."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span


@pytest.fixture
def spans() -> Spans:
    exporter = InMemorySpanExporter()
    PROVIDER._active_span_processor._span_processors = ()
    PROVIDER.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentation.install(Tracing(PROVIDER))
    return Spans(exporter)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    found: int = span.context.span_id
    return found


def traceparent(span: ReadableSpan) -> str:
    assert span.context is not None
    found = span.context
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


@pytest.mark.django_db
def test_a_start_belongs_to_the_trace_of_its_caller_and_the_run_carries_it(spans: Spans) -> None:
    @workflow("greet", version="2")
    def greet(step: Step) -> None: ...

    with TRACER.start_as_current_span("request") as request:
        handle = greet.start()
    start = spans.one("workflow_run.create")
    assert start.parent is not None
    assert start.parent.span_id == request.get_span_context().span_id
    assert start.kind is SpanKind.PRODUCER
    assert attributes(start) == {
        "openworkflow.workflow.name": "greet",
        "openworkflow.workflow.version": "2",
        "openworkflow.namespace.id": "default",
        "openworkflow.run.id": str(handle.id),
    }
    assert handle.run.context == {"traceContext": {"traceparent": traceparent(start)}}


@pytest.mark.django_db
def test_many_starts_are_one_span(spans: Spans) -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    greet.start_many([{}, {}, {}])
    assert attributes(spans.one("workflow_run.create"))["openworkflow.run.count"] == 3


@pytest.mark.django_db
def test_each_pass_is_a_trace_of_its_own_that_leads_back_to_the_start(spans: Spans) -> None:
    @workflow("greet")
    def greet(step: Step) -> str:
        step.run("look", lambda: 1)
        step.sleep("pause", "1h")
        return "hello"

    handle = greet.start()
    start = spans.one("workflow_run.create")
    with TRACER.start_as_current_span("the worker's own"):
        run_until_idle()
        advance("1h")
        run_until_idle()
    first, second = spans.named("workflow_run.execute")
    for number, (span, outcome) in enumerate(((first, "suspended"), (second, "completed")), 1):
        assert (span.parent, span.kind) == (None, SpanKind.CONSUMER)
        assert links(span) == [span_id(start)]
        assert attributes(span) == {
            "openworkflow.workflow.name": "greet",
            "openworkflow.namespace.id": "default",
            "openworkflow.run.id": str(handle.id),
            "openworkflow.execution.attempt": number,
            "openworkflow.execution.outcome": outcome,
        }
    body = spans.one("step_attempt.execute")
    assert body.parent is not None
    assert body.parent.span_id == span_id(first)
    assert attributes(body) == {
        "openworkflow.workflow.name": "greet",
        "openworkflow.run.id": str(handle.id),
        "openworkflow.step.name": "look",
    }
    assert body.status.status_code is StatusCode.UNSET


@pytest.mark.django_db
def test_baggage_travels_with_the_run(spans: Spans) -> None:
    seen: list[object] = []

    @workflow("greet")
    def greet(step: Step) -> None:
        step.run("look", lambda: seen.append(baggage.get_baggage("tenant")))

    token = context.attach(baggage.set_baggage("tenant", "blue"))
    try:
        greet.start()
    finally:
        context.detach(token)
    run_until_idle()
    assert seen == ["blue"]


@pytest.mark.django_db
def test_failures_say_what_went_wrong(spans: Spans) -> None:
    @workflow("fragile")
    def fragile(step: Step) -> None:
        step.run("break", raiser(ValueError("no")), retry_policy=RetryPolicy(maximum_attempts=2))

    fragile.start()
    run_until_idle()
    advance("2s")
    run_until_idle()
    bodies = spans.named("step_attempt.execute")
    assert [attributes(span)["error.type"] for span in bodies] == ["ValueError", "ValueError"]
    assert [event.name for span in bodies for event in span.events] == ["exception", "exception"]
    passes = spans.named("workflow_run.execute")
    assert [attributes(span)["openworkflow.execution.outcome"] for span in passes] == [
        "retrying",
        "failed",
    ]
    for span in (*bodies, *passes):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no")


@pytest.mark.django_db(transaction=True)
def test_threads_and_the_event_loop_keep_spans_apart(spans: Spans) -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        with TRACER.start_as_current_span("inside"):
            return "async"

    def read() -> str:
        with TRACER.start_as_current_span("inside"):
            return "sync"

    @workflow("loop")
    async def loop(step: AsyncStep) -> list[str]:
        return list(await asyncio.gather(step.run("a", look), step.run("b", read)))

    @workflow("threads")
    def threads(step: Step) -> list[str]:
        return step.gather(step.call("c", read), step.call("d", read))

    handles = [loop.start(), threads.start(), loop.start()]
    work_until_idle()
    assert {handle.status for handle in handles} == {"completed"}
    passes = {span_id(span): span for span in spans.named("workflow_run.execute")}
    bodies = {span_id(span): span for span in spans.named("step_attempt.execute")}
    inside = spans.named("inside")
    assert (len(passes), len(bodies), len(inside)) == (3, 6, 6)
    for span in bodies.values():
        assert span.parent is not None
        parent = passes[span.parent.span_id]
        run = "openworkflow.run.id"
        assert attributes(parent)[run] == attributes(span)[run]
    assert {span.parent.span_id for span in inside if span.parent} == set(bodies)


@pytest.mark.django_db
def test_children_lead_back_to_the_pass_that_started_them(spans: Spans) -> None:
    @workflow("child")
    def child(step: Step) -> int:
        return 1

    @workflow("parent")
    def parent(step: Step) -> int:
        return step.run_workflow(child)

    parent.start()
    run_until_idle()
    [start] = [
        span
        for span in spans.named("workflow_run.create")
        if attributes(span)["openworkflow.workflow.name"] == "child"
    ]
    first = spans.named("workflow_run.execute")[0]
    assert start.parent is not None
    assert start.parent.span_id == span_id(first)
    born = WorkflowRun.objects.get(workflow_name="child")
    assert born.context == {"traceContext": {"traceparent": traceparent(start)}}
    assert attributes(start)["openworkflow.run.id"] == str(born.pk)


@pytest.mark.django_db
def test_a_cancel_leads_back_to_the_start(spans: Spans) -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    handle = greet.start()
    with TRACER.start_as_current_span("request") as request:
        handle.cancel(reason="a secret reason", actor="eva")
    cancel = spans.one("workflow_run.cancel")
    assert cancel.parent is not None
    assert cancel.parent.span_id == request.get_span_context().span_id
    assert attributes(cancel) == {
        "openworkflow.namespace.id": "default",
        "openworkflow.run.id": str(handle.id),
    }
    assert links(cancel) == [span_id(spans.one("workflow_run.create"))]


@pytest.mark.django_db
def test_a_cancel_of_many_counts_them_and_bounds_its_links(spans: Spans) -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    greet.start_many([{}] * 40)
    WorkflowRunFactory.create()
    WorkflowRun.objects.all().cancel_active()
    cancel = spans.one("workflow_run.cancel")
    assert attributes(cancel)["openworkflow.run.count"] == 41
    assert 0 < len(cancel.links) <= 32


@pytest.mark.django_db
@pytest.mark.parametrize(
    "stored", [None, {"traceContext": {"traceparent": "rubbish"}}, {"traceContext": 7}]
)
def test_a_run_without_a_readable_trace_has_no_link(spans: Spans, stored: Any) -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    handle = greet.start()
    WorkflowRun.objects.filter(pk=handle.id).update(context=stored)
    run_until_idle()
    assert spans.one("workflow_run.execute").links == ()
    assert handle.status == "completed"


@pytest.mark.django_db
def test_a_canceled_pass_is_stale_and_its_step_no_error(spans: Spans) -> None:
    @workflow("self-canceled")
    def self_canceled(step: Step) -> None:
        step.run("cancel", lambda: WorkflowRun.objects.cancel(step.info.id).status)
        step.run("never", lambda: None)

    self_canceled.start()
    run_until_idle()
    outcome = attributes(spans.one("workflow_run.execute"))["openworkflow.execution.outcome"]
    assert outcome == "stale"
    assert spans.one("step_attempt.execute").status.status_code is StatusCode.UNSET


@pytest.mark.django_db
def test_without_an_sdk_runs_carry_what_their_caller_came_with() -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    instrumentation.install(Tracing(trace.NoOpTracerProvider()))
    assert greet.start().run.context is None
    run_until_idle()


def test_the_app_lets_the_tracer_look_on() -> None:
    installed = [*apps.get_app_configs()]
    names = [config.name for config in installed]
    with override_settings(INSTALLED_APPS=[*names, "django_openworkflow.contrib.otel"]):
        assert [type(found).__name__ for found in instrumentation._observers] == ["Tracing"]


def test_without_the_package_the_app_does_nothing() -> None:
    code = (
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Hidden(MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'opentelemetry': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "import importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'opentelemetry' else real(name)\n"
        "import django\n"
        "from django.conf import settings\n"
        "from testproject import settings as ours\n"
        "ours.INSTALLED_APPS.append('django_openworkflow.contrib.otel')\n"
        "django.setup()\n"
        "from django_openworkflow import instrumentation\n"
        "print(instrumentation.is_watched())\n"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "testproject.settings"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
