"""The addresses of the admin's pages, and what comes back from them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final

from django.contrib.messages import get_messages
from django.urls import reverse

if TYPE_CHECKING:
    from django_openworkflow.models import WorkflowRun

APP: Final = "django_openworkflow"


def url(name: str, *args: Any, model: str = "workflowrun") -> str:
    """Return the address of a page."""
    return reverse(f"admin:{APP}_{model}_{name}", args=args)


def on_run(name: str, run: WorkflowRun) -> str:
    """Return the address of a page about a run."""
    return url(name, run.pk)


def messages_of(response: Any) -> list[tuple[str, str]]:
    """Return the level and the words of each message that a request left."""
    return [(message.level_tag, str(message)) for message in get_messages(response.wsgi_request)]


def url_of(response: Any) -> str:
    """Return where a response leads to."""
    return str(response.url)


def bulk(*runs: WorkflowRun, **more: Any) -> dict[str, Any]:
    """Return what the list posts when these runs are ticked and the action is chosen."""
    return {
        "action": "cancel_selected_runs",
        "_selected_action": [str(run.pk) for run in runs],
        "select_across": "0",
        **more,
    }


# The marks of a time axis, of which there are more or fewer as time passes.
_MARKS: Final = {"text", "line"}


class _Skeleton(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _MARKS:
            self.found.append(f"<{tag} {' '.join(name for name, _ in attrs)}>")

    def handle_endtag(self, tag: str) -> None:
        if tag not in _MARKS:
            self.found.append(f"</{tag}>")


def skeleton(markup: str) -> list[str]:
    """Return tags and names of attributes in order, and no value and no text."""
    parser = _Skeleton()
    parser.feed(markup)
    parser.close()
    return parser.found
