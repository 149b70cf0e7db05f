"""Requests that come at the same time, answered together."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Pictures that are encoded and looked for together.
_MOST = 64


class Batcher:
    """Collect what comes while the last batch is worked on, and work on that next.

    A single request waits for nothing. All work is done by one thread, which has torch's threads
    for itself.

    Parameters
    ----------
    run : callable
        From a key and a list of items to a result for each item.
    observe : callable
        Told the size of each batch.
    """

    def __init__(
        self,
        run: Callable[[Any, list[Any]], Any],
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._observe = observe
        self._waiting: dict[Hashable, list[tuple[Any, asyncio.Future[Any]]]] = {}
        self._thread = ThreadPoolExecutor(1, "inference")
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, key: Hashable, item: Any) -> Any:
        """Return the result for an item; only items of equal keys are worked on together."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append((item, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._until_done())
        return await future

    async def _until_done(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            waiting = self._waiting.pop(key)
            batch, later = waiting[:_MOST], waiting[_MOST:]
            if later:  # behind those of other keys
                self._waiting[key] = later
            self._observe(len(batch))
            await self._work_on(key, batch)

    async def _work_on(self, key: Hashable, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        items = [item for item, _ in batch]
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._run, key, items)
        await asyncio.wait([done])
        failure = done.exception()
        if failure is not None and len(batch) > 1:
            # Only whoever asked for what cannot be done is to be told so.
            for one in batch:
                await self._work_on(key, [one])
            return
        for place, (_, future) in enumerate(batch):
            if future.done():  # whoever asked has gone
                continue
            if failure is None:
                future.set_result(done.result()[place])
            else:
                future.set_exception(failure)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
