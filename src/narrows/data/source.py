"""What training reads from: rows in batches, whatever holds them."""

from collections.abc import Iterator
from typing import Protocol, TypeAlias

from torch import Tensor

from narrows.data.weights import Weighted

Batch: TypeAlias = Tensor | Weighted


class Source(Protocol):
    """Rows of one shape that can be read in batches, in order or shuffled."""

    sample_shape: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of rows."""

    def batches(
        self, size: int, *, seed: int | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield every row once, in batches of at most ``size``, with weights where it has them.

        Parameters
        ----------
        size : int
            Rows a batch over all ranks; batches differ by at most one row in size, so that no
            step is made of a small remainder.
        seed : int or None
            Shuffles: the same seed gives the same batches. ``None`` keeps the order.
        rank, world_size : int
            Which share of every batch to yield, of how many.
        """
