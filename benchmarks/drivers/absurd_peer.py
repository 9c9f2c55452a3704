"""absurd: durable steps in stored procedures of PostgreSQL."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absurd_sdk import Absurd

from benchmarks.drivers.driver import log, main

QUEUE = "bench"


class AbsurdPeer:
    """See ``driver.Peer``."""

    def init(self, url: str) -> None:
        control = str(Path(sys.executable).parent / "absurdctl")
        subprocess.run([control, "init", "-d", url], check=True)
        subprocess.run([control, "create-queue", "-d", url, QUEUE], check=True)

    def connect(self, url: str) -> None:
        self.app = Absurd(url, queue_name=QUEUE)
        self.app.register_task("three")(three)
        self.app.register_task("five-hundred")(five_hundred)
        self.app.register_task("loop")(loop)

    def work(self, url: str, options: argparse.Namespace) -> None:
        self.connect(url)
        self.app.start_worker(
            concurrency=options.concurrency, poll_interval=options.poll_seconds or 0.25
        )

    def start(self, workflow: str, moment: float) -> Any:
        return self.app.spawn(workflow, {"moment": moment})["task_id"]

    def start_many(self, workflow: str, size: int) -> list[Any]:
        return [self.start(workflow, time.time()) for _ in range(size)]

    def cancel(self, handle: Any) -> None:
        self.app.cancel_task(handle)

    def cancel_many(self, handles: list[Any]) -> None:
        for handle in handles:
            self.app.cancel_task(handle)


def three(params: Any, context: Any) -> Any:
    def first() -> dict[str, int]:
        log("S", params["moment"])
        return {"value": 1}

    one = context.step("a", first)
    two = context.step("b", lambda: {"value": one["value"] + 1})
    return context.step("c", lambda: {"value": two["value"] + 1})


def five_hundred(params: Any, context: Any) -> Any:
    log("F", params["moment"])
    for number in range(500):
        context.step(f"step-{number}", lambda: {"number": 1})
    log("P", params["moment"])
    context.sleep_for("nap", 1)
    log("E", params["moment"])
    return {}


def loop(params: Any, context: Any) -> Any:
    def fifty_milliseconds() -> dict[str, int]:
        log("L", params["moment"])
        time.sleep(0.05)
        log("L", params["moment"])
        return {}

    for number in range(100):
        context.step(f"step-{number}", fifty_milliseconds)
    return {}


if __name__ == "__main__":
    main(AbsurdPeer())
