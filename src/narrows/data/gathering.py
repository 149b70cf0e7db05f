"""Picture files to rows of one shape and type: in memory, or decoded whenever they are needed."""

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from narrows.data.decoding import PictureRows, Progress, Target, find_unreadable
from narrows.data.depths import SHADES, common_type
from narrows.data.image_codec import DefectError, open_picture, quietly
from narrows.data.images import ImageSize, choose_sample_shape, read_into_memory
from narrows.data.memory import check_fits
from narrows.data.pages import Picture
from narrows.data.reading import Notes, Reading
from narrows.data.sizes import Resized, Resizing, Scan, scan, side_by_side, sizes_of, tell_resized
from narrows.data.tempfile_rows import fits
from narrows.data.text import counted
from narrows.errors import DataError, ParameterError, warn

# Pictures that are decoded at the same time, at most.
_AT_ONCE = 64


class Gathered(NamedTuple):
    """What became of picture files.

    Attributes
    ----------
    values : ndarray or StoredRows of shape (n, ...)
        Their rows.
    pictures : list of Path or Page
        The n that they come from.
    skipped : list of (Path or Page, str)
        Those that cannot be read, each with the reason.
    kind : dtype
        What the files hold; see :mod:`narrows.data.depths`.
    resized : Resized or None
        Pictures that were brought to another size, if somebody looked.
    """

    values: Any
    pictures: list[Picture]
    skipped: list[tuple[Picture, str]]
    kind: np.dtype[Any]
    resized: Resized | None


def gather(
    path: Path,
    files: Sequence[Path],
    *,
    sample_shape: tuple[int, ...] | None,
    image_size: ImageSize,
    color: Literal["auto"] | bool,
    own_size: bool,
    scaling: Any,
    how: Reading,
    skip_unreadable: bool,
    resizing: Resizing | None,
    progress: Progress | None,
) -> Gathered:
    """Read picture files that a path names; see :func:`narrows.data.files.read`."""
    notes = Notes()
    found = scan(files, how)
    kind = common_type(found.types) if scaling is None else _kind_of(found)
    learned = sample_shape is not None
    resizing = resizing or ("quiet" if learned or image_size != "auto" else "say")
    if sample_shape is None:
        sample_shape = choose_sample_shape(
            found.pictures, image_size=image_size, color=color, found=found
        )
    elif own_size:
        sample_shape = (*_common_size(found.pictures, how), *sample_shape[2:])
    sizes: dict[Picture, tuple[int, int] | None] = {}
    if not own_size and resizing != "quiet":
        sizes = dict(zip(found.pictures, sizes_of(found.pictures), strict=True))
    resized = Resized.of_read(sizes, sample_shape, None)
    if resized is not None and resizing == "refuse":
        raise DataError(
            f"'{path}' has {resized.words()}, and the model restores pictures of "
            f"{side_by_side(sample_shape)}; let them be brought to that (--resize), or train a "
            "model that keeps sizes (--architecture fully_convolutional)"
        )
    target = Target(sample_shape, kind if scaling is None else scaling.file_type, scaling, how)
    row = math.prod(sample_shape) * target.dtype.itemsize
    check_fits(
        min(len(found.pictures), _AT_ONCE) * row,
        f"{len(found.pictures)} pictures of shape {sample_shape}",
        "bring them to a smaller size (--image-size, image_size)",
        DataError if image_size == "auto" else ParameterError,
    )
    if scaling is None:
        tell_mixed(found, stacklevel=4)
    if fits(len(found.pictures) * row):
        read = read_into_memory(
            found.pictures, target, notes, skip_unreadable=skip_unreadable, progress=progress
        )
    else:
        read = _stream(found.pictures, target, notes, skip_unreadable, progress)
    resized = Resized.of_read(sizes, sample_shape, read[2])
    if resized is not None and resizing == "say":
        tell_resized(path, resized, learned=learned, stacklevel=4)
    notes.tell(stacklevel=4)
    return Gathered(*read, kind, resized)


def tell_mixed(found: Scan, *, stacklevel: int = 2) -> None:
    """Warn where pictures of several types are brought together."""
    if len(found.types) < 2:
        return
    counts = {dtype.name: count for dtype, count in found.counts.items()}
    kind = common_type(found.types)
    shades = (
        "; 8-bit values are multiplied by 257, so that white stays white; bring pictures of 10 to "
        "14 bits to the full range first"
    )
    warn(
        f"pictures of several types ({', '.join(f'{n} {name}' for name, n in counts.items())}) are "
        f"read as {kind.name}{shades if set(found.types) <= set(SHADES) else ''}",
        kind="depths_mixed",
        stacklevel=stacklevel + 1,
        counts=counts,
        read_as=kind.name,
    )


def _kind_of(found: Scan) -> np.dtype[Any]:
    """Name the type of files for a model, which need not go together."""
    types = list(found.types) or [np.dtype(np.uint8)]
    shades = set(types) <= set(SHADES)
    return max(types, key=lambda one: one.itemsize) if shades else np.result_type(*types)


def _stream(
    files: list[Picture],
    target: Target,
    notes: Notes,
    skip_unreadable: bool,
    progress: Progress | None,
) -> tuple[Any, list[Picture], list[tuple[Picture, str]]]:
    """Leave pictures that memory does not hold in their files; as `read_into_memory` otherwise."""
    size = len(files) * math.prod(target.sample_shape) * target.dtype.itemsize
    warnings.warn(
        f"{len(files)} pictures of shape {target.sample_shape} take {size / 1e9:.3g} GB, more than "
        "half of the memory that is free; they are decoded anew whenever they are needed: narrows "
        "pack does it once",
        stacklevel=4,
    )
    reasons = find_unreadable(files, target, progress, notes) if skip_unreadable else {}
    used = [file for place, file in enumerate(files) if place not in reasons]
    if not used:
        raise DataError(
            f"none of {counted(len(files), 'picture')} can be read; the first is '{files[0]}': "
            f"{reasons[0]}; give pictures that can"
        )
    skipped = [(files[place], reason) for place, reason in reasons.items()]
    return PictureRows(used, target, tell=not skip_unreadable), used, skipped


def _common_size(pictures: Sequence[Picture], how: Reading) -> tuple[int, int]:
    """Return the height and width that all pictures have; unreadable ones are reported later."""
    sizes: dict[tuple[int, int], Picture] = {}
    with quietly():
        for picture in pictures:
            with suppress(DefectError), open_picture(picture, how) as opened:
                sizes.setdefault(opened.upright_size, picture)
    if len(sizes) > 1:
        (one, first), (other, second), *_ = sizes.items()
        raise DataError(
            f"'{first}' has {one[0]} x {one[1]} pixels, '{second}' has {other[0]} x {other[1]}; "
            "give pictures of one size together, or one at a time"
        )
    return next(iter(sizes), (1, 1))
