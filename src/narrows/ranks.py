"""The processes that train one network together, if any: sums and agreements among them.

A process that trains by itself is one of one: it sums nothing and agrees with itself. Others have
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
# Bytes of what is compared; longer texts are cut off.
_TEXT = 128


def rank() -> int:
    """Return this process's number, from 0; the first one writes and tells."""
    return _place.rank


def size() -> int:
    """Return how many processes train together."""
    return _place.size


@contextmanager
def placed(rank: int, size: int) -> Iterator[None]:
    """Take part as one of several processes, whose group torch knows, while the block runs."""
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
    """What each process puts in counts in the losses of all: so the gradient is their sum too."""

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
    """Put numbers of all processes, of any count each, one after another; ``fill`` pads them."""
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
    told = torch.tensor(number)
    distributed.broadcast(told, src=0)
    return int(told)


def check_same(what: str, value: str, error: type[NarrowsError]) -> None:
    """Refuse to go on where processes differ in something.

    Parameters
    ----------
    what : str
        What is compared, for the message: "the rows and parameters".
    value : str
        This process's.
    error : type
        What is raised in all of them, naming the first that differs from the first process.
    """
    if size() == 1:
        return
    # As plain bytes: torch's own way for objects pickles them.
    own = torch.frombuffer(bytearray(value.encode()[:_TEXT].ljust(_TEXT)), dtype=torch.uint8)
    all_of_them = [torch.empty_like(own) for _ in range(size())]
    distributed.all_gather(all_of_them, own)
    texts = [bytes(text.tolist()).decode(errors="replace").strip() for text in all_of_them]
    for number, text in enumerate(texts):
        if text != texts[0]:
            raise error(
                f"process {number} of {size()} differs from process 0 in {what} ({text}, not "
                f"{texts[0]}); give all the same, on paths that all of them see"
            )


def wait() -> None:
    """Wait until all processes are here."""
    if size() > 1:
        distributed.barrier()
