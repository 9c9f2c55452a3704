"""One word and one colour for where a run or a step attempt stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.template.defaultfilters import capfirst
from django.utils.html import format_html
from django.utils.translation import gettext as _

from django_openworkflow.states import SUCCESSFUL, WAITS, RunStatus

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

    from django_openworkflow.models import StepAttempt, WorkflowRun

# What is shown: the statuses of rows, with the legacy ones told as what they mean.
STATES: Final = (
    RunStatus.PENDING,
    RunStatus.RUNNING,
    RunStatus.SLEEPING,
    RunStatus.COMPLETED,
    RunStatus.FAILED,
    RunStatus.CANCELED,
)


@dataclass(frozen=True, slots=True)
class Badge:
    """``kind`` chooses the colour, ``label`` says the same in words."""

    kind: str
    label: str

    def __html__(self) -> SafeString:
        return format_html(
            '<span class="ow-badge ow-badge-{}">{}</span>', self.kind, capfirst(self.label)
        )

    __str__ = __html__


def run_state(run: WorkflowRun) -> RunStatus:
    """Return where a run stands: parked runs sleep, and legacy words mean what they meant."""
    if run.status == RunStatus.RUNNING and run.worker_id is None:
        return RunStatus.SLEEPING
    if run.status in SUCCESSFUL:
        return RunStatus.COMPLETED
    return RunStatus(run.status)


def run_badge(run: WorkflowRun) -> Badge:
    """Return the badge of a run."""
    return state_badge(run_state(run))


def state_badge(state: Any) -> Badge:
    """Return the badge of a state, of a run or of a step attempt."""
    return Badge(str(state), str(RunStatus(state).label))


def attempt_badge(attempt: StepAttempt) -> Badge:
    """Return the badge of a step attempt, whose words are a part of a run's but for one."""
    if was_closed(attempt):
        return Badge(str(RunStatus.CANCELED), _("closed"))
    kind = RunStatus.COMPLETED if attempt.status in SUCCESSFUL else RunStatus(attempt.status)
    return state_badge(kind)


def was_closed(attempt: StepAttempt) -> bool:
    """Whether the end of the run closed this wait: it was set aside then and there, by no retry."""
    ended_at = attempt.finished_at
    return attempt.kind in WAITS and ended_at is not None and attempt.superseded_at == ended_at
