"""Pictures: files of any common format to pixels, and pixels to PNG.

Pictures for training and for queries take the same way (:mod:`narrows.data.codec`), so that a
file has identical pixels wherever it is read for one sample shape.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from narrows.data.axes import are_pictures, is_picture_shape
from narrows.data.codec import (
    DefectError,
    decode,
    encode_png,
    is_grey,
    open_picture,
    quietly,
    upright_size,
)
from narrows.data.decoding import Progress, decode_files
from narrows.data.folders import Listing, check_exists, list_files
from narrows.errors import DataError, ParameterError, UnreadableFileError

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageSize",
    "Progress",
    "choose_sample_shape",
    "encode_png",
    "find_images",
    "list_images",
    "read_image",
    "read_images",
]

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
     ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)  # fmt: skip
"""Endings by which files in a folder are taken for pictures, in lower case."""

_BESIDE = (".csv", ".tsv", ".parquet")  # tables beside pictures are about these

Pixels: TypeAlias = NDArray[np.uint8]
ImageSize: TypeAlias = Literal["auto"] | int | tuple[int, int]

_LARGEST_KEPT = 64


def find_images(folder: str | Path, exclude: str | Sequence[str] = ()) -> list[Path]:
    """List the pictures in a folder and its subfolders, by the endings of their names.

    Parameters
    ----------
    folder, exclude
        As for :func:`list_images`.

    Returns
    -------
    list of Path
        The files with one of :data:`IMAGE_SUFFIXES`, sorted by their paths.

    Raises
    ------
    MissingFileError, DataError, UnreadableFileError, ParameterError
        As :func:`list_images`.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from narrows.data.images import encode_png, find_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "black.png").write_bytes(encode_png(np.zeros((2, 3), np.uint8)))
    ...     _ = Path(folder, "notes.txt").write_text("not a picture")
    ...     [path.name for path in find_images(folder)]
    ['black.png']
    """
    return list_images(folder, exclude).files


def list_images(folder: str | Path, exclude: str | Sequence[str] = ()) -> Listing:
    """List the pictures in a folder and its subfolders, and count what else is there.

    Hidden files and folders and those of systems are left out, and linked folders are not followed;
    see :mod:`narrows.data.folders`.

    Parameters
    ----------
    folder : str or Path
        The folder.
    exclude : str or sequence of str
        Patterns of files and folders that are left out; see
        :func:`narrows.data.folders.check_exclude`.

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
    found = list_files(folder, IMAGE_SUFFIXES, beside=_BESIDE, exclude=exclude)
    if not found.files:
        instead = found.left_out.words()
        raise DataError(
            f"'{folder}' holds no pictures{f' ({instead})' if instead else ''}; give a folder with "
            f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return found


def read_image(source: str | Path | bytes, sample_shape: tuple[int, ...]) -> Pixels:
    """Read one picture as a model with a given sample shape takes it.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or what is in it.
    sample_shape : tuple of int
        (height, width) or (height, width, 1) for grey, (height, width, 3) for colour,
        (height, width, 4) for colour and opacity.

    Returns
    -------
    ndarray of uint8, of shape ``sample_shape``
        Values from 0 (black) to 255 (white). The picture is stretched to this size, whatever its
        own proportions are.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    UnreadableFileError
        If it is truncated, damaged, no picture, or too large to be safe; the message names it.
    DataError
        If rows of ``sample_shape`` are not pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.images import encode_png, read_image
    >>> file = encode_png(np.full((40, 30), 200, np.uint8))
    >>> read_image(file, (8, 8)).shape, read_image(file, (2, 1, 3)).tolist()
    ((8, 8), [[[200, 200, 200]], [[200, 200, 200]]])
    """
    _check_sample_shape(sample_shape)
    name = "the picture in memory" if isinstance(source, bytes) else f"'{source}'"
    try:
        with quietly():
            return decode(source, sample_shape)
    except DefectError as error:
        raise UnreadableFileError(
            f"{name} is not a readable picture: {error}; repair it or choose another"
        ) from error


def choose_sample_shape(
    paths: Sequence[str | Path],
    *,
    image_size: ImageSize = "auto",
    color: Literal["auto"] | bool = "auto",
) -> tuple[int, ...]:
    """Choose one shape for pictures of any sizes, from their headers.

    Files that cannot be read have no say; :func:`read_images` reports them.

    Parameters
    ----------
    paths : sequence of str or Path
        The picture files.
    image_size : "auto", int or (int, int), default="auto"
        Height and width in pixels, or one number for both. "auto" keeps the size that all pictures
        have, if they have one and its longer side is at most 64, and takes (64, 64) otherwise.
    color : "auto" or bool, default="auto"
        Whether the pictures have colours. "auto" takes grey only if all files are grey.

    Returns
    -------
    tuple of int
        (height, width) for grey, (height, width, 3) for colour. Grey pictures as narrow as signals
        get (height, width, 1), which tells them from these.

    Raises
    ------
    ParameterError
        If ``image_size`` or ``color`` is none of the above.
    MissingFileError
        If a file does not exist.

    Examples
    --------
    >>> from narrows.data.images import choose_sample_shape
    >>> choose_sample_shape([], image_size=32, color=True)
    (32, 32, 3)
    """
    size = _check_image_size(image_size)
    if color not in ("auto", True, False):
        raise ParameterError(f"color={color!r} is not allowed; give 'auto', True or False")
    colored = None if color == "auto" else bool(color)
    common: tuple[int, int] | None = None
    with quietly():
        for path in paths:
            if size is not None and colored is not None:
                break
            try:
                with open_picture(path) as image:
                    if colored is None and not is_grey(image):
                        colored = True
                    if size is None:
                        # Only pictures small enough to be kept are worth more than their header.
                        small = max(image.size) <= _LARGEST_KEPT
                        own = upright_size(image) if small else None
                        common = common or own
                        if own is None or own != common:
                            size = (_LARGEST_KEPT, _LARGEST_KEPT)
            except DefectError:
                continue
    size = size or common or (_LARGEST_KEPT, _LARGEST_KEPT)
    if colored:
        return (*size, 3)
    return size if are_pictures(size) else (*size, 1)


def read_images(
    paths: Sequence[str | Path],
    sample_shape: tuple[int, ...],
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> tuple[Pixels, list[Path], list[tuple[Path, str]]]:
    """Read many pictures, with all processors, into one array.

    Parameters
    ----------
    paths : sequence of str or Path
        The picture files.
    sample_shape : tuple of int
        (height, width) or (height, width, 1) for grey, (height, width, 3) for colour,
        (height, width, 4) for colour and opacity.
    skip_unreadable : bool, default=False
        Whether files that cannot be read are left out and listed instead of raising.
    progress : callable, optional
        Called with the number of files done and the number of all, from the caller's thread.

    Returns
    -------
    pixels : ndarray of uint8, of shape (n, *sample_shape)
        Values from 0 to 255, in the order of ``paths``.
    read : list of Path
        The n files that they come from.
    skipped : list of (Path, str)
        The files that were left out, each with the reason.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    UnreadableFileError
        If a file cannot be read and ``skip_unreadable`` is false; the message names the first.
    DataError
        If there are no files, none of them can be read, or rows of ``sample_shape`` are not
        pictures.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from narrows.data.images import encode_png, read_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     good, bad = Path(folder, "good.png"), Path(folder, "bad.png")
    ...     _ = good.write_bytes(encode_png(np.zeros((9, 9), np.uint8)))
    ...     _ = bad.write_bytes(b"what is this")
    ...     pixels, read, skipped = read_images([bad, good], (4, 4), skip_unreadable=True)
    >>> pixels.shape, [path.name for path in read], [path.name for path, _ in skipped]
    ((1, 4, 4), ['good.png'], ['bad.png'])
    """
    _check_sample_shape(sample_shape)
    if not paths:
        raise DataError("no picture files were given; give at least one")
    files = [Path(path) for path in paths]
    pixels = np.empty((len(files), *sample_shape), np.uint8)
    reasons = decode_files(files, pixels, skip_unreadable=skip_unreadable, progress=progress)
    kept = [index for index in range(len(files)) if index not in reasons]
    if not kept:
        raise DataError(
            f"none of the {len(files)} pictures can be read; the first is '{files[0]}': "
            f"{reasons[0]}; give pictures that can"
        )
    if reasons:
        for row, index in enumerate(kept):
            pixels[row] = pixels[index]
    skipped = [(files[index], reason) for index, reason in reasons.items()]
    return pixels[: len(kept)], [files[index] for index in kept], skipped


def _check_sample_shape(sample_shape: tuple[int, ...]) -> None:
    if not is_picture_shape(sample_shape):
        raise DataError(
            f"pictures do not fit rows of shape {sample_shape}; only (height, width) or "
            "(height, width, 1, 3 or 4) do: give an array or a table instead"
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
            "from 1 on, or a pair of them: (height, width)"
        )
    return size[0], size[1]
