"""A Ray cluster: the connection to it, checks that its workers match, and their errors."""

import os
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
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
from narrows.remote import Place, Remote

# How long to wait for an answer: of an address, and of a worker to the first question.
_ANSWERS, _STARTS = 5.0, 120.0
# How often a cluster is greeted while it works, and how long it may be silent. Ray ends the whole
# process, without a word of Narrows, when it was for a minute.
_GREETED, _SILENT = 1.0, 15.0
# What begins an HTTP/2 connection, which gRPC is; the other side has to answer with its settings.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_COMPARED = ("narrows", "torch", "pylance")

Answer = TypeVar("Answer")


class Failure(NamedTuple):
    """An error of Narrows at a worker, in a form that is sent to the process that asked.

    Attributes
    ----------
    name : str
        The error's class.
    message : str
        Its words.
    host : str
        Where it was.
    """

    name: str
    message: str
    host: str

    @classmethod
    def of(cls, error: NarrowsError) -> "Failure":
        """Say what went wrong on this machine."""
        return cls(type(error).__name__, str(error), socket.gethostname())

    def error(self) -> NarrowsError:
        """Make the error again; of what may be the machine's own affair, it names the machine."""
        kind: type[NarrowsError] = getattr(errors, self.name)
        local = issubclass(kind, MissingFileError | MissingDependencyError | UnreadableFileError)
        return kind(f"{self.message} (on {self.host})" if local else self.message)


class Seen(NamedTuple):
    """What a worker says of itself.

    Attributes
    ----------
    host : str
        Where it is.
    versions : dict of str to str
        Of the packages that have to be the same.
    hidden : list of str
        The paths that it cannot see.
    """

    host: str
    versions: dict[str, str]
    hidden: list[str]


def ray_module() -> Any:
    """Import Ray.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    # Nobody is told that it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker imports torch before it says that it is there.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "300")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "Ray is not installed; pip install 'narrows[ray]', or leave out --ray"
        ) from error
    return ray


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Be connected to a Ray cluster while the block runs.

    Parameters
    ----------
    address : str
        "local" starts one on this machine, which ends with the block; "auto" finds the one that
        runs here; "host:port" or "ray://host:port" name one. A connection that the process has
        already is used, whatever the address, and left.

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
        with _understood():
            yield ray
        return
    if address not in ("local", "auto"):
        check_address(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        quiet["include_dashboard"] = False
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        try:
            with _hushed(said), warnings.catch_warnings():
                # What Ray starts is another program at once.
                warnings.filterwarnings("ignore", message="lance is not fork-safe")
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            said.seek(0)
            raise _refused(address, error, said.read()) from error
    try:
        with _understood():
            yield ray
    finally:
        if answers(ray):
            ray.shutdown(wait_for_processes=True)
        else:  # it would wait for an answer
            Thread(target=ray.shutdown, daemon=True).start()


def _refused(address: str, error: Exception, said: str) -> WorkerError:
    """Say why a cluster cannot be joined, and what helps; its inner parts know of tokens."""
    if "AuthToken" in said or "token" in str(error).lower():
        return WorkerError(
            f"the Ray cluster at '{address}' asks for another token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN to the one that it was started with"
        )
    return WorkerError(
        f"there is no Ray cluster to join at '{address}' ({_line(error)}); start one "
        "(ray start --head), name its address as host:port, or use 'local'"
    )


@contextmanager
def _understood() -> Iterator[None]:
    """Say in one line that the cluster fails; a fault of Narrows keeps all that Ray knows of it."""
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
def _hushed(said: IO[str]) -> Iterator[None]:
    """Keep standard error: Ray's inner parts write of each attempt, past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        os.dup2(said.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def is_client() -> bool:
    """Tell whether this process is connected to a cluster ("ray://") that it is no part of."""
    from ray.util.client import ray as client

    return bool(client.is_connected())  # type: ignore[no-untyped-call]  # Ray's has no types


def answers(ray: Any) -> bool:
    """Tell whether the head of the cluster that this process is connected to answers."""
    # Ray's client sees for itself that nobody is there.
    if is_client() or not ray.is_initialized():
        return True
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    return not _reason(host, int(port))


def answered(ray: Any, asking: Callable[[], Answer]) -> Answer:
    """Return what a call of Ray does, as long as the cluster lives; Ray waits for ever.

    The call has a thread of its own, so that Ctrl-C ends this one at once.

    Raises
    ------
    WorkerError
        If the cluster is silent for a quarter of a minute.
    """
    future: futures.Future[Answer] | None = None
    heard = time.monotonic()
    while True:
        if answers(ray):
            heard = time.monotonic()
            # Not before: what goes on without its head would end with the process.
            future = future or _begun(asking)
        elif time.monotonic() - heard > _SILENT:
            raise WorkerError(
                f"the Ray cluster has not answered for {_SILENT:.0f} s; see whether its head runs "
                "(ray status), and begin again"
            )
        if future is None:
            time.sleep(_GREETED)
        elif futures.wait([future], _GREETED).done:
            return future.result()


def _begun(asking: Callable[[], Answer]) -> futures.Future[Answer]:
    future: futures.Future[Answer] = futures.Future()

    def ask() -> None:
        try:
            future.set_result(asking())
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            future.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return future


def check_address(address: str) -> None:
    """Make sure that a cluster may be at an address; Ray itself tries for minutes.

    Raises
    ------
    WorkerError
        If it is none, nobody answers, or something else does.
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
    """Greet what listens; say why it is no cluster, or nothing if it may be one."""
    try:
        with socket.create_connection((host, port), _ANSWERS) as asked:
            if os.environ.get("RAY_USE_TLS", "0") == "1":  # whose greeting is another
                return ""
            asked.sendall(_PREFACE)
            answer = asked.recv(9)
        return "" if answer[3:4] == b"\x04" else "what answers is no Ray cluster"
    except (OSError, OverflowError) as error:
        return _line(error)


def check_workers(
    ray: Any, places: Sequence[Place], packages: Sequence[str] = (), *, may_hide: bool = False
) -> list[str]:
    """Ask one worker of every machine for its versions, and whether it sees some paths.

    Parameters
    ----------
    ray : module
        Connected.
    places : sequence of Path or Remote
        Those on a disk are looked for.
    packages : sequence of str
        What has to be of the same version, besides what always has.
    may_hide : bool
        Whether it is no error that one cannot be seen.

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
    machines = [
        NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        for node in ray.nodes()
        if node["Alive"]
    ]
    asked = [
        look.options(num_cpus=0, scheduling_strategy=machine).remote([*_COMPARED, *packages], paths)
        for machine in machines
    ]
    try:
        said = answered(ray, lambda: ray.get(asked, timeout=_STARTS))
    except GetTimeoutError as error:
        raise WorkerError(
            f"a worker has not started within {_STARTS:.0f} s; see what keeps the cluster busy "
            "(ray status)"
        ) from error
    except RayError as error:
        raise WorkerError(f"a worker cannot begin ({_line(error)}); see its log") from error
    seen = [Seen(*one) for one in said]
    for one in seen:
        compare(one._replace(hidden=[]) if may_hide else one)
    return [one.host for one in seen if one.hidden]


def looking() -> Callable[[Sequence[str], Sequence[str]], tuple[str, dict[str, str], list[str]]]:
    """Return what workers run to say what they have.

    A function within one: it travels as it is, and needs nothing of Narrows where it arrives.
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
        Naming what is different.
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


def _line(error: object) -> str:
    """Cut a message to what fits a line; Ray's go on with what happened where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
