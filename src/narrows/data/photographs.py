"""Picture files read with everything that they hold, and written again with other pixels.

Size, depth, channels, opacity, EXIF data with their orientation, colour profile, resolution, pages,
frames with their durations and the kind of file are kept: pixels are not turned, unless the reader
of the kind does so itself and says that they are upright. What cannot be kept is in
:attr:`Photograph.notes`.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from narrows.data import photo_encoders, photo_tiff, tiff
from narrows.data.formats import format_of
from narrows.data.image_codec import (
    OpenPicture,
    bits_of,
    explained,
    frames_of,
    is_tiff,
    open_image,
)
from narrows.data.photo_encoders import UnwritableError
from narrows.data.photo_frames import Carried, Frame, frame_of_image
from narrows.data.reading import Reading
from narrows.errors import ParameterError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

__all__ = [
    "NOTES",
    "Frame",
    "Photograph",
    "UnwritableError",
    "check_writable",
    "open_photograph",
    "same_ending",
]

NOTES = {
    "palette": "whose palettes became grey or colours",
    "converted": "whose colour space became RGB",
    "unpacked": "of 9 to 15 bits, which became 16",
    "shallow": "of more than 8 bits a sample, which the reader of their kind gives in 8",
    "previews": "whose previews or other exposures beside the picture were left out",
    "thumbnails": "whose thumbnails, masks or smaller copies were left out",
    "metadata": "whose kind holds no EXIF data or colour profile here, which were left out",
    "few_colours": "whose kind holds 256 colours, to which restored ones were reduced",
}
"""What is not kept of some files, as the end of "3 files ..."."""

# Pillow's names of the kinds of :data:`narrows.data.formats.FORMATS`.
_KINDS = {"PNG": "PNG", "TIFF": "TIFF", "JPEG": "JPEG", "WebP": "WEBP", "BMP": "BMP", "GIF": "GIF",
          "AVIF": "AVIF", "JPEG 2000": "JPEG2000", "PNM": "PPM", "HEIC": "HEIF",
          "JPEG XL": "JXL"}  # fmt: skip
_WITHOUT_METADATA = {"BMP", "PPM", "GIF", "JPEG2000"}


class Photograph:
    """An open picture file; :func:`open_photograph` makes it.

    Attributes
    ----------
    path : Path
        The file.
    kind : str
        Its kind, as Pillow calls it, whatever its name ends in.
    count : int
        How many pages or frames it has.
    dtype : dtype
        Type of the values of the first one; uint8 for pictures of black and white as well.
    notes : set of str
        What is not kept when it is written again; keys of :data:`NOTES`. Some are known after the
        frames were read.
    """

    def __init__(self, path: Path, picture: OpenPicture) -> None:
        self.path, self._picture = path, picture
        self.dtype = picture.dtype
        self.notes: set[str] = set()
        self._file = picture.file
        self._carried: Carried | None = None
        self._offsets: list[int] = []
        self._file.seek(0)
        if is_tiff(self._file.read(16)):
            self.kind = "TIFF"
            self._offsets = tiff.page_offsets(self._file)
            own = len(self._offsets)
            self.count = own + (tiff.hidden_pages(self._file) if own == 1 else 0)
            if own < len(tiff.page_offsets(self._file, every=True)):
                self.notes.add("thumbnails")
            return
        image = cast("ImageFile", picture.header)
        self.kind, self.count = photo_encoders.kind_of(image), frames_of(image)
        if getattr(image, "n_frames", 1) > self.count:
            self.notes.add("previews")
        if bits_of(image, self._file) > 8 and picture.dtype == np.uint8:
            self.notes.add("shallow")

    def frames(self) -> Iterator[Frame]:
        """Read the pages or frames, one by one; more than once if need be.

        Raises
        ------
        DefectError
            If one is damaged or too large.
        """
        if self.kind != "TIFF":
            with explained(self.path):
                self._picture.check_size()
        reader = self._pages() if self.kind == "TIFF" else self._pictures()
        while True:
            with explained(self.path):
                frame = next(reader, None)
            if frame is None:
                return
            if frame.note is not None:
                self.notes.add(frame.note)
            yield frame

    def _pages(self) -> Iterator[Frame]:
        first = None
        for offset in self._offsets:
            frame = photo_tiff.read_page(self._file, offset, open_image, self._picture.check_room)
            first = first or frame
            self._carried = self._carried or photo_tiff.carried_of(frame)
            yield frame
        for number in range(1, 1 + self.count - len(self._offsets)):
            assert first is not None  # noqa: S101 (for the type checker)
            yield photo_tiff.read_hidden_page(self._file, self._offsets[0], number, first)

    def _pictures(self) -> Iterator[Frame]:
        if self.count == 1:
            yield self._deep() if self._picture.image is None else self._still()
            return
        image = self._opened()
        for number in range(self.count):
            image.seek(number)
            image.load()
            frame = frame_of_image(image)
            self._carried = self._carried or photo_encoders.carried_of(image, self._file)
            yield frame._replace(duration=float(image.info.get("duration") or 0))

    def _opened(self) -> "ImageFile":
        """Open the file anew, so that Pillow's picture can be forgotten before others are made."""
        image = open_image(self._file, lambda width, height: None)  # noqa: ARG005
        assert image is not None  # noqa: S101 (as it was opened before)
        return image

    def _still(self) -> Frame:
        image = self._opened()
        image.load()
        self._carried = self._carried or photo_encoders.carried_of(image, self._file)
        return frame_of_image(image)

    def _deep(self) -> Frame:
        values, alpha = self._picture.unpack_deep()
        image = cast("ImageFile", self._picture.header)
        self._carried = self._carried or photo_encoders.carried_of(image, self._file)
        shows_colours = values.shape[2] == 3
        if alpha is not None:
            joined = np.dstack([values, alpha.astype(values.dtype)])
            return Frame(joined, values.shape[2], shows_colours)
        return Frame(values[:, :, 0] if values.shape[2] == 1 else values, None, shows_colours)

    def write(self, path: Path, frames: Iterable[Frame], to: Path | None = None) -> None:
        """Write pictures with everything else that the file holds.

        Parameters
        ----------
        path : Path
            The new file.
        frames : iterable of Frame
            Those of :meth:`frames` with other values, in their order.
        to : Path, optional
            The name that it gets in the end, whose ending tells the kind; by default ``path``. A
            file of the same ending is of the same kind.

        Raises
        ------
        UnwritableError
            If a file of the kind cannot hold such pictures.
        """
        to = to or path
        kind = self.kind if same_ending(to, self.path) else kind_of_name(to)
        waiting = iter(frames)
        first = next(waiting)
        carried = self._carried or Carried()
        if kind == "TIFF":
            n_bytes = self.count * first.values.nbytes
            photo_tiff.write_pages(path, chain([first], waiting), carried, n_bytes)
            return
        photo_encoders.check_holds(kind, first, to, self.count)
        if kind in _WITHOUT_METADATA and (carried.exif or carried.icc):
            self.notes.add("metadata")
        photo_encoders.encode(
            path, kind, chain([first], waiting), carried, same_kind=kind == self.kind
        )
        if kind == "GIF":  # which has a palette of 256 colours, enough for all greys
            self.notes.discard("palette")
            if first.shows_colours:
                self.notes.add("few_colours")


@contextmanager
def open_photograph(path: str | Path, how: Reading | None = None) -> Iterator[Photograph]:
    """Open a picture file to restore it.

    Parameters
    ----------
    path : str or Path
        The file.
    how : Reading, optional
        The limit of pixels; all pages are read, whatever it says.

    Yields
    ------
    Photograph
        The file, of which the header has been read.

    Raises
    ------
    DefectError
        If it cannot be read.
    MissingFileError
        If it does not exist.

    Examples
    --------
    >>> import tempfile
    >>> exif = Image.Exif()
    >>> exif[274] = 6  # to be turned by a quarter
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("LA", (30, 20)).save(f"{folder}/a.png", exif=exif, dpi=(300, 300))
    ...     with open_photograph(f"{folder}/a.png") as photograph:
    ...         brighter = [f._replace(values=f.values + 9) for f in photograph.frames()]
    ...         photograph.write(Path(folder, "b.png"), brighter)
    ...     with Image.open(f"{folder}/b.png") as image:
    ...         image.mode, image.size, image.getexif()[274], round(image.info["dpi"][0])
    ('LA', (30, 20), 6, 300)
    """
    path = Path(path)
    with ExitStack() as stack:
        with explained(path):
            # Outside of this block, errors are not those of decoding.
            file = stack.enter_context(path.open("rb"))
            photograph = Photograph(path, OpenPicture.of(file, path, how or Reading()))
        yield photograph


def same_ending(one: Path, other: Path) -> bool:
    """Return whether two names end alike, in upper or lower case."""
    return one.suffix.lower() == other.suffix.lower()


def kind_of_name(path: Path) -> str:
    """Return the kind that a file's name tells, as Pillow calls it.

    Raises
    ------
    ParameterError
        If it tells none that pictures are written in.
    """
    file_format = format_of(path)
    kind = None if file_format is None else _KINDS.get(file_format.name)
    if kind is None or not _is_written(kind):
        raise ParameterError(
            f"'{path}' ends in {path.suffix or 'nothing'}, in which no pictures are written; name "
            "a file ending in .png, .tif, .jpg or .webp, or a folder",
            path=path,
        )
    return kind


def check_writable(path: Path) -> None:
    """Refuse a file whose kind is read and not written here.

    Raises
    ------
    ParameterError
        As :func:`kind_of_name`.
    """
    kind_of_name(path)


def _is_written(kind: str) -> bool:
    """Return whether this installation writes files of a kind."""
    Image.init()
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if kind == "JXL":
        import pillow_jxl  # noqa: F401  which registers itself
    return kind == "TIFF" or kind in Image.SAVE
