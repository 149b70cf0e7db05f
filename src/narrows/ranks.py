"""Processes that train one network together: their ranks, sums over them, and agreements.

A process that trains alone has rank 0 of 1: its sums are its own values. Several processes have
joined by :func:`narrows.scale.ddp.together`, and take the same steps in the same order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed

from narrows.errors import NarrowsError


@dataclass
class _Place:
    rank: int = 0
    size: int = 1


_place = _Place()
# Bytes of the texts that are compared; longer ones are cut off.
_TEXT = 128


def rank() -> int:
    """Return this process's number, from 0; process 0 writes files and messages."""
    return _place.rank


def size() -> int:
    """Return how many processes train together."""
    return _place.size


@contextmanager
def placed(rank: int, size: int) -> Iterator[None]:
    """Be one of several processes, of a group that torch has joined, while the block runs."""
    before = (_place.rank, _place.size)
    _place.rank, _place.size = rank, size
    try:
        yield
    finally:
        _place.rank, _place.size = before


def total(number: int) -> int:
    """Add up a whole number over all processes."""
    if size() == 1:
        return number
    counted = torch.tensor(number)
    distributed.all_reduce(counted)
    return int(counted)


def add(values: Tensor) -> Tensor:
    """Add up tensors of one shape over all processes; gradients flow back to all of them."""
    return values if size() == 1 else cast("Tensor", _Sum.apply(values))  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    """The sum, whose gradient is a sum too: values of each process enter the losses of all."""

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return _reduced(values, distributed.ReduceOp.SUM)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        del ctx, inputs, output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        del ctx
        return _reduced(slopes[0], distributed.ReduceOp.SUM)


def highest(values: Tensor) -> Tensor:
    """Take the largest over all processes, number by number; no gradient flows."""
    return _reduced(values, distributed.ReduceOp.MAX) if size() > 1 else values


def lowest(values: Tensor) -> Tensor:
    """Take the smallest over all processes, number by number; no gradient flows."""
    return _reduced(values, distributed.ReduceOp.MIN) if size() > 1 else values


def _reduced(values: Tensor, how: "distributed.ReduceOp.RedOpType") -> Tensor:
    values = values.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(values, how)
    return values


def gathered(values: Tensor, fill: float) -> Tensor:
    """Concatenate the numbers of all processes; those that have fewer are padded by ``fill``."""
    if size() == 1:
        return values
    longest = int(highest(torch.tensor(values.numel())))
    padded = values.new_full((longest,), fill)
    padded[: values.numel()] = values.detach().flatten()
    parts = [torch.empty_like(padded) for _ in range(size())]
    distributed.all_gather(parts, padded)
    return torch.cat(parts)


def agreed(number: int) -> int:
    """Return the first process's number to all."""
    if size() == 1:
        return number
    of_first = torch.tensor(number)
    distributed.broadcast(of_first, src=0)
    return int(of_first)


def check_same(what: str, value: str, error: type[NarrowsError]) -> None:
    """Raise an error in all processes if they differ in something.

    Parameters
    ----------
    what : str
        The name of what is compared, for the message: "the rows and parameters".
    value : str
        This process's value.
    error : type
        The class of the error, which names the first process that differs from process 0.
    """
    if size() == 1:
        return
    # As plain bytes, since torch pickles objects.
    own = torch.frombuffer(bytearray(value.encode()[:_TEXT].ljust(_TEXT)), dtype=torch.uint8)
    parts = [torch.empty_like(own) for _ in range(size())]
    distributed.all_gather(parts, own)
    texts = [bytes(part.tolist()).decode(errors="replace").strip() for part in parts]
    for number, text in enumerate(texts):
        if text != texts[0]:
            raise error(
                f"process {number} of {size()} differs from process 0 in {what} ({text}, not "
                f"{texts[0]}); give all the same, on paths that all of them see"
            )


def wait() -> None:
    """Wait until all processes have come to this call."""
    if size() > 1:
        distributed.barrier()
