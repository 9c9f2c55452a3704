"""Threads for user code: started as needed, daemons, and tidy with their database connections."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class DaemonPool:
    """A pool whose threads cannot keep the process alive, however long a body runs.

    ``concurrent.futures`` waits for its threads when the interpreter ends, and leaves their
    database connections to the garbage collector; a worker can afford neither.
    """

    def __init__(self, size: int, *, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._mutex = threading.Lock()
        self._context = copy_context()

    def run(self, fn: Callable[[], object]) -> None:
        """Call ``fn``, which never raises, in a thread and in a context of its own."""
        with self._mutex:
            self._unfinished += 1
            if len(self._threads) < min(self._unfinished, self._size):
                self._start_thread()
        self._jobs.put(fn)

    def submit(self, fn: Callable[[], T]) -> Future[T]:
        """Call ``fn`` in a thread, in a copy of the caller's context; return what will come."""
        future: Future[T] = Future()
        self.run(partial(_fulfil, future, partial(copy_context().run, fn)))
        return future

    def close(self) -> None:
        """Let idle threads end, and busy ones after what they are doing."""
        for _ in self._threads:
            self._jobs.put(None)

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                self._context.copy().run(job)
                with self._mutex:
                    self._unfinished -= 1
        finally:
            connections.close_all()


def _fulfil(future: Future[Any], fn: Callable[[], Any]) -> None:
    try:
        if future.set_running_or_notify_cancel():
            future.set_result(fn())
    except BaseException as error:  # handed to whoever waits
        future.set_exception(error)
