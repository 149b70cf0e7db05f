"""Worker threads, and batches of requests that come at the same time."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from narrows.data.decoding import n_processors

# The number of items in a batch at most.
_MOST = 64


class Worker:
    """A thread that runs one function after another.

    Parameters
    ----------
    name : str
        The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name, initializer=_leave_processors)

    async def __call__(self, function: Callable[..., Any], *given: Any) -> Any:
        """Run a function in the thread, after those that wait already."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *given)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _leave_processors() -> None:
    """Have torch leave half of the processors to requests, files and pictures."""
    torch.set_num_threads(max(1, min(torch.get_num_threads(), n_processors() // 2)))


class Batcher:
    """Collect the items that come while a batch is processed, and process them as the next batch.

    A single request waits for nothing.

    Parameters
    ----------
    run : callable
        A function from a key and a list of items to a result for each item.
    worker : Worker
        The thread in which it runs, shared with other batchers.
    observe : callable
        Called with the size of each batch.
    """

    def __init__(
        self,
        run: Callable[[Any, list[Any]], Any],
        worker: Worker,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run, self._worker, self._observe = run, worker, observe
        self._waiting: dict[Hashable, list[tuple[Any, asyncio.Future[Any]]]] = {}
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, key: Hashable, item: Any) -> Any:
        """Return the result for an item; only items with equal keys share a batch."""
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
        work = asyncio.ensure_future(self._worker(self._run, key, items))
        await asyncio.wait([work])
        failure = work.exception()
        if failure is not None and len(batch) > 1:
            # Only the requests whose own items fail get the error.
            for pair in batch:
                await self._work_on(key, [pair])
            return
        for place, (_, future) in enumerate(batch):
            if future.done():  # the client has gone
                continue
            if failure is None:
                future.set_result(work.result()[place])
            else:
                future.set_exception(failure)
