"""A Ray cluster: the connection to it, and its workers, which build libraries.

Workers have to be of the same versions as this process. Their errors are raised here, where the
cluster's own failures are told in one line.
"""

import os
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from threading import Thread
from typing import IO, Any, NamedTuple, TypeVar

from narrows import errors
from narrows.errors import (
    MissingDependencyError,
    MissingFileError,
    NarrowsError,
    UnreadableFileError,
    WorkerError,
)
from narrows.library import Workers
from narrows.library.workers import Answer, Part
from narrows.remote import Place, Remote

# Seconds to wait for an answer: of an address, of a worker to the first question, and of workers
# that are asked to end.
_ANSWERS, _STARTS, _ENDS = 5.0, 120.0, 10.0
# Seconds between two greetings of a cluster that works, and seconds that it may be silent. After a
# minute of silence, Ray ends this process without a message of Narrows.
_GREETED, _SILENT = 1.0, 15.0
# The beginning of an HTTP/2 connection, which gRPC uses; the other side has to answer with its
# settings.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_COMPARED = ("narrows", "torch", "pylance")
# How often a part of the work is begun again when its worker is lost, and how many parts are under
# way for each worker: it does one while the next waits.
_RETRIES, _AHEAD = 3, 2

_Result = TypeVar("_Result")


class Failure(NamedTuple):
    """An error of Narrows at a worker, in a form that can be sent to the process that asked.

    Attributes
    ----------
    name : str
        The name of the error's class.
    message : str
        The error's message.
    host : str
        The machine of the worker.
    """

    name: str
    message: str
    host: str

    @classmethod
    def of(cls, error: NarrowsError) -> "Failure":
        """Describe an error on this machine."""
        return cls(type(error).__name__, str(error), socket.gethostname())

    def error(self) -> NarrowsError:
        """Make the error again; it names the machine where only that one may be affected."""
        kind: type[NarrowsError] = getattr(errors, self.name)
        local = issubclass(kind, MissingFileError | MissingDependencyError | UnreadableFileError)
        return kind(f"{self.message} (on {self.host})" if local else self.message)


class Seen(NamedTuple):
    """A worker's answer to what :func:`check_workers` asks.

    Attributes
    ----------
    host : str
        The machine of the worker.
    versions : dict of str to str
        The versions of the packages that have to be the same.
    hidden : list of str
        The paths that it cannot see.
    """

    host: str
    versions: dict[str, str]
    hidden: list[str]


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Connect to a Ray cluster while the block runs.

    Parameters
    ----------
    address : str
        "local" starts a cluster on this machine, which ends with the block; "auto" finds the one
        that runs here; "host:port" or "ray://host:port" name one. If the process is connected
        already, that connection is used, whatever the address, and is left open.

    Yields
    ------
    module
        Ray.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    WorkerError
        If nobody answers at the address, or Ray is of another version there.
    """
    ray = ray_module()
    if ray.is_initialized():
        with _in_one_line():
            yield ray
        return
    if address not in ("local", "auto"):
        check_address(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        quiet["include_dashboard"] = False
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
        try:
            with _redirected(printed), warnings.catch_warnings():
                # Ray forks only to start other programs.
                warnings.filterwarnings("ignore", message="lance is not fork-safe")
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            printed.seek(0)
            raise _refused(address, error, printed.read()) from error
    try:
        with _in_one_line():
            yield ray
    finally:
        if answers(ray):
            ray.shutdown(wait_for_processes=True)
        else:  # shutdown would wait for an answer
            Thread(target=ray.shutdown, daemon=True).start()


def ray_module() -> Any:
    """Import Ray.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    # Ray reports no usage to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Workers import torch before they answer, which may take long.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "Ray is not installed; pip install 'narrows[ray]', or leave out --ray"
        ) from error
    return ray


def _refused(address: str, error: Exception, printed: str) -> WorkerError:
    """Make the error that says why a cluster cannot be joined; what it printed names tokens."""
    if "AuthToken" in printed or "token" in str(error).lower():
        return WorkerError(
            f"the Ray cluster at '{address}' asks for another token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN to the one that it was started with"
        )
    return WorkerError(
        f"there is no Ray cluster to join at '{address}' ({_line(error)}); start one "
        "(ray start --head), name its address as host:port, or use 'local'"
    )


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise failures of the cluster in one line; a fault of Narrows keeps all of Ray's details."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError:
        raise
    except RayError as error:
        raise WorkerError(
            f"the Ray cluster failed ({type(error).__name__}: {_line(error)}); see that it runs "
            "(ray status), and begin again"
        ) from error


@contextmanager
def _redirected(to: IO[str]) -> Iterator[None]:
    """Redirect the descriptor of standard error, to which Ray's C++ code prints each attempt."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        os.dup2(to.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class RayWorkers(Workers):
    """The workers of the cluster that this process is connected to; made by :func:`ray_workers`.

    Parameters
    ----------
    ray : module
        Ray, connected.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.count = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def check(self, places: Sequence[Place], packages: Sequence[str] = ()) -> None:
        """Check that all workers have what :meth:`map` needs.

        Raises
        ------
        WorkerError
            Naming the first machine where something is missing or different.
        """
        check_workers(self._ray, places, packages)

    def map(
        self,
        function: Callable[..., Answer],
        parts: Iterator[Part],
        common: Sequence[Any],
        places: Sequence[Place],
        packages: Sequence[str] = (),
    ) -> Generator[tuple[int, Answer], None, None]:
        """Have all parts of the work done; a part that is lost with its worker is begun again.

        Raises
        ------
        WorkerError
            If workers cannot be used, or are lost again and again.
        NarrowsError
            If a part of the work fails.
        """
        from ray.exceptions import RayError, RayTaskError

        ray = self._ray
        self.check(places, packages)
        work = ray.remote(num_cpus=1, max_retries=_RETRIES)(guarded)
        shared = [ray.put(argument) for argument in common]
        running: dict[Any, int] = {}
        left = enumerate(parts)
        try:
            while True:
                while len(running) < _AHEAD * self.count and (part := next(left, None)):
                    running[work.remote(function, part[1], *shared)] = part[0]
                if not running:
                    return
                done, answer = answered(ray, lambda: _first(ray, list(running)))
                yield running.pop(done), unpacked(answer)
        except RayTaskError:  # a fault of Narrows, with all of Ray's details
            raise
        except RayError as error:
            raise WorkerError(
                f"workers were lost again and again ({type(error).__name__}); nothing has changed; "
                "see what ends them: memory, perhaps, or a machine that went away"
            ) from error
        finally:
            if running and answers(ray):
                for task in running:
                    ray.cancel(task, force=True)
                # The caller removes what they write, which must not be written after that.
                ray.wait(list(running), num_returns=len(running), timeout=_ENDS)


def _first(ray: Any, running: list[Any]) -> tuple[Any, Any]:
    """Wait for the first task to be done; return the task and its answer."""
    done = ray.wait(running)[0][0]
    return done, ray.get(done)


@contextmanager
def ray_workers(address: str) -> Iterator[RayWorkers]:
    """Connect to a Ray cluster whose workers read, encode, write and index for a library.

    They have to see the pictures, unless they are arrays, and the library: on a disk that all
    machines share, or in an object store. A worker that is lost costs time, and no picture.

    Parameters
    ----------
    address : str
        As for :func:`cluster`.

    Yields
    ------
    RayWorkers
        For ``workers`` of :meth:`narrows.Library.build`, :meth:`narrows.Library.add` and
        :meth:`narrows.Library.build_index`.

    Raises
    ------
    MissingDependencyError, WorkerError
        If Ray is not installed, or nobody answers.
    """
    with cluster(address) as ray:
        yield RayWorkers(ray)


def guarded(function: Callable[..., Answer], *arguments: Any) -> Answer | Failure:
    """Call a function; return an error that Narrows raises as a :class:`Failure`."""
    try:
        return function(*arguments)
    except NarrowsError as error:
        return Failure.of(error)


def unpacked(answer: Answer | Failure) -> Answer:
    """Return the answer of a worker, or raise the error that it sent.

    Raises
    ------
    NarrowsError
        Of the same class as at the worker.
    """
    if isinstance(answer, Failure):
        raise answer.error()
    return answer


def check_workers(
    ray: Any, places: Sequence[Place], packages: Sequence[str] = (), *, may_hide: bool = False
) -> list[str]:
    """Ask one worker of every machine for its versions, and whether it sees some paths.

    Parameters
    ----------
    ray : module
        Connected.
    places : sequence of Path or Remote
        Every worker has to see those of them that are on a disk.
    packages : sequence of str
        Packages that have to be of the same version, besides Narrows, torch and pylance.
    may_hide : bool
        Whether a worker may fail to see a place.

    Returns
    -------
    list of str
        The machines that cannot see them all.

    Raises
    ------
    WorkerError
        Naming the first machine where something is missing or different.
    """
    paths = [str(place.absolute()) for place in places if not isinstance(place, Remote)]
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(looking())
    asked = []
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            on_node = look.options(num_cpus=0, scheduling_strategy=there)
            asked.append(on_node.remote([*_COMPARED, *packages], paths))
    try:
        answers_of_all = answered(ray, lambda: ray.get(asked, timeout=_STARTS))
    except GetTimeoutError as error:
        raise WorkerError(
            f"a worker has not started within {_STARTS:.0f} s; see what keeps the cluster busy "
            "(ray status)"
        ) from error
    except RayError as error:
        raise WorkerError(f"a worker cannot begin ({_line(error)}); see its log") from error
    workers = [Seen(*answer) for answer in answers_of_all]
    for worker in workers:
        compare(worker._replace(hidden=[]) if may_hide else worker)
    return [worker.host for worker in workers if worker.hidden]


def looking() -> Callable[[Sequence[str], Sequence[str]], tuple[str, dict[str, str], list[str]]]:
    """Return the function that workers run to answer with the fields of :class:`Seen`.

    It is a nested function, which Ray pickles whole: workers need no Narrows to run it.
    """

    def look(
        packages: Sequence[str], paths: Sequence[str]
    ) -> tuple[str, dict[str, str], list[str]]:
        import socket
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        versions = {}
        for name in packages:
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                versions[name] = "none"
        return socket.gethostname(), versions, [p for p in paths if not Path(p).exists()]

    return look


def compare(seen: Seen) -> None:
    """Refuse a worker of other versions, or one that does not see a path.

    Raises
    ------
    WorkerError
        Naming the difference.
    """
    for name, theirs in seen.versions.items():
        if theirs != (ours := _version(name)):
            raise WorkerError(
                f"the worker on {seen.host} has {name} {theirs}, this process {ours}; install the "
                "same versions on all machines"
            )
    if seen.hidden:
        raise WorkerError(
            f"the worker on {seen.host} cannot see '{seen.hidden[0]}'; give a path on a disk that "
            "all machines share, or an address in an object store"
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def check_address(address: str) -> None:
    """Check that a cluster may be at an address; Ray itself would try for minutes.

    Raises
    ------
    WorkerError
        If it is no address, nobody answers, or something else does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise WorkerError(
            f"'{address}' is no address of a Ray cluster; use local, auto, host:port or "
            "ray://host:port"
        )
    if reason := _reason(host, int(port)):
        raise WorkerError(
            f"nobody answers at '{address}' ({reason}); start a cluster (ray start --head), or "
            "correct the address"
        )


def _reason(host: str, port: int) -> str:
    """Return why what listens at an address is no cluster; an empty text if it may be one."""
    try:
        with socket.create_connection((host, port), _ANSWERS) as asked:
            if os.environ.get("RAY_USE_TLS", "0") == "1":  # TLS begins in another way
                return ""
            asked.sendall(_PREFACE)
            answer = asked.recv(9)
        return "" if answer[3:4] == b"\x04" else "what answers is no Ray cluster"
    except (OSError, OverflowError) as error:
        return _line(error)


def is_client() -> bool:
    """Return whether this process is connected to a cluster ("ray://") without being part of it."""
    from ray.util.client import ray as client

    return bool(client.is_connected())  # type: ignore[no-untyped-call]  # Ray's has no types


def answers(ray: Any) -> bool:
    """Return whether the head of the cluster that this process is connected to answers."""
    # Ray's client notices by itself that the cluster is gone.
    if is_client() or not ray.is_initialized():
        return True
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    return not _reason(host, int(port))


def answered(ray: Any, call: Callable[[], _Result]) -> _Result:
    """Return the result of a call of Ray, as long as the cluster answers; Ray waits for ever.

    The call runs in a thread of its own, so that Ctrl-C ends this one at once.

    Raises
    ------
    WorkerError
        If the cluster is silent for a quarter of a minute.
    """
    future: futures.Future[_Result] | None = None
    heard = time.monotonic()
    while True:
        if answers(ray):
            heard = time.monotonic()
            # A call without a head of the cluster would end with the process.
            future = future or _in_thread(call)
        elif time.monotonic() - heard > _SILENT:
            raise WorkerError(
                f"the Ray cluster has not answered for {_SILENT:.0f} s; see whether its head runs "
                "(ray status), and begin again"
            )
        if future is None:
            time.sleep(_GREETED)
        elif futures.wait([future], _GREETED).done:
            return future.result()


def _in_thread(call: Callable[[], _Result]) -> futures.Future[_Result]:
    future: futures.Future[_Result] = futures.Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 (raised in the thread that waits)
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _line(error: object) -> str:
    """Return the first line of a message, shortened; Ray adds tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
