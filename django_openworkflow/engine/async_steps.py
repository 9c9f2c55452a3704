"""``AsyncStep``: the same steps for ``async def`` workflows, awaited."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from django_openworkflow.engine import waits
from django_openworkflow.engine.branches import checked_call
from django_openworkflow.engine.driving import adrive
from django_openworkflow.engine.steps import StepBase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime, timedelta

    from django_openworkflow.engine.async_pass import AsyncPass
    from django_openworkflow.engine.branches import Call
    from django_openworkflow.retries import RetryPolicy
    from django_openworkflow.schemas import SignalPayload
    from django_openworkflow.workflows import Workflow

P = ParamSpec("P")
T = TypeVar("T")


class AsyncStep(StepBase):
    """The durable steps of one async run; ``asyncio.gather`` over them runs them side by side.

    A step that has to wait suspends its branch; when all branches wait, the run gives up its worker
    and its tasks are cancelled, to be replayed later. Await nothing but steps outside of bodies.
    """

    def __init__(self, current: AsyncPass) -> None:
        super().__init__(current.execution)
        self._pass = current

    @overload
    async def run(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        retry_policy: RetryPolicy | None = None,
        compensate: Callable[[T], object],
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        retry_policy: RetryPolicy,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy | None = None,
        compensate: Callable[[T], object],
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def run(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``fn``, sync (in a thread) or async, once; see ``Step.run``.

        A cancel of the run reaches an async body as ``asyncio.CancelledError``.
        """
        call = self._function(name, kwargs)
        return await adrive(self._pass, call.run(partial(fn, *args, **kwargs)))

    @overload
    async def transaction(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy | None = None,
        compensate: Callable[[T], object],
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def transaction(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry_policy: RetryPolicy,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def transaction(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def transaction(
        self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a sync ``fn`` and save its result in one transaction; see ``Step.transaction``."""
        call = self._function(name, kwargs)
        return await adrive(self._pass, call.transact(partial(fn, *args, **kwargs)))

    async def sleep(self, name: str, duration: str | timedelta) -> None:
        """Sleep without a worker; see ``Step.sleep``."""
        await adrive(self._pass, waits.sleep(self._execution, name, duration))

    async def run_workflow(
        self, workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Start a child run and wait for it; see ``Step.run_workflow``."""
        program = waits.run_child(self._execution, workflow, args, kwargs)
        child: T = await adrive(self._pass, program)
        return child

    async def wait_for_signal(
        self,
        signal: str,
        *,
        timeout: str | timedelta | datetime | None = None,
        schema: Any = None,
        name: str | None = None,
    ) -> SignalPayload | None:
        """Wait for a signal; see ``Step.wait_for_signal``."""
        program = waits.wait_for_signal(
            self._execution, signal, timeout=timeout, schema=schema, name=name
        )
        payload: SignalPayload | None = await adrive(self._pass, program)
        return payload

    async def send_signal(
        self, signal: str, data: Any = None, *, name: str | None = None
    ) -> list[str]:
        """Send a signal, once; see ``Step.send_signal``."""
        program = waits.send_signal(self._execution, signal, data, name=name)
        ids: list[str] = await adrive(self._pass, program)
        return ids

    async def gather(self, *calls: Call[Any], return_exceptions: bool = False) -> list[Any]:
        """Run the steps that ``call`` returned side by side; see ``Step.gather``."""
        branches = [adrive(self._pass, checked_call(call).program()) for call in calls]
        return list(await asyncio.gather(*branches, return_exceptions=return_exceptions))
