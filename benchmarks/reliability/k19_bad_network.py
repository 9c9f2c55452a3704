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


def _weather(swallowed_commit_share: float) -> Weather:
    return Weather(
        longest_delay_seconds=0.5,
        delayed_share=0.02,
        reset_share=0.005,
        swallowed_commit_share=swallowed_commit_share,
    )


SIZES: Final = {
    "small": Plan(runs=24, lasts_seconds=4, weather=_weather(0.1)),
    "full": Plan(runs=600, lasts_seconds=60, weather=_weather(0.02)),
}


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
            ends_at = time.monotonic() + plan.lasts_seconds
            while time.monotonic() < ends_at:
                time.sleep(0.5)
                terminal.glance()
            proxy.weather = Weather()
            active = WorkflowRun.objects.active()
            wait_until(lambda: not active.exists(), seconds=plan.quiet_seconds)
    finally:
        proxy.close()
    faults = {
        "resets": proxy.resets,
        "delays": proxy.delays,
        "swallowed_commits": proxy.swallowed_commits,
    }
    wrong = judge(effects, Hits(), terminal)
    return Findings(
        facts={"runs": WorkflowRun.objects.count(), **faults},
        wrong={**wrong, **{f"no_{name}": int(not count) for name, count in faults.items()}},
    )
