"""Picture files of known values, written by other means than those that are tested."""

import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from narrows.data.images import gather
from narrows.data.reading import chosen

SEED = 0
_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour types, by channels
# Adam7: where each pass begins, and how far its pixels are apart (ISO/IEC 15948, 8.2).
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
           (1, 0, 2, 1))  # fmt: skip


def picture(shape: tuple[int, ...], bits: int, seed: int = SEED) -> NDArray[np.uint16]:
    """Draw values that use so many bits, all of them."""
    values = np.random.default_rng(seed).integers(0, 2**bits, shape, np.uint16)
    values.flat[:2] = 0, 2**bits - 1
    return values


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Save a picture as Pillow does."""
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png16(
    values: NDArray[np.uint16], *, interlaced: bool = False, clear: Any = None, bits: int = 16
) -> bytes:
    """Write a PNG file of 16 bits by its definition, without filters."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    rows = b""
    for top, left, down, across in passes:
        part = values[top::down, left::across]
        if part.size:
            rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part)
    kind = _TYPES[channels]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced))]
    if clear is not None:
        parts.append((b"tRNS", np.asarray(clear, ">u2").tobytes()))
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    """Write a TIFF file of one page, (H, W) or (H, W, C), by tifffile."""
    options.setdefault("photometric", "rgb" if values.shape[2:] == (3,) else "minisblack")
    if values.ndim == 3:
        options.setdefault("planarconfig", "contig")
        if options["planarconfig"] == "separate":
            values = np.moveaxis(values, 2, 0)
    file = BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def stack(pages: list[NDArray[Any]], **options: Any) -> bytes:
    """Write a TIFF file of several pages."""
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None, **options)
    return file.getvalue()


def read_images(
    files: Sequence[Path],
    sample_shape: tuple[int, ...],
    *,
    skip_unreadable: bool = False,
    max_pixels: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[Any], list[Any], list[tuple[Any, str]]]:
    """Read files as `narrows.data.files.read` reads those of a folder: rows, read and skipped."""
    made = gather(
        Path(),
        files,
        sample_shape=sample_shape,
        image_size="auto",
        color="auto",
        own_size=False,
        scaling=None,
        how=chosen(max_pixels),
        skip_unreadable=skip_unreadable,
        resizing="quiet",
        progress=progress,
    )
    return made.values, made.pictures, made.skipped
