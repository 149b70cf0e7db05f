"""Squares cut out of pictures of any sizes, at full resolution, for models that restore pictures.

Each picture is decoded once. Its squares lie on a grid that is shifted at random, and each is
mirrored and turned at random, one of eight ways; so are batches of them in training, since few
pictures would be learned by heart otherwise. The picture's size is the random seed, so that a
report recognises the squares that a model learned from, whatever pictures are beside them, and
pairs of pictures give squares of the same places.

Zhang, Zuo, Chen, Meng & Zhang (2017), "Beyond a Gaussian denoiser", section III: denoisers learn
from patches.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.containment import check_fits
from narrows.data.decoding import (
    Pixels,
    Progress,
    Size,
    Target,
    decode_files,
    side_by_side,
)
from narrows.data.image_codec import decode
from narrows.data.reading import Notes, Picture
from narrows.errors import DataError, warn
from narrows.texts import counted

SIDE = 64
"""Height and width of a crop in pixels, by default."""

# The most crops, and the number below which the squares of a grid overlap.
_MOST, _FEW = 20_000, 4_000
# Ways to mirror and turn a square.
_WAYS = 8


@dataclass(frozen=True)
class Cropped:
    """What was cut out of pictures.

    Attributes
    ----------
    crops, pictures : int
        How many squares were cut out of how many pictures.
    side : int
        Height and width of a square.
    share : float
        The share of the pictures' pixels that the squares hold; above 1 where they overlap.
    mirrored : int
        The number of pictures smaller than a square, which go on mirrored beyond their edges.
    smallest, largest : tuple of int
        Height and width of the pictures with the fewest and the most pixels.
    """

    crops: int
    pictures: int
    side: int
    share: float
    mirrored: int
    smallest: Size
    largest: Size

    def as_json(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return {
            "crops": self.crops,
            "pictures": self.pictures,
            "side": self.side,
            "share": self.share,
            "mirrored": self.mirrored,
            "smallest": list(self.smallest),
            "largest": list(self.largest),
        }

    def warn(self, path: object, *, remedy: str = "", stacklevel: int = 2) -> None:
        """Say what was cut, as a :class:`narrows.errors.NarrowsWarning` "pictures_cropped"."""
        sizes = " to ".join(dict.fromkeys(map(side_by_side, (self.smallest, self.largest))))
        share = f"{self.share:.0%} of the pixels"
        if self.share > 1:
            share = f"overlapping: each pixel {self.share:.2g} times on average"
        small = ""
        if self.mirrored:
            small = f"; {counted(self.mirrored, 'smaller one')} mirrored beyond the edges"
        warn(
            f"'{path}': {self.crops} crops of {self.side} x {self.side} at full resolution were "
            f"cut out of {counted(self.pictures, 'picture')} of {sizes} ({share}){small}"
            f"{remedy}",
            kind="pictures_cropped",
            stacklevel=stacklevel + 1,
            **self.as_json(),
        )


class Cut(NamedTuple):
    """Squares cut out of pictures.

    Attributes
    ----------
    values : ndarray of shape (n, side, side[, C])
        The squares.
    pictures : list of Path or Page
        The picture of each square, n of them.
    skipped : list of (Path or Page, str)
        Unreadable pictures, each with the reason.
    cropped : Cropped
        How many there are, and of what.
    """

    values: NDArray[Any]
    pictures: list[Picture]
    skipped: list[tuple[Picture, str]]
    cropped: Cropped


@dataclass(frozen=True)
class _OwnSize(Target):
    """Rows of the same channels and type as those of a target, each in the size of its picture."""

    sizes: Mapping[Picture, Size] = field(default_factory=dict)

    def decode(self, picture: Any, notes: Notes | None = None) -> Pixels:
        shape = (*self.sizes[picture], *self.sample_shape[2:])
        return self.fit(decode(picture, shape, self.how, notes), picture, notes)


@dataclass(frozen=True)
class _Cutter:
    """Cuts the squares of the picture with a number out of its pixels, once they are given."""

    values: NDArray[Any]
    first: NDArray[np.int64]
    step: int

    def __setitem__(self, index: int, pixels: Pixels) -> None:
        side = self.values.shape[1]
        short = [max(0, side - n) for n in pixels.shape[:2]]
        if any(short):
            around = [(0, n) for n in short] + [(0, 0)] * (pixels.ndim - 2)
            pixels = np.pad(pixels, around, mode="symmetric")
        first, end = map(int, self.first[index : index + 2])
        places = _draw_places(pixels.shape[:2], side, self.step, end - first)
        for row, (top, left, way) in enumerate(places.tolist(), first):
            square = np.rot90(pixels[top : top + side, left : left + side], way >> 1)
            self.values[row] = square[::-1] if way & 1 else square


def cut(
    files: Sequence[Picture],
    sizes: Sequence[Size | None],
    target: Target,
    notes: Notes,
    *,
    overlap: bool = True,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> Cut:
    """Cut squares out of pictures of any sizes.

    Parameters
    ----------
    files : sequence of Path or Page
        The picture files.
    sizes : sequence of (int, int) or None
        Their heights and widths; None for those that cannot be read.
    target : Target
        Shape of a square, type and limits.
    notes : Notes
        Collects notes of the files.
    overlap : bool, default=True
        Whether squares overlap where there would be few otherwise, as is better to learn from.
    skip_unreadable, progress
        See :func:`narrows.data.decoding.decode_files`.

    Returns
    -------
    Cut
        At most 20 000 squares, of each picture in proportion to its pixels.

    Raises
    ------
    MissingFileError, UnreadableFileError
        See :func:`narrows.data.decoding.decode_files`.
    DataError
        If none of the pictures can be read, or the squares do not fit into memory.
    """
    side = target.sample_shape[0]
    known: dict[Picture, Size] = {
        file: size or (side, side) for file, size in zip(files, sizes, strict=True)
    }
    counts, step = _choose_counts([known[file] for file in files], side, overlap=overlap)
    first = np.concatenate([[0], np.cumsum(counts)])
    count = int(first[-1])
    check_fits(
        count * math.prod(target.sample_shape) * target.dtype.itemsize,
        f"{count} crops of shape {target.sample_shape}",
        "give fewer pictures",
        DataError,
    )
    values = target.empty(count)
    reasons = decode_files(
        files,
        _Cutter(values, first, step),
        _OwnSize(target.sample_shape, target.dtype, target.scaling, target.how, known),
        skip_unreadable=skip_unreadable,
        progress=progress,
        notes=notes,
    )
    owner = np.repeat(np.arange(len(files)), np.diff(first))
    kept = [index for index in range(len(files)) if index not in reasons]
    if reasons:
        used = np.isin(owner, kept)
        values, owner = values[used], owner[used]
    read = sorted((known[files[index]] for index in kept), key=lambda size: (math.prod(size), size))
    pixels = sum(map(math.prod, read))
    smallest, largest = (read[0], read[-1]) if read else ((0, 0), (0, 0))
    cropped = Cropped(
        crops=len(values),
        pictures=len(kept),
        side=side,
        share=len(values) * side**2 / max(1, pixels),
        mirrored=sum(min(size) < side for size in read),
        smallest=smallest,
        largest=largest,
    )
    skipped = [(files[index], reason) for index, reason in reasons.items()]
    return Cut(values, [files[int(index)] for index in owner], skipped, cropped)


def turned_at_random(rows: Tensor, axis: int, generator: torch.Generator) -> Tensor:
    """Mirror and turn a batch of squares at random, all in the same one of eight ways.

    Parameters
    ----------
    rows : Tensor
        Squares.
    axis : int
        Their first axis; the next one is their second.
    generator : torch.Generator
        What draws the way.

    Returns
    -------
    Tensor of the shape of rows

    Examples
    --------
    >>> rows = torch.arange(4).view(1, 2, 2)
    >>> turned = turned_at_random(rows, 1, torch.Generator().manual_seed(0))
    >>> turned.shape, sorted(turned.flatten().tolist())
    (torch.Size([1, 2, 2]), [0, 1, 2, 3])
    """
    way = int(torch.randint(_WAYS, (1,), generator=generator, device=generator.device))
    turned = torch.rot90(rows, way >> 1, (axis, axis + 1))
    return (turned.flip(axis + 1) if way & 1 else turned).contiguous()


def cut_rows(pictures: NDArray[Any], side: int = SIDE) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cut squares out of pictures in memory, and say so.

    Parameters
    ----------
    pictures : ndarray of shape (n, H, W) or (n, H, W, C)
        Pictures of at least ``side`` pixels along both sides.
    side : int, default=64
        Height and width of a square.

    Returns
    -------
    values : ndarray of shape (m, side, side[, C])
        At most 20 000 squares.
    owner : ndarray of shape (m,), int64
        The number of each square's picture.

    Warns
    -----
    NarrowsWarning
        "pictures_cropped", always.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     values, owner = cut_rows(np.zeros((2, 128, 64)), 64)
    >>> values.shape, owner.tolist()
    ((10, 64, 64), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    size: Size = (pictures.shape[1], pictures.shape[2])
    sizes = [size] * len(pictures)
    counts, step = _choose_counts(sizes, side, overlap=True)
    first = np.concatenate([[0], np.cumsum(counts)])
    values = np.empty((first[-1], side, side, *pictures.shape[3:]), pictures.dtype)
    cutter = _Cutter(values, first, step)
    for index, pixels in enumerate(pictures):
        cutter[index] = pixels
    share = len(values) * side**2 / (len(pictures) * math.prod(size))
    Cropped(len(values), len(pictures), side, share, 0, size, size).warn("X", stacklevel=5)
    return values, np.repeat(np.arange(len(pictures)), counts)


def _choose_counts(
    sizes: Sequence[Size], side: int, *, overlap: bool
) -> tuple[NDArray[np.int64], int]:
    """Choose how many squares each picture gives, and the step of their grids.

    Squares overlap by half or by three quarters where there would be few otherwise.
    """
    room = np.maximum(np.array(sizes) - side, 0)  # how far a square can be moved along each axis
    for step in (side, max(1, side // 2), max(1, side // 4)) if overlap else (side,):
        counts = (room // step + 1).prod(axis=1)
        if counts.sum() >= _FEW:
            break
    share = min(1.0, _MOST / counts.sum())
    # The sum over pictures is rounded, not the number of each, so that they are no more than that.
    ends = np.floor(share * np.cumsum(counts) + 1e-6).astype(np.int64)
    return np.diff(ends, prepend=0), step


def _draw_places(size: Size, side: int, step: int, count: int) -> NDArray[np.int64]:
    """Draw squares of a picture, as rows (top, left, way to mirror and turn), (count, 3).

    The places depend on the picture's size alone, and those of a grid are among those of finer
    ones: a picture gives the same squares again, whatever pictures are beside it.
    """
    rng = np.random.default_rng(size)
    finest = max(1, side // 4)
    corners, numbers = [], []
    for room in np.subtract(size, side):
        # Shifts of the coarsest grid by which the grids of half and a quarter of its step, shifted
        # as far, lose no square either.
        shifts = [
            shift
            for shift in range(room % side + 1)
            if all(shift % finer <= room % finer for finer in (finest, 2 * finest))
        ]
        start = min(rng.choice(shifts) % step, room % step)
        corners.append(start + step * np.arange(room // step + 1))
        numbers.append(room // finest + 1)
    grid = np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, 2)
    ways = rng.integers(0, _WAYS, numbers)
    tops, lefts = grid[np.sort(rng.permutation(len(grid))[:count])].T
    way = ways[tops // finest, lefts // finest]
    return np.column_stack([tops, lefts, way])
