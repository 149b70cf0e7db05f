"""Picture files to rows of one shape and type, in memory or decoded on each access.

Pictures for training and for queries are decoded alike (:mod:`narrows.data.image_codec`), so that a
file has identical pixels wherever it is read for one sample shape.
"""

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from narrows.containment import check_fits, fits
from narrows.data.axes import are_pictures
from narrows.data.crops import Cropped, Cut, cut
from narrows.data.decoding import (
    PictureRows,
    Pixels,
    Progress,
    Resized,
    Resizing,
    Scan,
    Target,
    decode_files,
    find_unreadable,
    scan,
    side_by_side,
    sizes_of,
    warn_of_resized,
)
from narrows.data.depths import SHADES, common_type
from narrows.data.folders import Entries, LeftOut, Listing, check_exists, list_files
from narrows.data.formats import IMAGE_SUFFIXES, SOUND_SUFFIXES, needed_for
from narrows.data.image_codec import DefectError, decode, open_picture, quietly
from narrows.data.reading import Notes, Page, Picture, Reading, chosen, shown_name
from narrows.errors import DataError, ParameterError, UnreadableFileError, warn
from narrows.texts import counted

_BESIDE = (".csv", ".tsv", ".parquet")  # tables beside pictures describe them
ImageSize: TypeAlias = Literal["auto"] | int | tuple[int, int]
_LARGEST_KEPT = 64
# How whole pictures are learned from in place of crops.
_WHOLE = "; --image-size (image_size) brings whole pictures to one size instead"
# The most pictures that are decoded at the same time.
_AT_ONCE = 64


def list_images(
    folder: str | Path, exclude: str | Sequence[str] = (), seen: Entries | None = None
) -> Listing:
    """List the pictures in a folder and its subfolders, and count the other files.

    Hidden files and folders and those of systems are left out, and linked folders are not followed;
    see :mod:`narrows.data.folders`.

    Parameters
    ----------
    folder : str or Path
        The folder.
    exclude : str or sequence of str
        Patterns of files and folders that are left out; see
        :func:`narrows.data.folders.check_exclude`.
    seen : dict, optional
        See :func:`narrows.data.folders.list_files`.

    Returns
    -------
    Listing
        At least one file.

    Raises
    ------
    MissingFileError
        If the folder does not exist.
    DataError
        If it is not a folder, or holds no pictures; the message counts what it holds instead.
    UnreadableFileError
        If it, or a folder in it, must not be read.
    ParameterError
        If a pattern is empty.
    """
    folder = Path(folder)
    check_exists(folder, "a folder of pictures")
    if not folder.is_dir():
        raise DataError(f"'{folder}' is not a folder; give a folder of pictures")
    found = list_files(folder, IMAGE_SUFFIXES, beside=_BESIDE, exclude=exclude, seen=seen)
    found.left_out.remedy = needed_for(found.left_out.kinds)
    if not found.files:
        _refuse_sound(folder, found.left_out)
        instead = found.left_out.words()
        raise DataError(
            f"'{folder}' holds no pictures{f' ({instead})' if instead else ''}; give a folder with "
            f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return found


def _refuse_sound(folder: Path, left_out: LeftOut) -> None:
    """Refuse a folder of sound files, and tell how these are read.

    Raises
    ------
    DataError
        If it holds sound files.
    """
    count = sum(n for kind, n in left_out.kinds.items() if kind.lower() in SOUND_SUFFIXES)
    if count:
        raise DataError(
            f"'{folder}' holds {counted(count, 'sound file')}: give the samples of a window "
            "(train --window 256; in Python narrows.signals.Windows)"
        )


def read_image(
    source: str | Path | bytes,
    sample_shape: tuple[int, ...],
    *,
    scaling: Any = None,
    max_pixels: int | None = None,
) -> Pixels:
    """Read one picture in the shape that a model takes.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or its contents. Of several pages or frames, the first is read.
    sample_shape : tuple of int
        (height, width) or (height, width, 1) for grey, (height, width, 3) for colour,
        (height, width, 4) for colour and opacity, (height, width, C) for files of C other channels.
    scaling : Scaling, optional
        A trained model's ``scaling_``: the values then are in the units of its training data.
    max_pixels : int, optional
        The most pixels to decode; see :class:`narrows.data.reading.Reading`.

    Returns
    -------
    ndarray of shape ``sample_shape``
        Without ``scaling``: of uint8, from 0 (black) to 255 (white), for files of up to 8 bits a
        sample; of uint16 for those of 9 to 16 bits, whose values stay what they are unless the
        file says what white is, which becomes 65535; otherwise of the type and the values that the
        file has. The picture is resized to this size without regard to its proportions.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    UnreadableFileError
        If it is truncated, damaged, no picture, of other channels, or too large to be safe; the
        message names it.
    DataError
        If rows of ``sample_shape`` are not pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.depths import encode_png

    >>> file = encode_png(np.full((40, 30), 200, np.uint8))
    >>> read_image(file, (8, 8)).shape, read_image(file, (2, 1, 3)).tolist()
    ((8, 8), [[[200, 200, 200]], [[200, 200, 200]]])
    >>> read_image(encode_png(np.full((40, 30), 4000, np.uint16)), (1, 2)).tolist()
    [[4000, 4000]]
    """
    _check_sample_shape(sample_shape)
    name = "the picture in memory" if isinstance(source, bytes) else f"'{source}'"
    how, notes = chosen(max_pixels), Notes()
    picture = source if isinstance(source, bytes) else Path(source)
    try:
        with quietly():
            values = decode(picture, sample_shape, how, notes)
            row = Target(sample_shape, values.dtype, scaling, how).fit(values, picture, notes)
    except DefectError as error:
        raise UnreadableFileError(
            f"{name} is not a readable picture: {error}; repair it or choose another",
            path=None if isinstance(source, bytes) else picture,
            reason=str(error),
        ) from error
    notes.warn(stacklevel=3)
    return row


def choose_sample_shape(
    paths: Sequence[str | Path | Page],
    *,
    image_size: ImageSize = "auto",
    color: Literal["auto"] | bool = "auto",
    found: Scan | None = None,
) -> tuple[int, ...]:
    """Choose one shape for pictures of any sizes, from their headers.

    Unreadable files are ignored; :func:`gather` reports them.

    Parameters
    ----------
    paths : sequence of str or Path
        The picture files.
    image_size : "auto", int or (int, int), default="auto"
        Height and width in pixels, or one number for both. "auto" keeps the size that all pictures
        have, if they have one and its longer side is at most 64, and takes (64, 64) otherwise.
    color : "auto" or bool, default="auto"
        Whether the pictures have colours. "auto" takes grey only if all files are grey, and the
        channels that they have if all of them have as many, other than 1 and 3.
    found : Scan, optional
        The facts of their headers, if these have been read.

    Returns
    -------
    tuple of int
        (height, width) for grey, (height, width, 3) for colour, (height, width, C) for C channels.
        Grey pictures as narrow as signals get (height, width, 1), to distinguish them.

    Raises
    ------
    ParameterError
        If ``image_size`` or ``color`` is none of the above, or ``color`` is for files whose
        channels are no colours.
    MissingFileError
        If a file does not exist.
    DataError
        If files have channels that are no colours, and others have other channels.

    Examples
    --------
    >>> choose_sample_shape([], image_size=32, color=True)
    (32, 32, 3)
    """
    size = _check_image_size(image_size)
    if color not in ("auto", True, False):
        raise ParameterError(
            f"color={color!r} is not allowed; give 'auto', True or False", parameter="color"
        )
    if found is None:
        found = scan([Path(one) for one in paths if not isinstance(one, Page)], chosen())
    others = _other_channels(found, color)
    colored = None if color == "auto" and others is None else bool(color)
    common: tuple[int, int] | None = None
    with quietly():
        for path in paths:
            if size is not None and colored is not None:
                break
            try:
                with open_picture(path) as picture:
                    if colored is None and picture.shows_colours:
                        colored = True
                    if size is None:
                        # The upright size of large pictures does not matter.
                        small = max(picture.width, picture.height) <= _LARGEST_KEPT
                        own = picture.upright_size if small else None
                        common = common or own
                        if own is None or own != common:
                            size = (_LARGEST_KEPT, _LARGEST_KEPT)
            except DefectError:
                continue
    size = size or common or (_LARGEST_KEPT, _LARGEST_KEPT)
    if others is not None:
        return (*size, others)
    if colored:
        return (*size, 3)
    return size if are_pictures(size) else (*size, 1)


def _other_channels(found: Scan, color: Literal["auto"] | bool) -> int | None:
    """Return the number of channels of all pictures, if these are not grey or in colours."""
    if not found.others:
        return None
    count, some = next(iter(found.others.items()))
    if color == "auto" and some.files == sum(found.counts.values()):
        return count
    odd = next((pair for pair in found.others.items() if not pair[1].are_colours), None)
    if odd is None:
        return None
    why = f"'{odd[1].first}' has {odd[0]} channels, which are neither grey nor red, green and blue"
    if color != "auto":
        raise ParameterError(f"{why}; leave out --color and --grey (color='auto')")
    raise DataError(f"{why}, and other files have other channels; give files of the same")


def read_into_memory(
    files: Sequence[Picture],
    target: Target,
    notes: Notes,
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> tuple[Pixels, list[Picture], list[tuple[Picture, str]]]:
    """Read many pictures by a thread pool into one array, and collect notes.

    Parameters
    ----------
    files : sequence of Path or Page
        The picture files.
    target : Target
        Shape, type and units of the rows.
    notes : Notes
        Collects notes of the files.
    skip_unreadable, progress
        See :func:`narrows.data.decoding.decode_files`.

    Returns
    -------
    pixels : ndarray of shape (n, *sample_shape)
        In the order of ``files``.
    read : list of Path or Page
        The n files that were read.
    skipped : list of (Path or Page, str)
        The files that were left out, each with the reason.

    Raises
    ------
    MissingFileError, UnreadableFileError
        See :func:`narrows.data.decoding.decode_files`.
    DataError
        If none of them can be read.
    """
    pixels = target.empty(len(files))
    reasons = decode_files(
        files, pixels, target, skip_unreadable=skip_unreadable, progress=progress, notes=notes
    )
    kept = [index for index in range(len(files)) if index not in reasons]
    if not kept:
        raise none_readable(len(files), files[0], reasons[0])
    if reasons:
        for row, index in enumerate(kept):
            pixels[row] = pixels[index]
    skipped = [(files[index], reason) for index, reason in reasons.items()]
    return pixels[: len(kept)], [files[index] for index in kept], skipped


def none_readable(count: int, first: object, reason: str) -> DataError:
    """Make the error for pictures none of which can be read."""
    return DataError(
        f"none of {counted(count, 'picture')} can be read; the first is '{first}': {reason}; give "
        "pictures that can"
    )


def _check_sample_shape(sample_shape: tuple[int, ...]) -> None:
    if len(sample_shape) not in (2, 3):
        raise DataError(
            f"pictures do not fit rows of shape {sample_shape}; only (height, width) or "
            "(height, width, channels) do: give an array or a table instead"
        )


def _check_image_size(image_size: ImageSize) -> tuple[int, int] | None:
    if image_size == "auto":
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if (
        not isinstance(size, tuple | list)
        or len(size) != 2
        or not all(isinstance(side, int) and side >= 1 and side is not True for side in size)
    ):
        raise ParameterError(
            f"image_size={image_size!r} is not allowed; give 'auto', a whole number of pixels "
            "from 1 on, or a pair of them: (height, width)",
            parameter="image_size",
        )
    return size[0], size[1]


class Gathered(NamedTuple):
    """The rows of picture files.

    Attributes
    ----------
    values : ndarray or StoredRows of shape (n, ...)
        The rows.
    pictures : list of Path or Page
        The n pictures that were read.
    skipped : list of (Path or Page, str)
        Unreadable pictures, each with the reason.
    kind : dtype
        Type of the files' values; see :mod:`narrows.data.depths`.
    resized : Resized or None
        Resized pictures, if sizes were compared.
    cropped : Cropped or None
        What was cut out of the pictures, if the rows are crops.
    """

    values: Any
    pictures: list[Picture]
    skipped: list[tuple[Picture, str]]
    kind: np.dtype[Any]
    resized: Resized | None
    cropped: Cropped | None = None


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
    crops: int | None = None,
    found: Scan | None = None,
    progress: Progress | None,
) -> Gathered:
    """Read picture files that a path names; see :func:`narrows.data.files.read`.

    With ``found``, these are the pictures, whose headers have been read.
    """
    notes = Notes()
    found = scan(files, how) if found is None else found
    kind = common_type(found.types) if scaling is None else _type_of(found)
    learned = sample_shape is not None
    resizing = resizing or ("quiet" if learned or image_size != "auto" else "say")
    if sample_shape is None:
        sample_shape = choose_sample_shape(
            found.pictures, image_size=image_size, color=color, found=found
        )
    elif own_size:
        sample_shape = (*_common_size(found.pictures, how), *sample_shape[2:])
    if crops is not None and image_size == "auto":
        target = Target(
            (crops, crops, *sample_shape[2:]),
            kind if scaling is None else scaling.file_type,
            scaling,
            how,
        )
        cut_out = _cut_out(
            found,
            sample_shape[:2],
            target,
            notes,
            overlap=not learned,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )
        if cut_out is not None:
            cut_out.cropped.warn(path, remedy="" if learned else _WHOLE, stacklevel=4)
            notes.warn(stacklevel=4)
            return Gathered(
                cut_out.values, cut_out.pictures, cut_out.skipped, kind, None, cut_out.cropped
            )
    sizes: dict[Picture, tuple[int, int] | None] = {}
    if not own_size and resizing != "quiet":
        sizes = dict(zip(found.pictures, sizes_of(found.pictures), strict=True))
    resized = Resized.of_read(sizes, sample_shape, None)
    if resized is not None and resizing == "refuse":
        raise DataError(
            f"'{path}' has {resized.words()}, and the model restores pictures of "
            f"{side_by_side(sample_shape)}; let them be brought to that (--resize), or train a "
            "model that keeps sizes (--architecture fully_convolutional)",
            path=path,
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
        warn_of_mixed(found, stacklevel=4)
    if fits(len(found.pictures) * row):
        read = read_into_memory(
            found.pictures, target, notes, skip_unreadable=skip_unreadable, progress=progress
        )
    else:
        read = _stream(found.pictures, target, notes, skip_unreadable, progress)
    resized = Resized.of_read(sizes, sample_shape, read[2])
    if resized is not None and resizing == "say":
        warn_of_resized(path, resized, learned=learned, stacklevel=4)
    notes.warn(stacklevel=4)
    return Gathered(*read, kind, resized)


def _cut_out(
    found: Scan,
    size: tuple[int, ...],
    target: Target,
    notes: Notes,
    *,
    overlap: bool,
    skip_unreadable: bool,
    progress: Progress | None,
) -> Cut | None:
    """Cut squares out of pictures, unless all of them have one size, which is the rows'."""
    sizes = sizes_of(found.pictures)
    if {*sizes} - {None} == {size}:
        return None
    if target.scaling is None:
        warn_of_mixed(found, stacklevel=5)
    made = cut(
        found.pictures,
        sizes,
        target,
        notes,
        overlap=overlap,
        skip_unreadable=skip_unreadable,
        progress=progress,
    )
    if not made.pictures:
        raise none_readable(len(found.pictures), *made.skipped[0])
    return made


def warn_of_mixed(found: Scan, *, stacklevel: int = 2) -> None:
    """Warn if pictures have several types."""
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


def _type_of(found: Scan) -> np.dtype[Any]:
    """Return the type of files for a trained model, also if types have no common meaning."""
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
    """Make lazy rows of pictures that do not fit into memory; see `read_into_memory`."""
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
        raise none_readable(len(files), files[0], reasons[0])
    skipped = [(files[place], reason) for place, reason in reasons.items()]
    return PictureRows(used, target, tell=not skip_unreadable), used, skipped


def _common_size(pictures: Sequence[Picture], how: Reading) -> tuple[int, int]:
    """Return the common height and width of pictures; unreadable ones are reported later."""
    sizes: dict[tuple[int, int], Picture] = {}
    with quietly():
        for picture in pictures:
            with suppress(DefectError), open_picture(picture, how) as opened:
                sizes.setdefault(opened.upright_size, picture)
    if len(sizes) > 1:
        (one, first), (other, second), *_ = sizes.items()
        raise DataError(
            f"'{shown_name(first)}' has {one[0]} x {one[1]} pixels, "
            f"'{shown_name(second)}' has {other[0]} x {other[1]}; "
            "give pictures of one size together, or one at a time"
        )
    return next(iter(sizes), (1, 1))
