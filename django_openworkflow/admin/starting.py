"""The page that starts a run: a form that the workflow's own schema checks."""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_openworkflow import clock
from django_openworkflow.admin import audit
from django_openworkflow.admin.columns import version_label
from django_openworkflow.admin.forms import StartForm
from django_openworkflow.admin.payloads import pretty
from django_openworkflow.admin.searching import short_id
from django_openworkflow.exceptions import InvalidInput, WorkflowNotRegistered
from django_openworkflow.identifiers import as_uuid
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.schemas import issues

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase

    from django_openworkflow.workflows import Workflow

_OPTIONS: Final = ("available_at", "deadline_at", "idempotency_key", "priority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A registered workflow as the form offers it. ``key`` is its value in the select."""

    key: str
    name: str
    version: str | None
    version_label: str
    label: str
    signature: str
    example: str
    about: str
    queue: str


class StartPage:
    """``start_run``: choose a workflow, type its input, start it."""

    def start_run(self: Any, request: HttpRequest) -> HttpResponseBase:
        """Show the form on a GET, start a run on a POST."""
        known = definitions()
        choices = [(one.key, one.label) for one in known]
        posted = request.POST if request.method == "POST" else None
        initial = self._start_initial(request, known)
        form = StartForm(posted, choices=choices, initial=initial)
        if posted is not None and form.is_valid():
            run_id = _start(self, request, form)
            if run_id is not None:
                return HttpResponseRedirect(self.url_of("change", run_id))
        context = {
            **self.page_context(request, _("Start a run")),
            "form": form,
            "media": self.media + form.media,
            "definitions": known,
            "is_input_hidden": initial.get("input", "") is None,
            "back_url": self.url_of("changelist"),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.templates("start_run.html"), context)

    def _start_initial(self: Any, request: HttpRequest, known: list[Definition]) -> dict[str, Any]:
        """Return what the form begins with: a chosen workflow, or a run to be started again.

        An input that may not be seen is None.
        """
        if (run := self._run_to_repeat(request)) is not None:
            text = self._input_to_repeat(request, run)
            return {"workflow": _key(run.workflow_name, run.version), "input": text}
        wanted = (request.GET.get("workflow"), request.GET.get("version"))
        for one in known:
            if (one.name, one.version) == wanted:
                return {"workflow": one.key, "input": one.example}
        if len(known) == 1:
            return {"workflow": known[0].key, "input": known[0].example}
        return {}

    def _run_to_repeat(self: Any, request: HttpRequest) -> WorkflowRun | None:
        run_id = as_uuid(request.GET.get("again"))
        run: WorkflowRun | None = self.get_object(request, str(run_id)) if run_id else None
        return run

    def _input_to_repeat(self: Any, request: HttpRequest, run: WorkflowRun) -> str | None:
        if run.input is None:
            return ""
        if not self.has_view_payload_permission(request, run):
            return None
        # What is masked on its page would be masked in the new run's input.
        is_whole = self.redact_payload(request, run, run.input) == run.input
        return pretty(run.input) if is_whole else None

    def start_again_url(self: Any, request: HttpRequest, run: WorkflowRun) -> str:
        """Return where a run like this can be started; empty for whom there is no such page."""
        is_known = (run.workflow_name, run.version) in registry.definitions()
        if not (is_known and self.may(request, ["start"], run)):
            return ""
        return f"{self.url_of('start_run')}?again={run.pk}"


def definitions() -> list[Definition]:
    """Return the workflows that this project registers, as the form offers them."""
    return [_definition(registry.find(*key)) for key in registry.definitions()]


def _definition(workflow: Workflow[Any, Any]) -> Definition:
    parameters = _parameters(workflow)
    version = workflow.version
    return Definition(
        key=_key(workflow.name, version),
        name=workflow.name,
        version=version,
        version_label=version_label(version),
        label=workflow.name if version is None else f"{workflow.name} ({version})",
        signature=", ".join(map(_shown, parameters)),
        example=_example(parameters),
        about=(inspect.getdoc(workflow.fn) or "").partition("\n")[0],
        queue=workflow.queue,
    )


def _parameters(workflow: Workflow[Any, Any]) -> list[inspect.Parameter]:
    """Return what an input consists of: the fields of a dataclass or model, or the arguments."""
    if isinstance(workflow.schema, type):
        with suppress(ValueError, TypeError):  # a class that tells nothing, as int
            return list(inspect.signature(workflow.schema).parameters.values())
    return list(inspect.signature(workflow.fn).parameters.values())[1:]


def _shown(parameter: inspect.Parameter) -> str:
    """Return a parameter as its author wrote it: annotations that are texts are not quoted."""
    if not isinstance(parameter.annotation, str):
        return str(parameter)
    bare = str(parameter.replace(annotation=parameter.empty))
    name, _equals, default = bare.partition("=")
    return f"{name}: {parameter.annotation}" + (f" = {default}" if default else "")


def _example(parameters: list[inspect.Parameter]) -> str:
    """Return an input with every parameter that has no default, to be filled in."""
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    return pretty(dict.fromkeys(needed)) if needed else ""


def _key(name: str, version: str | None) -> str:
    return json.dumps([name, version])


def _start(admin: Any, request: HttpRequest, form: StartForm) -> Any:
    """Start what was asked for and return the run's id; None when the form has errors now."""
    data = form.cleaned_data
    name, version = json.loads(data["workflow"])
    options = {key: data[key] for key in _OPTIONS if data[key] not in (None, "")}
    using = WorkflowRun.objects.all().db
    began_at = clock.read(using)
    try:
        with audit.recorded(using):
            run = registry.find(name, version).using(**options).start_input(data["input"]).run
            is_new = data["idempotency_key"] == "" or run.created_at >= _milliseconds(began_at)
            if is_new:
                audit.record(request, [run], "Started.", is_new=True)
    except WorkflowNotRegistered as error:
        form.add_error("workflow", str(error))
        return None
    except InvalidInput as error:
        form.add_error("input", _sentences(error))
        return None
    text, level = gettext("Started workflow run %(run)s."), messages.SUCCESS
    if not is_new:
        text = gettext("This key has started workflow run %(run)s before; nothing was started.")
        level = messages.WARNING
    admin.message_user(request, text % {"run": short_id(run.pk)}, level)
    return run.pk


def _milliseconds(moment: Any) -> Any:
    """Return a moment as ``created_at`` keeps it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _sentences(error: InvalidInput) -> list[str]:
    """Return what is wrong, one sentence for each place in the input where a schema tells them."""
    cause = error.__cause__
    return issues(cause) if isinstance(cause, ValueError | TypeError) else [str(error)]
