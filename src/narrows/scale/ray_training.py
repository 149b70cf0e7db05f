"""Training one network by the workers of a Ray cluster: Ray Train around torch's DDP."""

import json
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, cast

from narrows import ranks
from narrows.errors import NarrowsError, NarrowsWarning, WorkerError, warn
from narrows.models import BaseAutoencoder, load
from narrows.scale.cluster import Failure, answered, answers, cluster, ray_module
from narrows.scale.streaming import travelling
from narrows.training.progress import listeners, on_every_process

# A report costs a second or two, whatever is in it, as all processes wait for it.
_SECONDS = 10.0
# How often training goes on at the last report after a worker was lost.
_AGAIN = 3
_FILE, _WARNINGS = "checkpoint", "warnings.json"


class Task(NamedTuple):
    """What every process needs to train.

    Attributes
    ----------
    model : BaseAutoencoder
        With parameters, and nothing learned.
    rows : callable
        Gives the rows.
    tell : callable
        Takes the records of some epochs; the first process calls it.
    seconds : float
        Between two reports.
    shelf : Shelf
        Where the last report is.
    """

    model: BaseAutoencoder
    rows: Callable[[], Any]
    tell: Callable[[list[dict[str, float]]], None]
    seconds: float
    shelf: "Shelf"


class Shelf:
    """Holds what the first process has reported last, for all that begin again.

    Parameters
    ----------
    ray : module
        Connected. The report is kept by this machine, which everything else is lost with as well.
    """

    def __init__(self, ray: Any) -> None:
        self._actor = ray.remote(**_here(ray))(_Kept).remote()

    def put(self, contents: bytes) -> None:
        """Keep a report instead of the last one."""
        import ray

        ray.get(self._actor.put.remote(contents))

    def get(self) -> bytes:
        """Return the last report; nothing if there is none."""
        import ray

        return bytes(ray.get(self._actor.get.remote()))


def _here(ray: Any) -> dict[str, Any]:
    """Say to Ray that something is to be on this machine, and needs no processor."""
    machine = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "label_selector": {"ray.io/node-id": machine}}


class _Kept:
    contents = b""

    def put(self, contents: bytes) -> None:
        self.contents = contents

    def get(self) -> bytes:
        return self.contents


def fit_by_ray(
    model: BaseAutoencoder,
    X: Any,
    address: str,
    *,
    workers: int | None = None,
    sees: Sequence[Path] = (),
    stream: bool | None = None,
) -> BaseAutoencoder:
    """Train a model by several processes of a Ray cluster: what one does at the same batch size.

    If a worker is lost, training goes on at the last report, one every ten seconds, and ends as it
    would have, but for rounding.

    Parameters
    ----------
    model : BaseAutoencoder
        Its parameters; it stays as it is.
    X : array-like, path, or callable
        As for ``fit``. Arrays travel to every machine, and have to fit into its memory. A path is
        read by every process, from a disk that all machines share; a function, which must not
        need anything of this process, is called by each, and returns the same rows. Where they
        are streamed, a path is read, or a function called, by this process alone. Rows on a disk
        that are open already are streamed, but for mapped arrays, which are read like a path.
    address : str
        As for :func:`narrows.scale.cluster.cluster`.
    workers : int, optional
        How many processes; one for each machine by default, since a process that uses all its
        processors is faster than several that share them.
    sees : sequence of Path
        What is read where ``X`` is a function.
    stream : bool, optional
        Whether rows that stay on a disk are brought by Ray Data from this machine, which has to be
        one of the cluster's. By default, if a worker does not see where they are.

    Returns
    -------
    BaseAutoencoder
        Of the same class, fitted.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    ParameterError
        If rows are to be brought that cannot be, or not to be that only this process has.
    WorkerError
        If nobody answers, workers are too few or of other versions, or are lost again and again.
    NarrowsError
        What ``fit`` raises.
    """
    is_own = not ray_module().is_initialized()
    with cluster(address) as ray, _told(ray) as tell, tempfile.TemporaryDirectory() as local:
        rows = travelling(ray, X, sees, stream)
        wanted = _scaling(ray.nodes(), workers)
        # The file of a checkpoint is each process's own affair here.
        fresh = copy(model).set_params(checkpoint=None)
        task = Task(fresh, rows, tell, _SECONDS, Shelf(ray))
        trainer = _trainer(task, wanted, local)
        # What is left on another's connection would go on: there, Ray itself listens for Ctrl-C.
        files = understood(_run(lambda: answered(ray, trainer.fit) if is_own else trainer.fit()))
    with tempfile.TemporaryDirectory() as place:
        for name, contents in files.items():
            if name != _WARNINGS:
                Path(place, name).write_bytes(contents)
        fitted = cast("BaseAutoencoder", load(place))  # it was saved as one
    fitted.checkpoint = model.checkpoint
    for told in json.loads(files.get(_WARNINGS, b"[]")):
        warn(**told)
    return fitted


def learn(task: Task, place: Path, report: Callable[[Path], None]) -> dict[str, bytes]:
    """Train as one of several processes, and return what the first one's model is saved as.

    A file more has the warnings there, which the process that wants the model issues.

    Parameters
    ----------
    task : Task
        What to do.
    place : Path
        A folder of this process's own, in which the last report is, if there is one.
    report : callable
        Called by all processes at the same time, with a folder that holds the checkpoint where
        this process is the first.
    """
    model = copy(task.model).set_params(checkpoint=place / _FILE)
    records: list[dict[str, float]] = []
    due = time.monotonic() + task.seconds

    def after(record: dict[str, float]) -> None:
        nonlocal due
        records.append(record)
        if ranks.agreed(int(time.monotonic() >= due)):
            # Whoever is lost while all wait for the report takes nothing untold along.
            tell()
            report(place)
            due = time.monotonic() + task.seconds

    def tell() -> None:
        if ranks.rank() == 0:
            task.tell(records.copy())
        records.clear()

    with on_every_process(after), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NarrowsWarning)
        model.fit(task.rows())
    tell()
    for each in caught:
        if not isinstance(each.message, NarrowsWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    ranks.wait()
    if ranks.rank():
        return {}
    saved = model.set_params(checkpoint=None).save(place / "model", resumable=False)
    files = {file.name: file.read_bytes() for file in saved.iterdir()}
    told = [w.message for w in caught if isinstance(w.message, NarrowsWarning)]
    said = [{"message": str(w), "kind": w.kind, **w.facts} for w in told]
    return {**files, _WARNINGS: json.dumps(said).encode()}


def understood(answer: Mapping[str, bytes] | Failure | None) -> Mapping[str, bytes]:
    """Return what the first process has learned, or raise what went wrong there.

    Raises
    ------
    NarrowsError
        Of the same class.
    """
    if isinstance(answer, Failure):
        raise answer.error()
    if not answer:
        raise WorkerError("the workers ended, and left no model; begin again")
    return answer


def _trainer(task: Task, wanted: dict[str, Any], local: str) -> Any:
    """Make what has Ray Train start the processes, and again when one is lost."""
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    # Ray describes both to type checkers as they were in its earlier versions.
    failing: Any = train.FailureConfig
    return TorchTrainer(
        _by_ray,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if wanted["use_gpu"] else "gloo"),
        scaling_config=train.ScalingConfig(**wanted),
        run_config=train.RunConfig(
            name="run",
            storage_path=local,  # of this machine; nothing is kept there
            failure_config=failing(max_failures=_AGAIN, controller_failure_limit=1),
        ),
    )


def _run(fit: Callable[[], Any]) -> Any:
    """Train; return what the first process does.

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
        raise WorkerError(
            f"training was begun {_AGAIN + 1} times and never ended ({_line(last)}); "
            "see what ends the workers: memory, perhaps, or a machine that went away"
        ) from error


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Have Ctrl-C mean what it did before: Ray Train ends the process at it, from then on."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        raise KeyboardInterrupt from end
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _by_ray(config: dict[str, Any]) -> Any:  # pragma: no cover - in workers
    """Train as one of Ray Train's processes, which are connected already."""
    from ray import train
    from torch import distributed

    context = train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    task: Task = config["task"]

    def report(place: Path) -> None:
        if rank == 0 and (place / _FILE).exists():
            task.shelf.put((place / _FILE).read_bytes())
        train.report({})

    with tempfile.TemporaryDirectory() as name:
        if last := task.shelf.get():
            Path(name, _FILE).write_bytes(last)
        try:
            with ranks.placed(rank, size):
                return learn(task, Path(name), report)
        except NarrowsError as error:
            # It would come again. Others that do not meet it will not wait for this process.
            distributed.destroy_process_group()
            return Failure.of(error)


def _line(message: str) -> str:
    return message.splitlines()[-1][:200]


def _scaling(nodes: list[dict[str, Any]], workers: int | None) -> dict[str, Any]:
    """Say how many processes there are to be, and with how many processors each.

    Raises
    ------
    WorkerError
        If there are not as many processors.
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
    """Tell the listeners of this process what others learn; give what they tell it by."""
    from ray.exceptions import RayError
    from ray.util.queue import Queue

    queue = answered(ray, lambda: Queue(actor_options=_here(ray)))
    heard = listeners()

    def listen() -> None:
        with suppress(RayError):  # when the queue or the cluster is gone
            while (records := queue.get()) is not None:
                for record in records:
                    for callback in heard:
                        callback(record)

    def end() -> None:
        with suppress(RayError):  # the queue's; what went wrong before is worth more
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
