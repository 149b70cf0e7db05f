"""What workers of Ray do in the tests, and what the tests need of them."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import Encoder, ranks
from narrows.data.lazy_rows import StoredRows


@contextmanager
def small_cluster() -> Iterator[Any]:
    """Start a cluster of two workers on this machine."""
    from narrows.scale.cluster import ray_module

    ray = ray_module()
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",  # otherwise it asks the network for it
    )
    # Workers do not see this folder.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        yield ray
    finally:
        ray.shutdown()


class Mortal(Encoder):
    """An encoder whose first use kills the process that makes it, once."""

    marker: Path

    @classmethod
    def of(cls, encoder: Encoder, marker: Path) -> "Mortal":
        mortal = cls.__new__(cls)
        mortal.__dict__.update(encoder.__dict__, marker=marker)
        return mortal

    def transform(self, X: Any) -> NDArray[np.float32]:
        die_once(self.marker)
        return super().transform(X)


def die_once(marker: Path) -> None:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Mortal):
    """An encoder whose every use kills the process that makes it."""

    def transform(self, X: Any) -> NDArray[np.float32]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().transform(X)


class Mishap:
    """A function of which the first call anywhere kills its process; or FAISS is not there."""

    def __init__(self, function: Any, marker: Path, *, without_faiss: bool = False) -> None:
        self.function, self.marker, self.without_faiss = function, marker, without_faiss

    def __call__(self, *arguments: Any) -> Any:
        if not self.without_faiss:
            die_once(self.marker)
            return self.function(*arguments)
        there = sys.modules.pop("faiss", None)
        sys.modules["faiss"] = None
        try:
            return self.function(*arguments)
        finally:
            sys.modules.pop("faiss")
            if there is not None:
                sys.modules["faiss"] = there


class MortalRows(StoredRows):
    """Rows whose first reading kills the process that reads, once."""

    def __init__(self, rows: StoredRows, marker: Path) -> None:
        self.rows, self.marker = rows, marker
        self.shape, self.dtype = rows.shape, rows.dtype

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        die_once(self.marker)
        self.rows.read(runs, into)


class Damage:
    """A corruption that notes each step of its process, and kills the second one once."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        del generator
        notes = self.folder / f"{ranks.place.rank}-{os.getpid()}"
        with notes.open("a") as file:
            file.write(".")
        if ranks.place.rank == 1 and notes.stat().st_size > self.steps:
            die_once(self.folder / "killed")
        return 0.9 * x
