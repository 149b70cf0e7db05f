"""Worker threads, batches of requests that come together, and the picture files made in them."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from narrows.data.decoding import n_processors
from narrows.web.snapshot import Snapshot

# The number of items in a batch at most.
_MOST = 64
# Bytes of picture files that are kept: some ten thousand thumbnails, or a thousand photos.
_MOST_BYTES = 16 * 2**20


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


class View(NamedTuple):
    """A picture file and its media type."""

    contents: bytes
    kind: str


class Views:
    """Picture files of a library's pictures: as stored, small, or reconstructed; the latest kept.

    Parameters
    ----------
    inference : Worker
        The thread that runs networks.
    most_bytes : int, default=16 MiB
        The number of bytes that are kept.
    """

    def __init__(self, inference: Worker, most_bytes: int = _MOST_BYTES) -> None:
        self._reading = Worker("pictures")
        self._makers = {
            "picture": Batcher(Snapshot.pictures, self._reading),
            "thumbnail": Batcher(Snapshot.thumbnails, self._reading),
            "reconstruction": Batcher(Snapshot.reconstructions, inference),
        }
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[str, int, str], View] = OrderedDict()

    async def __call__(self, snapshot: Snapshot, number: int, kind: str) -> View:
        """Return the file of one picture.

        Raises
        ------
        ParameterError
            If there is no picture with this id.
        NarrowsError
            If it cannot be shown.
        """
        key = snapshot.version, number, kind
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        contents = await self._makers[kind](snapshot, number)
        view = View(contents, "image/jpeg" if contents.startswith(b"\xff\xd8") else "image/png")
        if key not in self._kept:  # no other request made it meanwhile
            self._kept[key] = view
            self._bytes += len(contents)
        while self._bytes > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.contents)
        return view

    def close(self) -> None:
        """End the thread."""
        self._reading.close()
