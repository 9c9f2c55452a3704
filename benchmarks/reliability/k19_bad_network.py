"""K19: a network that delays, resets and swallows the replies to commits; judged as K1 is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from benchmarks.reliability.arena import Arena, Findings, wait_until
from benchmarks.reliability.effects import Effects
from benchmarks.reliability.fleet import Fleet
from benchmarks.reliability.judge import Hits, Terminal, judge
from benchmarks.reliability.proxy import Proxy, Weather
from benchmarks.reliability.workflows import KINDS
from django_openworkflow.models import WorkflowRun


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long the weather is bad, and how many runs there are."""

    runs: int
    lasts_seconds: float
    weather: Weather
    workers: int = 2
    quiet_seconds: float = 120


def _weather(*, reset_share: float, swallowed_commit_share: float) -> Weather:
    return Weather(
        longest_delay_seconds=0.5,
        delayed_share=0.02,
        reset_share=reset_share,
        swallowed_commit_share=swallowed_commit_share,
    )


_BAD: Final = _weather(reset_share=0.005, swallowed_commit_share=0.02)
_WORSE: Final = _weather(reset_share=0.02, swallowed_commit_share=0.1)
SIZES: Final = {
    "small": Plan(runs=24, lasts_seconds=4, weather=_WORSE),
    "full": Plan(runs=600, lasts_seconds=60, weather=_BAD),
}
# By chance one of the faults may not have come by then.
_LONGEST_FACTOR: Final = 5


def measure(arena: Arena, plan: Plan) -> Findings:
    """Let them work in bad weather, then in good weather until all have ended."""
    proxy = Proxy(arena.postgres.port, seed=arena.seed)
    proxied = arena.postgres.url(arena.database, port=proxy.port)
    effects, terminal = Effects(arena.folder / "effects"), Terminal()
    try:
        with Fleet(arena.folder, concurrency=10, DATABASE_URL=proxied) as fleet:
            fleet.start(plan.workers)
            for number in range(plan.runs):
                KINDS[number % len(KINDS)].start(seconds=0.1)
            wait_until(WorkflowRun.objects.filter(attempts__gt=0).exists, seconds=30)
            proxy.weather = plan.weather
            began_at = time.monotonic()
            while _goes_on(proxy, time.monotonic() - began_at, plan.lasts_seconds):
                time.sleep(0.5)
                terminal.glance()
            proxy.weather = Weather()
            active = WorkflowRun.objects.active()
            wait_until(lambda: not active.exists(), seconds=plan.quiet_seconds)
    finally:
        proxy.close()
    faults = _faults(proxy)
    wrong = judge(effects, Hits(), terminal)
    return Findings(
        facts={"runs": WorkflowRun.objects.count(), **faults},
        wrong={**wrong, **{f"no_{name}": int(not count) for name, count in faults.items()}},
    )


def _faults(proxy: Proxy) -> dict[str, int]:
    return {
        "resets": proxy.resets,
        "delays": proxy.delays,
        "swallowed_commits": proxy.swallowed_commits,
    }


def _goes_on(proxy: Proxy, seconds: float, lasts_seconds: float) -> bool:
    """Whether the weather stays bad: for its time, and until each fault has come once."""
    if seconds < lasts_seconds:
        return True
    return not all(_faults(proxy).values()) and seconds < _LONGEST_FACTOR * lasts_seconds
