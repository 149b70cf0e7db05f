"""Rows on one machine's disk, for those who train on others: Ray Data brings them, in our order.

Ray Data shuffles in an order of its own, and deals rows out as they come. Here it is told which
rows to read, window after window, and keeps their order: so as many processes as one likes learn
what they do where everybody sees the disk.
"""

import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from narrows import errors
from narrows.data.arrays import as_array_like, read_rows
from narrows.data.blocks import MIXED
from narrows.data.lazy import LazyRows
from narrows.data.stored import FileRows, StoredRows, stored
from narrows.errors import DataError, NarrowsError, WorkerError
from narrows.scale.cluster import check_workers

# Windows that are read at the same time, and those that wait to be learned from.
_READERS, _WAITING = 2, 1
_BYTES, _FAILURE = "bytes", "failure"
# In a process of Ray that reads: the rows it has opened last, and by which key.
_opened: dict[str, Any] = {}


def travelling(ray: Any, X: Any, sees: Sequence[Path], stream: bool | None) -> Callable[[], Any]:
    """Return what gives rows in a worker, on any machine.

    Parameters
    ----------
    ray : module
        Connected.
    X, sees, stream
        As for :func:`narrows.scale.training.fit_by_ray`.

    Raises
    ------
    WorkerError
        If a worker does not see what it has to, or is of another version.
    """
    if callable(X):
        read: Callable[[], Any] = X
    elif isinstance(X, str | Path):
        read, sees = partial(read_rows, Path(X).absolute()), [Path(X)]
    elif isinstance(file := stored(X), FileRows):  # it stays there, as in one process
        place = file.path.absolute()
        read, sees = partial(FileRows, place, file.offset, file.shape, file.dtype), [place]
    else:
        check_workers(ray, [])
        return _put(ray, X)
    hidden = check_workers(ray, sees, may_hide=stream is not False)
    if not stream and not hidden:
        return read
    rows = _rows_of(read)
    if isinstance(rows, StoredRows):
        if not stream:
            warnings.warn(
                f"the worker on {hidden[0]} cannot see '{sees[0]}', so its rows are brought from "
                "this machine; on a disk that all machines share, each would read them itself",
                stacklevel=3,
            )
        return partial(FarRows, _origin_of(ray, rows, read))
    if isinstance(rows, LazyRows):  # whose order is another
        check_workers(ray, sees)
        return read
    return _put(ray, rows)


class Origin(NamedTuple):
    """Where rows are, and what they are like.

    Attributes
    ----------
    key : str
        Of these rows alone.
    machine : str
        As Ray names it.
    open : callable
        Gives the rows there.
    shape, dtype, columns, stamp
        Of the rows.
    """

    key: str
    machine: str
    open: Callable[[], Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns: list[str] | None
    stamp: object


class FarRows(StoredRows):
    """Rows on the disk of a machine, to be used by processes of Ray on any.

    Parameters
    ----------
    origin : Origin
        Where they are.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.shape, self.dtype, self.columns = origin.shape, origin.dtype, origin.columns

    def stamp(self) -> object:
        """Return the stamp of the rows where they are."""
        return self._origin.stamp

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows, few enough to be brought at once."""
        import ray

        numbers = np.concatenate([np.arange(begin, end) for begin, end in runs])
        read = ray.remote(num_cpus=0, label_selector=self._there())(_read)
        into[...] = self._understood(*ray.get(read.remote(self._origin, numbers)))

    def passing(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield all rows, so many at a time."""
        several = size * max(1, MIXED // (size * self.nbytes // len(self)))
        for rows in self._brought([slice(*run) for run in _runs(len(self), several)]):
            yield from (rows[begin:end] for begin, end in _runs(len(rows), size))

    def streamed(
        self, windows: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Read rows of these numbers, window after window."""
        return ((rows, np.arange(len(rows))) for rows in self._brought(windows))

    def _brought(
        self, windows: Sequence[NDArray[np.int64]] | Sequence[slice]
    ) -> Iterator[NDArray[Any]]:
        """Have windows read in their order, the next ones while one is used.

        Raises
        ------
        NarrowsError
            What goes wrong where the rows are.
        """
        import ray
        from ray.data import DataContext, TaskPoolStrategy, from_items

        context = DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        count = len(windows)
        batches = (
            from_items([{"window": number} for number in range(count)], override_num_blocks=count)
            .map_batches(
                partial(_read_window, ray.put((self._origin, windows))),
                batch_size=1,
                compute=TaskPoolStrategy(size=min(_READERS, count)),
                num_cpus=0,  # those that train have them all
                label_selector=self._there(),
            )
            .iter_batches(batch_size=None, prefetch_batches=_WAITING)
        )
        for batch in batches:
            yield self._understood(batch[_BYTES][0], str(batch[_FAILURE][0]))

    def _there(self) -> dict[str, str]:
        return {"ray.io/node-id": self._origin.machine}

    def _understood(self, contents: NDArray[np.uint8], failure: str) -> NDArray[Any]:
        if failure:
            name, _, message = failure.partition(" ")
            kind: type[NarrowsError] = getattr(errors, name)
            raise kind(message)
        return contents.view(self.dtype).reshape(-1, *self.shape[1:])


def _origin_of(ray: Any, rows: StoredRows, open_: Callable[[], Any]) -> Origin:
    """Tell others where rows of this machine are, and how they are opened here.

    Raises
    ------
    WorkerError
        If this machine is none of the cluster's.
    """
    from ray.util.client import ray as client

    if client.is_connected():  # type: ignore[no-untyped-call]
        raise WorkerError(
            "rows on this machine's disk cannot be brought to a cluster that it is no part of; "
            "start Ray here (ray start --address=...) and give --ray auto, or put the rows on a "
            "disk that all machines share"
        )
    machine = ray.get_runtime_context().get_node_id()
    stamp = rows.stamp()
    return Origin(uuid4().hex, machine, open_, rows.shape, rows.dtype, rows.columns, stamp)


def _rows_of(read: Callable[[], Any]) -> Any:
    return stored(as_array_like(read()))


def _put(ray: Any, rows: Any) -> Callable[[], Any]:
    kept = ray.put(rows)
    return lambda: ray.get(kept)


def _runs(n: int, size: int) -> Iterator[tuple[int, int]]:
    """Part n rows into runs of so many."""
    return ((start, min(start + size, n)) for start in range(0, n, size))


def _read_window(kept: Any, batch: Any) -> Any:
    """Read a window, and give it as one row, so that nobody parts it or puts it to others."""
    import ray

    origin, windows = ray.get(kept)
    contents, failure = _read(origin, windows[int(batch["window"][0])])
    return {_BYTES: contents[None], _FAILURE: np.array([failure])}


def _read(origin: Origin, numbers: NDArray[np.int64] | slice) -> tuple[NDArray[np.uint8], str]:
    """Read rows where they are: their bytes; and of what goes wrong on purpose, class and words."""
    try:
        if origin.key not in _opened:
            _opened.clear()
            _opened[origin.key] = _open(origin)
        rows = np.ascontiguousarray(_opened[origin.key][numbers])
    except NarrowsError as error:
        return np.empty(0, np.uint8), f"{type(error).__name__} {error} (on {socket.gethostname()})"
    return rows.reshape(-1).view(np.uint8), ""


def _open(origin: Origin) -> Any:
    rows = _rows_of(origin.open)
    stamp = rows.stamp() if isinstance(rows, StoredRows) else origin.stamp
    if (rows.shape, rows.dtype, stamp) != (origin.shape, origin.dtype, origin.stamp):
        raise DataError(
            "the rows were changed since training began; leave them alone until it has ended, and "
            "begin again"
        )
    return rows
