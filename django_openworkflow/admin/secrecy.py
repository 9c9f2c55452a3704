"""Which payloads a user may see, and what of them. To be changed in one place: a subclass."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django_openworkflow.admin.payloads import HIDDEN_KEYS, highlighted, masked, pretty

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as it was stored: one line, and where it came from."""

    headline: str
    traceback: str = ""


class PayloadRules:
    """What the admin of runs says about payloads; the pages of steps and signals ask it, too."""

    payload_permission: ClassVar[str | None] = None
    hidden_keys: ClassVar[re.Pattern[str] | None] = HIDDEN_KEYS

    def has_view_payload_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether inputs, outputs, data of signals and tracebacks are shown at all.

        ``payload_permission`` names the permission that it takes, as in ``"app.codename"``; None,
        the default, shows them to everybody who may view the run.
        """
        return self.payload_permission is None or request.user.has_perm(self.payload_permission)

    def redact_payload(self, request: HttpRequest, obj: Any, value: Any) -> Any:
        """Return what is shown of a payload of ``obj``: a run, a step attempt or a signal.

        By default a mask stands in place of what is stored under the name of a secret.
        """
        return value if self.hidden_keys is None else masked(value, self.hidden_keys)

    def redact_text(self, request: HttpRequest, obj: Any, text: str) -> str:
        """Return what is shown of a message or traceback; by default all of it."""
        return text

    # --- for the pages --------------------------------------------------------------------------

    def shown_payload(self, request: HttpRequest, obj: Any, value: Any) -> SafeString | None:
        """Return a payload as coloured JSON; None when there is none."""
        if value is None:
            return None
        return highlighted(self.redact_payload(request, obj, value))

    def shown_error(self, request: HttpRequest, obj: Any, error: Any) -> Failure | None:
        """Return a stored error to be shown; None when there is none."""
        if not error:
            return None
        if not isinstance(error, dict):
            return Failure(headline=self.redact_text(request, obj, pretty(error)))
        name, message = error.get("name"), error.get("message", "")
        headline = f"{name}: {message}" if name and name != "Error" else f"{message}"
        stack = error.get("stack") if self.has_view_payload_permission(request, obj) else None
        return Failure(
            headline=self.redact_text(request, obj, headline),
            traceback=self.redact_text(request, obj, str(stack)) if stack else "",
        )
