"""What is known of a picture file once it has been looked at: its bytes, its size, a small square.

Everything that copies are found by is made from one decoding at a reduced size. A frame of one
colour is cut off first, as a border or the bars of a film would be taken for what a picture shows.
"""

from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.data.decoding import preview
from narrows.data.image_codec import (
    DefectError,
    OpenPicture,
    is_grey,
    open_picture,
    turn,
)
from narrows.data.reading import Reading
from narrows.errors import MissingFileError

SIDE = 64
"""Pixels of a side of the squares that pictures are brought to."""

_DECODED = 128  # the least pixels of a side from which a square is made
_LIKE, _SPECK = 4.0, 28.0  # levels by which a frame's lines and pixels may differ from its colour
_FRAME = 0.7  # the most of a side that frames may take
_FLAT = 2.0  # levels of deviation below which a picture shows nothing
_CHROMA = 16  # pixels of a side of the colours that are measured


class Box(NamedTuple):
    """The part of a picture within its frame, in shares of its width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    @property
    def is_whole(self) -> bool:
        """Whether there is no frame."""
        return self == (0, 0, 1, 1)


@dataclass(frozen=True)
class Seen:
    """What is known of a picture file.

    Attributes
    ----------
    n_bytes, modified : int
        The size of the file, and its time of change in nanoseconds.
    digest : bytes
        The BLAKE2b hash of the file's bytes.
    width, height : int
        Of the upright picture, in pixels.
    format : str
        As Pillow names it: JPEG, PNG and so on.
    colour : float
        How far the colours are from grey on average, in levels of 255.
    frames : int
        Pages or frames of the file, of which the first is compared.
    box : Box
        The part within a frame of one colour.
    square : ndarray of uint8 and shape (64, 64)
        That part in grey, brought to a square.
    """

    n_bytes: int
    modified: int
    digest: bytes
    width: int
    height: int
    format: str
    colour: float
    frames: int
    box: Box
    square: NDArray[np.uint8]

    @property
    def inner_size(self) -> tuple[float, float]:
        """The width and height within the frame, in pixels."""
        across, down = self.box.right - self.box.left, self.box.bottom - self.box.top
        return self.width * across, self.height * down

    @property
    def is_flat(self) -> bool:
        """Whether the picture is one pixel wide or high, or shows nothing but one shade."""
        return min(self.width, self.height) < 2 or float(self.square.std()) < _FLAT


def look(file: Path, how: Reading) -> Seen:
    """Look at a picture file.

    It is called within a block of :func:`narrows.data.image_codec.quietly`.

    Parameters
    ----------
    file : Path
        The file.
    how : Reading
        The limit of pixels.

    Returns
    -------
    Seen

    Raises
    ------
    DefectError
        If it cannot be read.
    MissingFileError
        If it does not exist.
    """
    try:
        found = file.stat()
        with file.open("rb") as opened:
            digest = file_digest(opened, "blake2b").digest()
    except FileNotFoundError as error:
        raise MissingFileError(f"'{file}' does not exist; give a picture file") from error
    except OSError as error:
        raise DefectError(error.strerror or str(error)) from error
    with open_picture(file, how) as picture:
        small, colour = _small(picture, file, how)
        height, width = picture.upright_size
        header = picture.header
        kind = header.format if isinstance(header, Image.Image) else "TIFF"
        frames = len(picture.count_pages())
    box, square = _square(small)
    return Seen(
        n_bytes=found.st_size,
        modified=found.st_mtime_ns,
        digest=digest,
        width=width,
        height=height,
        format=kind or "",
        colour=colour,
        frames=frames,
        box=box,
        square=square,
    )


def _small(picture: OpenPicture, file: Path, how: Reading) -> tuple[Image.Image, float]:
    """Decode a picture to a grey one of about 128 x 128 pixels or more, and measure its colours."""
    if picture.image is None:  # of more than 8 bits
        image, turned = Image.fromarray(preview(file, how=how)), 1
    else:
        image, _, turned = picture.unpack((_DECODED, _DECODED), "YCbCr")
    grey = is_grey(image)
    if grey or image.mode != "YCbCr":
        image = image.convert("L" if grey else "RGB")
    factors = max(1, image.width // _DECODED), max(1, image.height // _DECODED)
    if factors != (1, 1):
        image = image.reduce(factors)
    colour = 0.0
    if image.mode != "L":
        bands = (image if image.mode == "YCbCr" else image.convert("YCbCr")).split()
        image = bands[0]
        chroma = [
            np.asarray(band.resize((_CHROMA, _CHROMA), Image.Resampling.BOX), np.float32)
            for band in bands[1:]
        ]
        colour = float(np.abs(np.stack(chroma) - 128).mean())
    return turn(image, turned), colour


def _square(small: Image.Image) -> tuple[Box, NDArray[np.uint8]]:
    """Cut off a frame, and bring the rest to a square."""
    pixels = np.asarray(small, np.float32)
    height, width = pixels.shape
    top, bottom = _frame(pixels)
    left, right = _frame(pixels.T)
    box = (left, top, width - right, height - bottom)
    narrow = min(box[2] - box[0], box[3] - box[1]) >= 2 * SIDE
    kind = Image.Resampling.BOX if narrow else Image.Resampling.BILINEAR
    square = np.asarray(small.resize((SIDE, SIDE), kind, box=box))
    shares = Box(box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    return shares, square


def _frame(pixels: NDArray[np.float32]) -> tuple[int, int]:
    """Count the lines at the start and the end that are of one shade; 0 if only one side has any.

    A sky that is white at the top is no frame. Where there is one, a line more is cut off, which
    may be mixed.
    """
    start, end = _lines(pixels), _lines(pixels[::-1])
    if not (start and end) or start + end + 2 > _FRAME * len(pixels):
        return 0, 0
    return start + 1, end + 1


def _lines(pixels: NDArray[np.float32]) -> int:
    if float(np.abs(pixels[0] - pixels[0].mean()).mean()) >= _LIKE:
        return 0
    away = np.abs(pixels - pixels[0].mean())
    plain = (away.mean(axis=1) < _LIKE) & (away.max(axis=1) < _SPECK)
    return 0 if plain.all() else int(np.argmin(plain))
