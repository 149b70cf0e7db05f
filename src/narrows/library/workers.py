"""Those who do parts of some work; where they are, a subclass says."""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from narrows.remote import Place

Part = TypeVar("Part")
Answer = TypeVar("Answer")


class Workers:
    """Whoever does parts of some work: as it stands here, this process, one after another."""

    count = 1

    def map(
        self,
        function: Callable[..., Answer],
        parts: Iterator[Part],
        common: Sequence[Any],
        places: Sequence[Place],
        packages: Sequence[str] = (),
    ) -> Generator[tuple[int, Answer], None, None]:
        """Have all parts done, in any order; yield each answer, with the part's number.

        Parameters
        ----------
        function : callable
            A function of a module, called with a part and what is common; it may be called again
            for a part whose worker was lost.
        parts : iterator
            Which are made as they are asked for.
        common : sequence
            What every call gets besides.
        places : sequence of Path or Remote
            What whoever works has to see.
        packages : sequence of str
            What has to be of the same version wherever somebody works, besides Narrows' own needs.
        """
        del places, packages
        for number, part in enumerate(parts):
            yield number, function(part, *common)
