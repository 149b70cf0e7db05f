"""Training one network by the workers of a Ray cluster: Ray Train around torch's DDP.

Rows on the disk of one machine are brought to workers on others by Ray Data. It would shuffle in an
order of its own, and deal rows out as they come. Here it is told which rows to read, window after
window, and keeps their order: so any number of processes learn from them what they would learn from
a disk that all machines share.
"""

import json
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from narrows import ranks
from narrows.data.arrays import as_array_like, read_rows
from narrows.data.batches import MIXED
from narrows.data.lazy_rows import FileRows, LazyRows, StoredRows, stored
from narrows.errors import NarrowsError, NarrowsWarning, ParameterError, WorkerError, warn
from narrows.models import BaseAutoencoder, load
from narrows.scale.cluster import (
    Failure,
    answered,
    answers,
    check_workers,
    cluster,
    is_client,
    ray_module,
    unpacked,
)
from narrows.training.progress import listeners, on_every_process

# Seconds between two reports of training. Each costs a second or two, as all processes wait for it.
_SECONDS = 10.0
# How often training goes on from the last report after a worker was lost.
_RETRIES = 3
_FILE, _WARNINGS = "checkpoint", "warnings.json"
# Windows of rows that are read at the same time, and those that wait to be learned from.
_READERS, _WAITING = 2, 1
_BYTES, _FAILURE = "bytes", "failure"
# In a process of Ray that reads: the rows it has read last, so that they are not opened anew.
_opened: dict[Any, StoredRows] = {}


def fit_by_ray(
    model: BaseAutoencoder,
    X: Any,
    address: str,
    *,
    workers: int | None = None,
    sees: Sequence[Path] = (),
    stream: bool | None = None,
) -> BaseAutoencoder:
    """Train a model by several processes of a Ray cluster, as one does at the same batch size.

    If a worker is lost, training goes on from the last report, of which there is one every ten
    seconds, and ends with the same model but for rounding.

    Parameters
    ----------
    model : BaseAutoencoder
        The model whose parameters are used; it stays as it is.
    X : array-like of shape (n, *sample_shape), DataFrame, Tensor, path or callable
        As for ``fit``. Arrays travel to every machine, and have to fit into its memory. A path is
        read by every process, from a disk that all machines share. A function is called by every
        process, returns the same rows in each, and must not need anything of this process. Where
        rows are streamed, this process alone reads the path or calls the function. Rows on a disk
        that are open already are streamed, except mapped arrays, which are read like a path.
    address : str
        As for :func:`narrows.scale.cluster.cluster`.
    workers : int, optional
        The number of processes; by default one for each machine, since a process that uses all
        its processors is faster than several that share them.
    sees : sequence of Path
        The paths that ``X`` reads where it is a function.
    stream : bool, optional
        Whether rows that stay on a disk are brought by Ray Data from this machine, which has to be
        one of the cluster's. By default, if a worker does not see where they are.

    Returns
    -------
    BaseAutoencoder
        A fitted model of the same class.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    ParameterError
        If ``stream`` is True for rows that cannot be streamed, or False for rows that only this
        process has.
    WorkerError
        If nobody answers, workers are too few or of other versions, or are lost again and again.
    NarrowsError
        As ``fit``.
    """
    is_own = not ray_module().is_initialized()
    with cluster(address) as ray, _told(ray) as tell, tempfile.TemporaryDirectory() as local:
        rows = travelling(ray, X, sees, stream)
        wanted = _scaling(ray.nodes(), workers)
        # Each process has a checkpoint of its own.
        fresh = copy(model).set_params(checkpoint=None)
        shelf = ray.remote(**_here(ray))(_Shelf).remote()
        task = Task(fresh, rows, tell, _SECONDS, shelf)
        trainer = _trainer(task, wanted, local)
        # A call that is left on somebody else's connection would go on: Ray handles Ctrl-C there.
        files = model_files(_run(lambda: answered(ray, trainer.fit) if is_own else trainer.fit()))
    with tempfile.TemporaryDirectory() as place:
        for name, contents in files.items():
            if name != _WARNINGS:
                Path(place, name).write_bytes(contents)
        fitted = cast("BaseAutoencoder", load(place))  # it was saved as one
    fitted.checkpoint = model.checkpoint
    for warning in json.loads(files.get(_WARNINGS, b"[]")):
        warn(**warning)
    return fitted


class Task(NamedTuple):
    """The arguments of the processes that train.

    Attributes
    ----------
    model : BaseAutoencoder
        A model with parameters that has learned nothing.
    rows : callable
        Returns the rows.
    tell : callable
        Takes the records of some epochs; the first process calls it.
    seconds : float
        The time between two reports.
    shelf : ActorHandle
        The :class:`_Shelf` that keeps the last report.
    """

    model: BaseAutoencoder
    rows: Callable[[], Any]
    tell: Callable[[list[dict[str, float]]], None]
    seconds: float
    shelf: Any


def learn(task: Task, place: Path, report: Callable[[Path], None]) -> dict[str, bytes]:
    """Train as one of several processes; return the files of the model, in the first of them.

    One more file has the warnings, which the process that wants the model issues.

    Parameters
    ----------
    task : Task
        The model, the rows, and the receivers of reports.
    place : Path
        A folder of this process alone, with the last report if there is one.
    report : callable
        Called by all processes at the same time, with a folder that holds the checkpoint in the
        first of them.
    """
    model = copy(task.model).set_params(checkpoint=place / _FILE)
    records: list[dict[str, float]] = []
    due = time.monotonic() + task.seconds

    def after(record: dict[str, float]) -> None:
        nonlocal due
        records.append(record)
        if ranks.agreed(int(time.monotonic() >= due)):
            # A process that is lost while all wait for the report has passed on its records.
            tell()
            report(place)
            due = time.monotonic() + task.seconds

    def tell() -> None:
        if ranks.place.rank == 0:
            task.tell(records.copy())
        records.clear()

    with on_every_process(after), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NarrowsWarning)
        model.fit(task.rows())
    tell()
    for w in caught:
        if not isinstance(w.message, NarrowsWarning):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    ranks.wait()
    if ranks.place.rank:
        return {}
    saved = model.set_params(checkpoint=None).save(place / "model", resumable=False)
    files = {file.name: file.read_bytes() for file in saved.iterdir()}
    messages = [w.message for w in caught if isinstance(w.message, NarrowsWarning)]
    warned = [{"message": str(m), "kind": m.kind, **m.facts} for m in messages]
    return {**files, _WARNINGS: json.dumps(warned).encode()}


def model_files(answer: Mapping[str, bytes] | Failure | None) -> Mapping[str, bytes]:
    """Return the files of the model that the first process has learned.

    Raises
    ------
    WorkerError
        If there are none.
    NarrowsError
        If the first process sent an error, of the same class.
    """
    if not (files := unpacked(answer)):
        raise WorkerError("the workers ended, and left no model; begin again")
    return files


def _trainer(task: Task, wanted: dict[str, Any], local: str) -> Any:
    """Make the trainer that starts the processes, and starts them again when one is lost."""
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    # Ray's annotations are those of an earlier version.
    failing: Any = train.FailureConfig
    return TorchTrainer(
        _by_ray,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if wanted["use_gpu"] else "gloo"),
        scaling_config=train.ScalingConfig(**wanted),
        run_config=train.RunConfig(
            name="run",
            storage_path=local,  # on this machine; nothing is kept there
            failure_config=failing(max_failures=_RETRIES, controller_failure_limit=1),
        ),
    )


def _run(fit: Callable[[], Any]) -> Any:
    """Train; return the answer of the first process.

    Raises
    ------
    WorkerError
        If processes are lost again and again.
    """
    from ray import train

    try:
        with _own_interrupts():
            return fit().return_value
    except train.TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {}) or {0: error}
        last = next((str(f).strip() for f in failures.values() if str(f).strip()), "no word of it")
        last = last.splitlines()[-1][:200]
        raise WorkerError(
            f"training was begun {_RETRIES + 1} times and never ended ({last}); "
            "see what ends the workers: memory, perhaps, or a machine that went away"
        ) from error


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Restore the handler of Ctrl-C: Ray Train installs one that ends the process."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        raise KeyboardInterrupt from end
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _by_ray(config: dict[str, Any]) -> Any:  # pragma: no cover - in workers
    """Train in one of the processes of Ray Train, which are connected already."""
    import ray
    from ray import train
    from torch import distributed

    context = train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    task: Task = config["task"]

    def report(place: Path) -> None:
        if rank == 0 and (place / _FILE).exists():
            ray.get(task.shelf.put.remote((place / _FILE).read_bytes()))
        train.report({})

    with tempfile.TemporaryDirectory() as name:
        if last := ray.get(task.shelf.get.remote()):
            Path(name, _FILE).write_bytes(last)
        try:
            with ranks.placed(rank, size):
                return learn(task, Path(name), report)
        except NarrowsError as error:
            # The error would come again. Processes without it must not wait for this one.
            distributed.destroy_process_group()
            return Failure.of(error)


def _scaling(nodes: list[dict[str, Any]], workers: int | None) -> dict[str, Any]:
    """Return the options of Ray Train: the number of processes, and the processors of each.

    Raises
    ------
    WorkerError
        If the cluster has fewer processors than processes are wanted.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    processors = [int(each.get("CPU", 0)) for each in resources]
    machines = [count for count in processors if count]
    workers = len(machines) if workers is None else workers
    if not machines or workers > sum(machines):
        raise WorkerError(
            f"{workers} processes were asked for, and the cluster has {sum(machines)} processors; "
            "ask for fewer, or add machines"
        )
    each = max(1, min(machines) // -(-workers // len(machines)))
    on_gpu = sum(each.get("GPU", 0) for each in resources) >= workers
    return {
        "num_workers": workers,
        "use_gpu": on_gpu,
        "resources_per_worker": {"CPU": each, **({"GPU": 1} if on_gpu else {})},
    }


@contextmanager
def _told(ray: Any) -> Iterator[Callable[[list[dict[str, float]]], None]]:
    """Pass the records of training to this process's callbacks; yield what processes call."""
    from ray.exceptions import RayError
    from ray.util.queue import Queue

    queue = answered(ray, lambda: Queue(actor_options=_here(ray)))
    callbacks = listeners()

    def listen() -> None:
        with suppress(RayError):  # when the queue or the cluster is gone
            while (records := queue.get()) is not None:
                for record in records:
                    for callback in callbacks:
                        callback(record)

    def end() -> None:
        with suppress(RayError):  # an error within the block matters more
            queue.put(None)
            thread.join()
            queue.shutdown()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield queue.put
    finally:
        if answers(ray):
            answered(ray, end)


class _Shelf:
    """Keeps the last report of the first process, for all processes that begin again.

    It is an actor on the machine of the process that wants the model, which is needed anyway.
    """

    contents = b""

    def put(self, contents: bytes) -> None:
        self.contents = contents

    def get(self) -> bytes:
        return self.contents


def _here(ray: Any) -> dict[str, Any]:
    """Return the options by which an actor of Ray is on this machine and needs no processor."""
    machine = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "label_selector": {"ray.io/node-id": machine}}


def travelling(ray: Any, X: Any, sees: Sequence[Path], stream: bool | None) -> Callable[[], Any]:
    """Return the function that returns the rows in a worker, on any machine.

    Parameters
    ----------
    ray : module
        Ray, connected.
    X, sees, stream
        As for :func:`fit_by_ray`.

    Raises
    ------
    ParameterError
        If rows cannot be streamed, or only be streamed, and ``stream`` says otherwise.
    WorkerError
        If a worker does not see a path that it has to read, or is of another version.
    """
    if callable(X):
        read: Callable[[], Any] = X
    elif isinstance(X, str | Path):
        read, sees = partial(read_rows, Path(X).absolute()), [Path(X)]
    elif isinstance(rows := stored(X), FileRows):  # every process maps the file
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
    """The place of rows, and what they are like.

    Attributes
    ----------
    machine : str
        The machine, by Ray's name of it.
    rows : ObjectRef
        The object that reads the rows there.
    shape, dtype, columns, stamp
        Those of the rows.
    """

    machine: str
    rows: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns: list[str] | None
    stamp: object


class FarRows(StoredRows):
    """Rows on the disk of one machine, for processes of Ray on all machines.

    Parameters
    ----------
    origin : Origin
        The place of the rows.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.shape, self.dtype, self.columns = origin.shape, origin.dtype, origin.columns

    def stamp(self) -> object:
        """Return the stamp of the rows where they are."""
        return self._origin.stamp

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows that are few enough to be brought at once."""
        import ray

        numbers = np.concatenate([np.arange(begin, end) for begin, end in runs])
        read = ray.remote(num_cpus=0, label_selector=self._there())(_read)
        into[...] = self._rows_of(*ray.get(read.remote(self._origin, numbers)))

    def blocks(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield all rows, ``size`` at a time."""
        several = size * max(1, MIXED // (size * self.nbytes // len(self)))
        for rows in self._brought(-(-len(self) // several), partial(_neighbours, several)):
            yield from (rows[start : start + size] for start in range(0, len(rows), size))

    def read_windows(
        self, count: int, window: Callable[[int], NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Read the rows of ``count`` windows, one after another; no other rows travel."""
        return ((rows, np.arange(len(rows))) for rows in self._brought(count, window))

    def _brought(
        self, count: int, window: Callable[[int], NDArray[np.int64] | slice]
    ) -> Iterator[NDArray[Any]]:
        """Have windows read in their order, the next ones while one is used.

        Raises
        ------
        NarrowsError
            If reading fails where the rows are.
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
            yield self._rows_of(batch[_BYTES][0], str(batch[_FAILURE][0]))

    def _there(self) -> dict[str, str]:
        return {"ray.io/node-id": self._origin.machine}

    def _rows_of(self, contents: NDArray[np.uint8], failure: str) -> NDArray[Any]:
        """Make rows of their bytes, or raise the error of the machine that read them."""
        if failure:
            raise Failure(*json.loads(failure)).error()
        return contents.view(self.dtype).reshape(-1, *self.shape[1:])


class _Near:
    """Returns rows of this machine in all processes; in this process it keeps them open.

    Parameters
    ----------
    ray : module
        Ray, connected.
    rows : StoredRows
        The rows, opened in this process.

    Raises
    ------
    WorkerError
        If this machine is not part of the cluster.
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


def _neighbours(size: int, number: int) -> slice:
    """Return the rows of a window where each window has ``size`` neighbouring rows."""
    return slice(number * size, (number + 1) * size)


def _read_window(kept: Any, batch: Any) -> Any:
    """Read a window, and return it as one row, which Ray neither splits nor merges."""
    import ray

    origin, window = ray.get(kept)
    contents, failure = _read(origin, window(int(batch["window"][0])))
    return {_BYTES: contents[None], _FAILURE: np.array([failure])}


def _read(origin: Origin, numbers: NDArray[np.int64] | slice) -> tuple[NDArray[np.uint8], str]:
    """Read rows where they are; return their bytes, and a failure as JSON, or an empty text."""
    import ray
    from ray.exceptions import RayError

    try:
        if origin.rows not in _opened:
            _opened.clear()
            _opened[origin.rows] = ray.get(origin.rows)
        rows = np.ascontiguousarray(_opened[origin.rows][numbers])
    except NarrowsError as error:
        return _failed(error)
    except RayError as error:  # raised to Ray, it would be tried for ever
        reason = str(error).strip().splitlines()[-1]
        return _failed(WorkerError(f"rows that were open are so no longer: {reason}"))
    return rows.reshape(-1).view(np.uint8), ""


def _failed(error: NarrowsError) -> tuple[NDArray[np.uint8], str]:
    return np.empty(0, np.uint8), json.dumps(Failure.of(error))
