"""Workers that process parts of some work: this process, or others in a subclass."""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from narrows.remote import Place

Part = TypeVar("Part")
Answer = TypeVar("Answer")


class Workers:
    """Workers that process parts of some work; this class does so in this process, in order.

    Attributes
    ----------
    count : int
        The number of workers.
    """

    count = 1

    def map(
        self,
        function: Callable[..., Answer],
        parts: Iterator[Part],
        common: Sequence[Any],
        places: Sequence[Place],
        packages: Sequence[str] = (),
    ) -> Generator[tuple[int, Answer], None, None]:
        """Process all parts, in any order, and yield each answer with the part's number.

        Parameters
        ----------
        function : callable
            A function of a module, called with a part and the common arguments; it may be called
            again for a part whose worker was lost.
        parts : iterator
            The parts, which are made when they are asked for.
        common : sequence
            Further arguments of every call.
        places : sequence of Path or Remote
            Files and folders that every worker must see.
        packages : sequence of str
            Packages that must have the same version at every worker, besides Narrows' own needs.
        """
        del places, packages
        for number, part in enumerate(parts):
            yield number, function(part, *common)
