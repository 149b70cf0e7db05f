"""A library's pictures and its index, by the workers of a Ray cluster."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from narrows.errors import NarrowsError, WorkerError
from narrows.library import Workers
from narrows.library.workers import Answer, Part
from narrows.remote import Place
from narrows.scale.cluster import Failure, answered, answers, check_workers, cluster

# How often a part is begun again when its worker is lost.
_AGAIN = 3
# Parts on their way for each worker: one is at work on, the next waits.
_AHEAD = 2
# How long workers may take to end, in seconds.
_ENDS = 10.0


class RayWorkers(Workers):
    """The workers of the cluster that this process is connected to; made by :func:`ray_workers`.

    Parameters
    ----------
    ray : module
        Connected.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.count = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def check(self, places: Sequence[Place], packages: Sequence[str] = ()) -> None:
        """See that all workers have what :meth:`map` needs of them.

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
        """Have all parts done; one that is lost with its worker is begun again.

        Raises
        ------
        WorkerError
            If workers cannot be used, or are lost again and again.
        NarrowsError
            What goes wrong with a part.
        """
        from ray.exceptions import RayError, RayTaskError

        ray = self._ray
        self.check(places, packages)
        work = ray.remote(num_cpus=1, max_retries=_AGAIN)(guarded)
        shared = [ray.put(one) for one in common]
        running: dict[Any, int] = {}
        left = enumerate(parts)
        try:
            while True:
                while len(running) < _AHEAD * self.count and (part := next(left, None)):
                    running[work.remote(function, part[1], *shared)] = part[0]
                if not running:
                    return
                done, answer = answered(ray, lambda: _first(ray, list(running)))
                yield running.pop(done), understood(answer)
        except RayTaskError:  # a fault of Narrows, with all that Ray knows of it
            raise
        except RayError as error:
            raise WorkerError(
                f"workers were lost again and again ({type(error).__name__}); nothing has changed; "
                "see what ends them: memory, perhaps, or a machine that went away"
            ) from error
        finally:
            if running and answers(ray):
                for one in running:
                    ray.cancel(one, force=True)
                # What they write goes when this returns, and must not be written again.
                ray.wait(list(running), num_returns=len(running), timeout=_ENDS)


def _first(ray: Any, running: list[Any]) -> tuple[Any, Any]:
    """Wait for one of those that run; return it, and its answer."""
    done = ray.wait(running)[0][0]
    return done, ray.get(done)


@contextmanager
def ray_workers(address: str) -> Iterator[RayWorkers]:
    """Be connected to a Ray cluster whose workers read, encode, write and index for a library.

    They have to see the pictures, unless they are arrays, and the library: on a disk that all
    machines share, or in an object store. A worker that is lost costs time, and no picture.

    Parameters
    ----------
    address : str
        As for :func:`narrows.scale.cluster.cluster`.

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
    """Call a function; of what goes wrong on purpose, give class, message and machine."""
    try:
        return function(*arguments)
    except NarrowsError as error:
        return Failure.of(error)


def understood(answer: Answer | Failure) -> Answer:
    """Return what a worker has done, or raise what went wrong there.

    Raises
    ------
    NarrowsError
        Of the same class.
    """
    if isinstance(answer, Failure):
        raise answer.error()
    return answer
