"""The group of processes that torchrun started to train together: gloo on CPUs, NCCL on GPUs."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from narrows import __version__, ranks
from narrows.errors import NarrowsError, WorkerError

_SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Words in messages about lost connections; torch has no class of its own for them.
_LOST = ("gloo", "nccl", "connection", "socket", "timed out")


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
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        store, *_ = next(rendezvous("env://"))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore(_attempt(store, rank, size), store),
            rank=rank,
            world_size=size,
        )
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"process {rank} of {size} cannot reach the others at {address} "
            f"({str(error).splitlines()[0]}); start them all, on an address that all of them reach"
        ) from error
    try:
        with ranks.placed(rank, size), warnings.catch_warnings():
            # torch warns that it copies the gradients of convolutions with a single channel.
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            ranks.check_same(
                "its version", f"narrows {__version__}, torch {torch.__version__}", WorkerError
            )
            yield rank == 0
            ranks.wait()
        # Threads of a group may abort the interpreter if they run until its end.
        distributed.destroy_process_group()
    except RuntimeError as error:
        if isinstance(error, NarrowsError) or not _is_lost(error):
            raise
        raise WorkerError(
            f"process {rank} of {size} lost another one; begin again, or let torchrun do so "
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


def _attempt(store: Store, rank: int, size: int) -> str:
    """Return a name for this start, as the store still has the addresses of lost processes.

    On one machine, torchrun counts its starts. On several machines, their counts may differ.
    """
    if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
        return f"narrows/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return f"narrows/{store.add(f'narrows/joined/{rank}', 1)}"


def _is_lost(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, distributed.DistError) or any(word in words for word in _LOST)
