"""The page that sends a signal, from the run that waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_openworkflow import conf
from django_openworkflow.admin import audit
from django_openworkflow.admin.actions import object_action
from django_openworkflow.admin.attempts import open_waits
from django_openworkflow.admin.cancelling import is_cancelable
from django_openworkflow.admin.detail import awaited
from django_openworkflow.admin.forms import SignalForm
from django_openworkflow.exceptions import InvalidInput
from django_openworkflow.sending import send_signal
from django_openworkflow.store.signalling import was_sent

if TYPE_CHECKING:
    from django import forms
    from django.http import HttpRequest

    from django_openworkflow.admin.actions import Action
    from django_openworkflow.models import WorkflowRun


class SignalPage:
    """``send_signal``: choose an address, type the data, send it to whoever waits there."""

    @object_action(
        title=_("Send signal"),
        permissions=["signal"],
        form=SignalForm,
        template="send_signal.html",
        is_available=is_cancelable,
    )
    def send_signal(self: Any, request: HttpRequest, run: WorkflowRun, form: forms.Form) -> None:
        """Send it; the run it was sent from and those that received it keep a record."""
        data = form.cleaned_data
        using = run._state.db or ""
        try:
            with audit.recorded(using):
                if _is_repeated(data["signal"], data["idempotency_key"]):
                    text = gettext("This key was used before; nothing was sent again.")
                    self.message_user(request, text, messages.WARNING)
                    return
                received = send_signal(
                    data["signal"],
                    data["data"],
                    idempotency_key=data["idempotency_key"] or None,
                    buffered=data["buffered"],
                )
                message = f'Sent signal "{data["signal"]}".'
                audit.record_runs(request, {run.pk, *received}, message, using=using)
        except InvalidInput as error:
            form.add_error("data", str(error))
            return
        self.message_user(request, *_outcome(len(received), is_kept=data["buffered"]))

    def action_form_for(self: Any, request: HttpRequest, obj: Any, action: Action) -> forms.Form:
        """Suggest the addresses that the run waits at now."""
        if action.form is not SignalForm:
            form: forms.Form = super().action_form_for(request, obj, action)  # type: ignore[misc]
            return form
        waits = open_waits(obj, obj._state.db)
        posted = request.POST if request.method == "POST" else None
        return SignalForm(posted, awaited=awaited(waits))


def _is_repeated(signal: str, key: str) -> bool:
    """Whether this key has sent the signal before, to whoever it was."""
    return bool(key) and was_sent(conf.get_settings().DATABASE, signal, key)


def _outcome(count: int, *, is_kept: bool) -> tuple[str, int]:
    if count:
        text = ngettext(
            "%(count)d workflow run received the signal.",
            "%(count)d workflow runs received the signal.",
            count,
        )
        return text % {"count": count}, messages.SUCCESS
    if is_kept:
        text = gettext("No workflow run waits for the signal: it is kept for the next one.")
        return text, messages.SUCCESS
    return gettext("No workflow run waits for the signal: nobody received it."), messages.WARNING
