"""What the tests of the command line share: small data, and how to write it."""

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

TINY = ["--n-components", "3", "--max-epochs", "2", "--random-state", "0"]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What was answered: standard output holds one object and nothing else."""
        answered: dict[str, Any] = json.loads(self.out)
        return answered


Run = Callable[..., Result]


def table(n: int = 40) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(5, 2, (n, 6)).round(3)


def pictures(n: int = 40) -> NDArray[np.uint8]:
    """Discs of random places and sizes, each of a brightness of its own."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:12, :10]
    places = generator.uniform(3, 8, (n, 2))
    sizes = generator.uniform(2, 4, n)
    inside = [(y - c[0]) ** 2 + (x - c[1]) ** 2 < r * r for c, r in zip(places, sizes, strict=True)]
    brightness = 230 - np.arange(n)[:, None, None]
    return np.where(inside, brightness, 20).astype(np.uint8)


def save_pictures(folder: Path, values: NDArray[np.uint8]) -> None:
    for i, pixels in enumerate(values):
        place = folder / ("left" if i % 2 else "right") / f"{i:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)


def save_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


def save_npz(path: Path, values: NDArray[Any]) -> None:
    np.savez(path, X=values)


def save_csv(path: Path, values: NDArray[Any]) -> None:
    frame(values).to_csv(path, index=False)


def save_parquet(path: Path, values: NDArray[Any]) -> None:
    frame(values).to_parquet(path)


def frame(values: NDArray[Any]) -> pd.DataFrame:
    return pd.DataFrame(values, columns=list("abcdef"))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without rights where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
