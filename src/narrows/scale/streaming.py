"""Rows on one machine's disk, for those who train on others: Ray Data brings them, in our order.

Ray Data shuffles in an order of its own, and deals rows out as they come. Here it is told which
rows to read, window after window, and keeps their order: so as many processes as one likes learn
what they do where everybody sees the disk.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from narrows.data.arrays import as_array_like, read_rows
from narrows.data.block_shuffle import MIXED
from narrows.data.disk_rows import FileRows, StoredRows, stored
from narrows.data.lazy import LazyRows
from narrows.errors import NarrowsError, ParameterError, WorkerError
from narrows.scale.cluster import Failure, check_workers, is_client

# Windows that are read at the same time, and those that wait to be learned from.
_READERS, _WAITING = 2, 1
_BYTES, _FAILURE = "bytes", "failure"
# In a process of Ray that reads: the rows it has read last, so that they are not opened anew.
_opened: dict[Any, StoredRows] = {}


def travelling(ray: Any, X: Any, sees: Sequence[Path], stream: bool | None) -> Callable[[], Any]:
    """Return what gives rows in a worker, on any machine.

    Parameters
    ----------
    ray : module
        Connected.
    X, sees, stream
        As for :func:`narrows.scale.ray_training.fit_by_ray`.

    Raises
    ------
    ParameterError
        If rows cannot travel as wished.
    WorkerError
        If a worker does not see what it has to, or is of another version.
    """
    if callable(X):
        read: Callable[[], Any] = X
    elif isinstance(X, str | Path):
        read, sees = partial(read_rows, Path(X).absolute()), [Path(X)]
    elif isinstance(rows := stored(X), FileRows):  # it stays there, as in one process
        place = rows.path.absolute()
        read, sees = partial(FileRows, place, rows.offset, rows.shape, rows.dtype), [place]
    else:
        check_workers(ray, [])
        if not isinstance(rows, StoredRows):
            return _put(ray, rows)
        if stream is False:
            raise ParameterError(
                f"stream=False, and the {type(rows).__name__} given are open in this process "
                "alone; give the path that they are read from, or leave stream out"
            )
        return _Near(ray, rows)
    hidden = check_workers(ray, sees, may_hide=stream is not False)
    if not stream and not hidden:
        return read
    rows = stored(as_array_like(read()))
    if isinstance(rows, StoredRows):
        if not stream:
            warnings.warn(
                f"the worker on {hidden[0]} cannot see '{sees[0]}', so its rows are brought from "
                "this machine; on a disk that all machines share, each would read them itself",
                stacklevel=3,
            )
        return _Near(ray, rows)
    if not isinstance(rows, LazyRows):
        return _put(ray, rows)
    if stream:
        raise ParameterError(
            "--stream, stream=True: windows of a signal cannot be brought, as their order is "
            "another; leave it out, and put the signal on a disk that all machines share"
        )
    check_workers(ray, sees)
    return read


class Origin(NamedTuple):
    """Where rows are, and what they are like.

    Attributes
    ----------
    machine : str
        As Ray names it.
    rows : ObjectRef
        What reads them there.
    shape, dtype, columns, stamp
        Of the rows.
    """

    machine: str
    rows: Any
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
        for rows in self._brought(-(-len(self) // several), partial(_run, several)):
            yield from (rows[start : start + size] for start in range(0, len(rows), size))

    def streamed(
        self, count: int, window: Callable[[int], NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Read the rows of so many windows, one after another; none but those wanted travel."""
        return ((rows, np.arange(len(rows))) for rows in self._brought(count, window))

    def _brought(
        self, count: int, window: Callable[[int], NDArray[np.int64] | slice]
    ) -> Iterator[NDArray[Any]]:
        """Have windows read in their order, the next ones while one is used.

        Raises
        ------
        NarrowsError
            What goes wrong where the rows are.
        """
        import ray
        from ray.data import TaskPoolStrategy, from_items

        if not count:
            return
        asked = from_items(
            [{"window": number} for number in range(count)], override_num_blocks=count
        )
        asked.context.execution_options.preserve_order = True
        asked.context.enable_progress_bars = False
        batches = asked.map_batches(
            partial(_read_window, ray.put((self._origin, window))),
            batch_size=1,
            compute=TaskPoolStrategy(size=min(_READERS, count)),
            num_cpus=0,  # those that train have them all
            label_selector=self._there(),
        ).iter_batches(batch_size=None, prefetch_batches=_WAITING)
        for batch in batches:
            yield self._understood(batch[_BYTES][0], str(batch[_FAILURE][0]))

    def _there(self) -> dict[str, str]:
        return {"ray.io/node-id": self._origin.machine}

    def _understood(self, contents: NDArray[np.uint8], failure: str) -> NDArray[Any]:
        if failure:
            raise Failure(*json.loads(failure)).error()
        return contents.view(self.dtype).reshape(-1, *self.shape[1:])


class _Near:
    """Gives rows of this machine on any; in this process it keeps them open meanwhile.

    Parameters
    ----------
    ray : module
        Connected.
    rows : StoredRows
        Of this process.

    Raises
    ------
    WorkerError
        If this machine is none of the cluster's.
    """

    def __init__(self, ray: Any, rows: StoredRows) -> None:
        if is_client():
            raise WorkerError(
                "rows on this machine's disk cannot be brought to a cluster that it is no part of; "
                "start Ray here (ray start --address=...) and give --ray auto, or put the rows on "
                "a disk that all machines share"
            )
        self._rows = rows
        machine, stamp = ray.get_runtime_context().get_node_id(), rows.stamp()
        self._origin = Origin(machine, ray.put(rows), rows.shape, rows.dtype, rows.columns, stamp)

    def __call__(self) -> FarRows:
        return FarRows(self._origin)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (FarRows, self._origin)


def _put(ray: Any, rows: Any) -> Callable[[], Any]:
    kept = ray.put(rows)
    return lambda: ray.get(kept)


def _run(size: int, number: int) -> slice:
    """Name the rows of a window where all have so many neighbours."""
    return slice(number * size, (number + 1) * size)


def _read_window(kept: Any, batch: Any) -> Any:
    """Read a window, and give it as one row, so that nobody parts it or puts it to others."""
    import ray

    origin, window = ray.get(kept)
    contents, failure = _read(origin, window(int(batch["window"][0])))
    return {_BYTES: contents[None], _FAILURE: np.array([failure])}


def _read(origin: Origin, numbers: NDArray[np.int64] | slice) -> tuple[NDArray[np.uint8], str]:
    """Read rows where they are: their bytes; and as JSON, what goes wrong on purpose."""
    import ray
    from ray.exceptions import RayError

    try:
        if origin.rows not in _opened:
            _opened.clear()
            _opened[origin.rows] = ray.get(origin.rows)
        rows = np.ascontiguousarray(_opened[origin.rows][numbers])
    except NarrowsError as error:
        return _failed(error)
    except RayError as error:  # otherwise, Ray would try it for ever
        reason = str(error).strip().splitlines()[-1]
        return _failed(WorkerError(f"rows that were open are so no longer: {reason}"))
    return rows.reshape(-1).view(np.uint8), ""


def _failed(error: NarrowsError) -> tuple[NDArray[np.uint8], str]:
    return np.empty(0, np.uint8), json.dumps(Failure.of(error))
