"""Processes that train one network together: how they join, their ranks, sums, and agreements.

A process that trains alone has rank 0 of 1: its sums are its own values. Several processes, which
torchrun started, join by :func:`together`, with gloo on CPUs and NCCL on GPUs, and take the same
steps in the same order.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from narrows import __version__
from narrows.errors import NarrowsError, WorkerError

_SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Words in messages about lost connections; torch has no class of its own for them.
_LOST = ("gloo", "nccl", "connection", "socket", "timed out")


@dataclass
class Place:
    """The place of this process among those that train together.

    Attributes
    ----------
    rank : int
        Its number, from 0; process 0 writes files and messages.
    size : int
        How many processes train together.
    """

    rank: int = 0
    size: int = 1


place = Place()
# Bytes of the texts that are compared; longer ones are cut off.
_TEXT = 128


@contextmanager
def placed(rank: int, size: int) -> Iterator[None]:
    """Be one of several processes, of a group that torch has joined, while the block runs."""
    before = (place.rank, place.size)
    place.rank, place.size = rank, size
    try:
        yield
    finally:
        place.rank, place.size = before


def total(number: int) -> int:
    """Add up a whole number over all processes."""
    if place.size == 1:
        return number
    counted = torch.tensor(number)
    distributed.all_reduce(counted)
    return int(counted)


def add(values: Tensor) -> Tensor:
    """Add up tensors of one shape over all processes; gradients flow back to all of them."""
    return values if place.size == 1 else cast("Tensor", _Sum.apply(values))  # type: ignore[no-untyped-call]


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
    return _reduced(values, distributed.ReduceOp.MAX) if place.size > 1 else values


def lowest(values: Tensor) -> Tensor:
    """Take the smallest over all processes, number by number; no gradient flows."""
    return _reduced(values, distributed.ReduceOp.MIN) if place.size > 1 else values


def _reduced(values: Tensor, how: "distributed.ReduceOp.RedOpType") -> Tensor:
    values = values.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(values, how)
    return values


def gathered(values: Tensor, fill: float) -> Tensor:
    """Concatenate the numbers of all processes; those that have fewer are padded by ``fill``."""
    if place.size == 1:
        return values
    longest = int(highest(torch.tensor(values.numel())))
    padded = values.new_full((longest,), fill)
    padded[: values.numel()] = values.detach().flatten()
    parts = [torch.empty_like(padded) for _ in range(place.size)]
    distributed.all_gather(parts, padded)
    return torch.cat(parts)


def stacked(values: Tensor) -> tuple[Tensor, int]:
    """Stack the rows (n, ...) of all processes; gradients flow back to all of them.

    Returns
    -------
    Tensor
        The rows of process 0, then those of process 1, and so on.
    int
        Where the rows of this process begin.
    """
    if place.size == 1:
        return values, 0
    counts = gathered(torch.tensor([len(values)]), 0).tolist()
    start = sum(counts[: place.rank])
    before = values.new_zeros(start, *values.shape[1:])
    after = values.new_zeros(sum(counts[place.rank + 1 :]), *values.shape[1:])
    return add(torch.cat([before, values, after])), start


def agreed(number: int) -> int:
    """Return the first process's number to all."""
    if place.size == 1:
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
    if place.size == 1:
        return
    # As plain bytes, since torch pickles objects.
    own = torch.frombuffer(bytearray(value.encode()[:_TEXT].ljust(_TEXT)), dtype=torch.uint8)
    parts = [torch.empty_like(own) for _ in range(place.size)]
    distributed.all_gather(parts, own)
    texts = [bytes(part.tolist()).decode(errors="replace").strip() for part in parts]
    for number, text in enumerate(texts):
        if text != texts[0]:
            raise error(
                f"process {number} of {place.size} differs from process 0 in {what} ({text}, not "
                f"{texts[0]}); give all the same, on paths that all of them see"
            )


def wait() -> None:
    """Wait until all processes have come to this call."""
    if place.size > 1:
        distributed.barrier()


def is_launched() -> bool:
    """Return whether this process was started by torchrun, or what sets the same variables."""
    return all(name in os.environ for name in _SET_BY_TORCHRUN)


@contextmanager
def together() -> Iterator[bool]:
    """Train in the block as one of the processes that torchrun started, or as the only one.

    Yields
    ------
    bool
        Whether this process is the one that writes files and messages.

    Raises
    ------
    WorkerError
        If the others cannot be reached, are of another version, or were lost on the way.
    """
    if not is_launched():
        yield True
        return
    number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        store, *_ = next(rendezvous("env://"))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore(_attempt(store, number, count), store),
            rank=number,
            world_size=count,
        )
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"process {number} of {count} cannot reach the others at {address} "
            f"({str(error).splitlines()[0]}); start them all, on an address that all of them reach"
        ) from error
    try:
        with placed(number, count), warnings.catch_warnings():
            # torch warns that it copies the gradients of convolutions with a single channel.
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            check_same(
                "its version", f"narrows {__version__}, torch {torch.__version__}", WorkerError
            )
            yield number == 0
            wait()
        # Threads of a group may abort the interpreter if they run until its end.
        distributed.destroy_process_group()
    except RuntimeError as error:
        if isinstance(error, NarrowsError) or not _is_lost(error):
            raise
        raise WorkerError(
            f"process {number} of {count} lost another one; begin again, or let torchrun do so "
            "(--max-restarts): training goes on at its checkpoint"
        ) from error


def fails_first() -> bool:
    """Return whether this process is the first of several to report an error."""
    if not distributed.is_initialized():
        return True
    try:
        store = distributed.distributed_c10d._get_default_store()
        return bool(store.add("narrows failed", 1) == 1)
    except RuntimeError:  # the process that keeps the store has ended
        return True


def _attempt(store: Store, number: int, count: int) -> str:
    """Return a name for this start, as the store still has the addresses of lost processes.

    On one machine, torchrun counts its starts. On several machines, their counts may differ.
    """
    if os.environ.get("LOCAL_WORLD_SIZE") == str(count):
        return f"narrows/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return f"narrows/{store.add(f'narrows/joined/{number}', 1)}"


def _is_lost(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, distributed.DistError) or any(word in words for word in _LOST)
