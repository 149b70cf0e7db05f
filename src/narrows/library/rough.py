"""A first, rough look at codes: 8 bits a number, and a bound on what that changes.

A quarter of the memory is read, and processors with VNNI multiply four times as many numbers at
once. Products of 8-bit numbers are exact, so the whole error is that of rounding the codes and the
query to 8 bits, and both are bounded (see :meth:`RoughCodes.products`).
"""

from collections.abc import Callable
from copy import copy
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROWS = 2**13  # codes that are rounded together
_LEVELS = 127


def is_fast() -> bool:
    """Tell whether the processor multiplies 8-bit numbers exactly and at once.

    Without VNNI, oneDNN's sums of two products may saturate at 16 bits, or are slow.
    """
    able = torch.cpu.get_capabilities()
    vnni = able.get("avx512_vnni") or able.get("avx_vnni")
    return bool(vnni and torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def take(values: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """Copy some rows; numpy does so several times as fast as torch."""
    return torch.from_numpy(values.numpy().take(rows, axis=0))


class RoughCodes:
    """Codes, each feature rounded to 255 levels between minus and plus its largest value.

    Parameters
    ----------
    codes : Tensor of float32 and shape (n, K)
        Finite numbers; not kept.
    prepare : callable, optional
        What is done to a block of codes before they are rounded, such as scaling them to length 1.
    """

    def __init__(self, codes: Tensor, prepare: Callable[[Tensor], Tensor] | None = None) -> None:
        prepare = prepare or torch.clone
        blocks = torch.split(codes, _ROWS)
        largest = torch.stack([prepare(block).abs().amax(dim=0) for block in blocks]).amax(dim=0)
        # The least step keeps what is tiny from overflowing when it is divided by its step.
        self._steps = (largest / _LEVELS).clamp(min=1e-30)
        self._bytes = torch.empty(codes.shape, dtype=torch.int8)
        squares = 0
        for block, target in zip(blocks, torch.split(self._bytes, _ROWS), strict=True):
            levels = prepare(block).div_(self._steps).round_().clamp_(-_LEVELS, _LEVELS)
            target.copy_(levels)
            squares = max(squares, int(levels.square_().sum(dim=1, dtype=torch.float64).max()))
        self._largest = squares**0.5

    def among(self, rows: NDArray[np.int64]) -> Self:
        """Return some of the codes only, as they were rounded."""
        part = copy(self)
        part._bytes = take(self._bytes, rows)
        return part

    def products(self, queries: Tensor) -> tuple[Callable[[slice], Tensor], Tensor]:
        """Return q c for some rows, about, and how far it may be from the truth.

        A code c is s * b with steps s and levels b, up to s / 2 in each feature. The query meets
        the levels as r = q * s, rounded to a level h of the step t. Then

            |q c - t h b|  <=  sum |q| s / 2 + |r - t h| |b|.

        Parameters
        ----------
        queries : Tensor of float64 and shape (Q, K)

        Returns
        -------
        products : callable
            Takes a slice of the rows, gives a new float32 tensor of shape (rows, Q).
        error : Tensor of float64 and shape (Q,)
        """
        r = queries * self._steps
        t = (r.abs().amax(dim=1, keepdim=True) / _LEVELS).clamp(min=1e-300)
        h = (r / t).round_().clamp_(-_LEVELS, _LEVELS)
        error = (0.5 + 2.0**-16) * r.abs().sum(dim=1)
        error += torch.linalg.vector_norm(r - t * h, dim=1) * self._largest
        levels, steps = h.to(torch.int8).T, t.T.float()

        def products(rows: slice) -> Tensor:
            # Private to torch, and the one product of 8-bit matrices that it has on processors.
            return torch._int_mm(self._bytes[rows], levels).float().mul_(steps)

        return products, error
