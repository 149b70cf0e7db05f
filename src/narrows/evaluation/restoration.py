"""How near restored rows come to the clean originals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from narrows.data.axes import are_pictures
from narrows.data.decoding import Target
from narrows.data.images import read_into_memory
from narrows.data.lazy import LazyRows
from narrows.data.pages import Picture
from narrows.data.reading import Notes, current
from narrows.data.scaling import Scaling
from narrows.data.sizes import resize, side_by_side, sizes_of
from narrows.errors import DataError

# The window of the structural similarity, in pixels (Wang et al. 2004); smaller pictures get less.
_WINDOW = 7
_BLOCK = 1024  # rows that are compared at a time


@dataclass(frozen=True)
class Restoration:
    """How near restored rows come to the originals, the mean over rows.

    Attributes
    ----------
    psnr : float
        Peak signal-to-noise ratio in dB, of each row; higher is better, infinite where all are
        equal.
    ssim : float or None
        Structural similarity, at most 1; higher is better. ``None`` for tables and signals, and for
        pictures of fewer than three pixels a side.
    """

    psnr: float
    ssim: float | None


def compare_with_clean(
    restored: NDArray[Any] | LazyRows,
    clean: NDArray[Any] | LazyRows,
    data_range: float,
    *,
    pictures: bool | None = None,
) -> Restoration:
    """Measure how near restored rows come to the originals.

    Parameters
    ----------
    restored, clean : ndarray or LazyRows of shape (n, F), (n, H, W) or (n, H, W, C)
        In the same units.
    data_range : float
        The distance from the smallest to the largest possible value: 255 for 8-bit pixels.
    pictures : bool, optional
        Whether the rows are pictures, as ``model.spec_.shows_pictures`` knows; by default as their
        shape tells, see :func:`narrows.data.axes.are_pictures`.

    Returns
    -------
    Restoration

    Raises
    ------
    DataError
        If the shapes differ.

    Examples
    --------
    >>> clean = np.zeros((2, 8, 8))
    >>> compare_with_clean(clean + 0.1, clean, data_range=1.0).psnr
    20.0
    """
    if restored.shape != clean.shape:
        raise DataError(
            f"restored rows have shape {restored.shape}, the clean ones {clean.shape}; "
            "give the clean original of each row, in the same order"
        )
    psnr, ssim = np.empty(len(clean)), np.empty(len(clean))
    window = min(_WINDOW, *clean.shape[1:3])
    window -= 1 - window % 2
    shown = are_pictures(clean.shape[1:]) if pictures is None else pictures
    compared = shown and window > 2
    for start in range(0, len(clean), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = (np.asarray(rows[block], np.float64) for rows in (clean, restored))
        errors = ((other - one) ** 2).reshape(len(one), -1).mean(axis=1)
        with np.errstate(divide="ignore"):
            psnr[block] = 10 * np.log10(data_range**2 / errors)
        if compared:
            ssim[block] = [
                structural_similarity(  # type: ignore[no-untyped-call]
                    *pair,
                    data_range=data_range,
                    win_size=window,
                    channel_axis=2 if one.ndim == 4 else None,
                )
                for pair in zip(one, other, strict=True)
            ]
    mean = float(np.round(psnr.mean(), 12))
    return Restoration(mean, float(ssim.mean()) if compared else None)


def compare_files_with_clean(
    restored: NDArray[Any] | LazyRows,
    damaged: Sequence[Picture],
    clean: Sequence[Picture],
    scaling: Scaling,
) -> tuple[Restoration, Restoration]:
    """Measure, at the pictures' own sizes, how near damaged and restored ones come to originals.

    Restored pictures of another size are brought to that of the damaged one.

    Parameters
    ----------
    restored : ndarray or LazyRows of shape (n, H, W) or (n, H, W, C)
        What a model made of the damaged pictures, in the units of its training data.
    damaged, clean : sequence of Path or Page
        n picture files each, in the same order.
    scaling : Scaling
        The model's.

    Returns
    -------
    damaged, restored : Restoration

    Raises
    ------
    UnreadableFileError
        If a file cannot be read.
    DataError
        If an original has another size than the damaged picture.
    """
    channels = tuple(restored.shape[3:])
    found: list[tuple[Restoration, Restoration]] = []
    sizes = zip(sizes_of(damaged), sizes_of(clean), strict=True)
    for number, (size, original) in enumerate(sizes):
        if size is None or size != original:
            raise DataError(
                f"'{damaged[number]}' has {_told(size)}, its original '{clean[number]}' "
                f"{_told(original)}; give originals of the same size"
            )
        target = Target((*size, *channels), scaling.file_type, scaling, current())
        one, truth = (
            read_into_memory([file], target, Notes())[0]
            for file in (damaged[number], clean[number])
        )
        made = resize(np.asarray(restored[number : number + 1][0]), size)[None]
        span = scaling.high - scaling.low
        found.append(
            (
                compare_with_clean(one, truth, span, pictures=True),
                compare_with_clean(made, truth, span, pictures=True),
            )
        )
    before, after = zip(*found, strict=True)
    return _mean(before), _mean(after)


def _told(size: tuple[int, int] | None) -> str:
    return "no size that can be read" if size is None else f"{side_by_side(size)} pixels"


def _mean(found: Sequence[Restoration]) -> Restoration:
    """Return the mean over pictures; those too small for a structural similarity have no say."""
    known = [one.ssim for one in found if one.ssim is not None]
    psnr = float(np.mean([one.psnr for one in found]))
    return Restoration(psnr, float(np.mean(known)) if known else None)
