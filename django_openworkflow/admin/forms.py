"""What operators type. Every field is checked before anything is written."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.db.models.fields import BLANK_CHOICE_DASH
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_openworkflow import clock, json_text
from django_openworkflow.durations import parse_duration
from django_openworkflow.exceptions import InvalidDuration
from django_openworkflow.names import MAX_NAME_BYTES, is_printable

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_REASON: Final = 1000


class JSONText(forms.CharField):
    """JSON as text; cleaned to its value. Empty is None."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        options.setdefault("required", False)
        options.setdefault(
            "widget",
            forms.Textarea(
                attrs={"rows": 8, "spellcheck": "false", "class": "vLargeTextField ow-code"}
            ),
        )
        super().__init__(**options)

    def clean(self, value: Any) -> Any:
        """Return the value; raises ``ValidationError`` with the place of a mistake."""
        text = super().clean(value)
        if not text.strip():
            return None
        try:
            return json_text.read(text)
        except ValueError as error:
            message = _("This is not valid JSON: %(problem)s")
            raise ValidationError(message, params={"problem": error}) from None


class MomentField(forms.DateTimeField):
    """When: a date and time, or a duration from now such as ``5m``."""

    widget = forms.TextInput

    def __init__(self, **options: Any) -> None:
        options.setdefault("required", False)
        options.setdefault("widget", forms.TextInput(attrs={"class": "vTextField"}))
        super().__init__(**options)

    def to_python(self, value: Any) -> Any:
        """Return an aware datetime or a span from now."""
        moment: datetime | timedelta | None
        try:
            moment = super().to_python(value)
        except ValidationError:
            try:
                moment = parse_duration(str(value).strip())
            except InvalidDuration:
                message = _("Give a date and time such as 2026-12-31 18:00, or a duration: 5m, 2h.")
                raise ValidationError(message) from None
        return moment


class NameField(forms.CharField):
    """A name, key or address, as the engine takes them."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.TextInput(attrs={"class": "vTextField"}))
        super().__init__(**options)

    def clean(self, value: Any) -> str:
        """Return the name; raises ``ValidationError`` for one that cannot be stored."""
        name: str = super().clean(value)
        if name and not is_printable(name):
            message = _("Printable text of at most %(limit)d bytes is needed.")
            raise ValidationError(message, params={"limit": MAX_NAME_BYTES})
        return name


class ReasonForm(forms.Form):
    """Why. Kept in the history of the run."""

    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
    )


class CancelForm(ReasonForm):
    """Why, and how far."""

    cascade = forms.BooleanField(
        label=_("Also cancel child runs"),
        required=False,
        help_text=_("And their children: everything below that has not ended."),
    )


class SignalForm(forms.Form):
    """A signal to whoever waits for it. ``awaited``: addresses to suggest."""

    signal = NameField(
        label=_("Signal"), help_text=_("Every run that waits for this address receives it.")
    )
    data = JSONText(  # type: ignore[assignment]
        label=_("Data"), help_text=_("JSON; empty for a signal without data.")
    )
    idempotency_key = NameField(
        label=_("Idempotency key"),
        required=False,
        help_text=_("A second signal with the same key is not delivered."),
    )
    buffered = forms.BooleanField(
        label=_("Keep it when nobody waits"),
        required=False,
        help_text=_("For the next step that waits for it."),
    )

    def __init__(self, data: Any = None, *, awaited: Sequence[str] = ()) -> None:
        super().__init__(data)
        self.awaited = awaited
        self.fields["signal"].widget.attrs["list"] = "ow-awaited"
        if len(awaited) == 1:
            self.fields["signal"].initial = awaited[0]


class StartForm(forms.Form):
    """A new run of one of the registered workflows."""

    workflow = forms.ChoiceField(label=_("Workflow"))
    input = JSONText(
        label=_("Input"),
        help_text=_("JSON: an object with the arguments by name; empty for none."),
    )
    available_at = MomentField(
        label=_("Not before"),
        help_text=_("A date and time, or a duration from now such as 5m. Empty: at once."),
    )
    deadline_at = MomentField(
        label=_("Deadline"),
        help_text=_(
            "A date and time, or a duration from now such as 2h. The run fails if it has not ended "
            "by then."
        ),
    )
    idempotency_key = NameField(
        label=_("Idempotency key"),
        required=False,
        help_text=_("Within 24 hours the same key finds the same run instead of a new one."),
    )
    priority = forms.IntegerField(
        label=_("Priority"),
        initial=0,
        required=False,
        min_value=-(2**31) + 1,
        max_value=2**31 - 1,
        help_text=_("Higher first."),
        widget=forms.NumberInput(attrs={"class": "vIntegerField"}),
    )

    def __init__(
        self, data: Any = None, *, choices: Sequence[tuple[str, str]], initial: Any = None
    ) -> None:
        super().__init__(data, initial=initial)
        field: Any = self.fields["workflow"]
        # No workflow is started just because it is the first.
        field.choices = [*BLANK_CHOICE_DASH, *choices]

    def clean(self) -> dict[str, Any]:
        """Refuse a deadline that the run would miss before it could begin."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        now = timezone.now() + clock.offset()
        begins_at, deadline_at = (
            now + value if isinstance(value, timedelta) else value
            for value in (data.get("available_at"), data.get("deadline_at"))
        )
        if deadline_at and deadline_at <= now:
            self.add_error("deadline_at", _("This time has passed already."))
        elif deadline_at and begins_at and deadline_at <= begins_at:
            self.add_error("deadline_at", _("The run may not begin before this deadline."))
        return data
