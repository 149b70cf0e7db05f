"""The pictures in a file as they are stored, and what a file holds besides."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.data.image_codec import is_grey


class Frame(NamedTuple):
    """One page or frame of a picture file.

    Attributes
    ----------
    values : ndarray of shape (H, W) or (H, W, C)
        All samples, in the type of the file; bool for pictures of black and white.
    alpha : int or None
        Which of the C channels is opacity.
    shows_colours : bool
        Whether the first three channels are red, green and blue.
    duration : float
        Milliseconds for which a frame is shown; 0 for pictures that do not move.
    layout : Layout or None
        Of a page of a TIFF file, how it is written.
    note : str or None
        What has changed of the file's own samples: "palette", "converted" or "unpacked".
    """

    values: NDArray[Any]
    alpha: int | None = None
    shows_colours: bool = False
    duration: float = 0.0
    layout: Any = None
    note: str | None = None

    @property
    def channels(self) -> list[int]:
        """The channels without opacity; [0] of a picture (H, W)."""
        count = self.values.shape[2] if self.values.ndim == 3 else 1
        return [channel for channel in range(count) if channel != self.alpha]


class Carried(NamedTuple):
    """What a file holds besides pictures.

    Attributes
    ----------
    exif, icc, xmp : bytes
        EXIF data, colour profile and XMP; empty if there are none.
    dpi : (float, float) or None
        Pixels an inch along x and y.
    own : object
        More, as only files of the same kind can hold it.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    own: Any = None


# Modes whose samples are kept: which channel is opacity, and whether they are colours.
_MODES: dict[str, tuple[int | None, bool]] = {
    "1": (None, False),
    "L": (None, False),
    "LA": (1, False),
    "RGB": (None, True),
    "RGBA": (3, True),
    "CMYK": (None, False),
}

_ROWS = 256  # that are copied at a time


def frame_of_image(image: Image.Image) -> Frame:
    """Return the samples of Pillow's picture of at most 8 bits a sample.

    Palettes become grey or colours; so do colour spaces other than RGB and CMYK. A colour that
    stands for transparency becomes a channel of opacity.
    """
    note, mode = None, image.mode
    if mode in ("P", "PA"):
        note = "palette"
        mode = "L" if is_grey(image) and mode == "P" else "RGB"
    elif mode not in _MODES:
        note, mode = "converted", {"La": "LA"}.get(mode, "RGBA" if mode == "RGBa" else "RGB")
    if image.has_transparency_data and mode in ("L", "RGB"):
        mode += "A"
    if mode != image.mode:
        image = image.convert("RGBA").convert(mode) if mode == "LA" else image.convert(mode)
    alpha, colours = _MODES[mode]
    return Frame(_samples_of(image), alpha, colours, note=note)


def _samples_of(image: Image.Image) -> NDArray[Any]:
    """Return the samples of Pillow's picture; numpy alone would hold them twice meanwhile."""
    width, height = image.size
    first = np.asarray(image.crop((0, 0, width, 1)))
    values = np.empty((height, *first.shape[1:]), first.dtype)
    for top in range(0, height, _ROWS):
        bottom = min(height, top + _ROWS)
        values[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return values


def image_of_frame(frame: Frame) -> Image.Image:
    """Return Pillow's picture of samples of 8 bits, or of black and white.

    Raises
    ------
    ValueError
        If Pillow has no such pictures.
    """
    values = frame.values
    if values.dtype == bool:
        return Image.fromarray(values)
    if values.dtype != np.uint8:
        raise ValueError(f"samples of {values.dtype} are not of 8 bits")
    count = values.shape[2] if values.ndim == 3 else 1
    known = {(len(mode), *found): mode for mode, found in _MODES.items() if mode != "1"}
    mode = known.get((count, frame.alpha, frame.shows_colours))
    if mode is None:
        raise ValueError(f"{count} channels are no picture")
    size = (values.shape[1], values.shape[0])
    return Image.frombuffer(mode, size, np.ascontiguousarray(values), "raw", mode, 0, 1)
