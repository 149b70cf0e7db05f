"""The kinds of picture files that are read, by Pillow and by packages that extend it."""

from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image
from PIL.ImageFile import ImageFile

from narrows.errors import MissingDependencyError

# Pillow can open more, but not without running other programs (PostScript) or much guessing.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
     ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)  # fmt: skip
_EXTRA = "narrows[photos]"
# Brands that an HEIF file may begin with; those of AVIF are Pillow's own.
_HEIF_BRANDS = {b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevm", b"hevs", b"hevx", b"mif1"}
_JXL_STREAM, _JXL_BOXES = b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
_JXL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_JXL_WIDTHS = (9, 13, 18, 30)  # bits of a side
_HEAD = 4096  # bytes in which a header tells its bits


class Plugin(NamedTuple):
    """A package that teaches Pillow a format."""

    format: str
    module: str
    package: str
    suffixes: frozenset[str]
    accepts: Callable[[bytes], bool]


PLUGINS = (
    Plugin(
        "HEIF",
        "pillow_heif",
        "pillow-heif",
        frozenset({".heic", ".heif", ".hif"}),
        lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS,
    ),
    Plugin(
        "JXL",
        "pillow_jxl",
        "pillow-jxl-plugin",
        frozenset({".jxl"}),
        lambda head: head.startswith((_JXL_STREAM, _JXL_BOXES)),
    ),
)


def picture_suffixes() -> frozenset[str]:
    """Return the endings of files that can be read here as pictures, in lower case."""
    plugins = [plugin.suffixes for plugin in PLUGINS if find_spec(plugin.module) is not None]
    return _SUFFIXES.union(*plugins)


def check_plugin(path: Path) -> None:
    """Refuse a file of a format for which a package is missing.

    Raises
    ------
    MissingDependencyError
        If its name ends as those of such files do.
    """
    for plugin in PLUGINS:
        if path.suffix.lower() in plugin.suffixes and find_spec(plugin.module) is None:
            raise MissingDependencyError(f"'{path}' {_needed(plugin)}, or save it as PNG or JPEG")


def missing_plugin(head: bytes) -> str | None:
    """Say which package a file needs that begins so; None if that is not known."""
    for plugin in PLUGINS:
        if plugin.accepts(head) and not _register(plugin):
            return _needed(plugin)
    return None


def open_image(file: BinaryIO, check: Callable[[int, int], None]) -> ImageFile | None:
    """Open a picture file, of which Pillow then knows the header; None if it is in no format.

    Pillow's own bound on pixels is not asked: how many are unpacked is not known yet.

    Parameters
    ----------
    file : binary file
        Which stays open as long as the picture is used.
    check : callable
        Called with the width and the height of what is unpacked at once, if that is so.
    """
    file.seek(0)
    head = file.read(16)
    for name in (*_formats(), *(one.format for one in PLUGINS if one.accepts(head))):
        if name not in Image.OPEN and not any(_register(p) for p in PLUGINS if p.format == name):
            continue
        factory, accept = Image.OPEN[name]
        told = accept(head) if accept else True
        if not told or isinstance(told, str):  # a text says why this build of Pillow lacks it
            continue
        if name == "JXL":
            check(*jxl_size(file))
        file.seek(0)
        try:
            image: ImageFile = factory(file, "")
        except (SyntaxError, IndexError, TypeError):  # so Pillow says that it is of another format
            continue
        return image
    return None


@cache
def _formats() -> tuple[str, ...]:
    """Name the formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def known() -> str:
    """Name the formats that are read, for messages."""
    extra = [plugin.format for plugin in PLUGINS if find_spec(plugin.module) is not None]
    return ", ".join(sorted({*_formats(), *extra}))


def needed_for(suffixes: Iterable[str]) -> str:
    """Say what has to be installed to read pictures of these endings; empty if nothing helps."""
    missing = frozenset().union(
        *(plugin.suffixes for plugin in PLUGINS if find_spec(plugin.module) is None)
    )
    found = [suffix for suffix in suffixes if suffix.lower() in missing]
    verb = "is" if len(found) == 1 else "are"
    return f"{', '.join(found)} {verb} read after pip install '{_EXTRA}'" if found else ""


@cache
def _register(plugin: Plugin) -> bool:
    """Teach Pillow a format, if its package is there."""
    try:
        if plugin.format == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        else:
            import pillow_jxl  # noqa: F401  which registers itself
    except ImportError:
        return False
    return plugin.format in Image.OPEN


def _needed(plugin: Plugin) -> str:
    return (
        f"is a file of {plugin.format}, which needs the package {plugin.package}; install it by "
        f"pip install '{_EXTRA}'"
    )


def bits_of(image: ImageFile, file: BinaryIO) -> int:
    """Tell how many bits a sample has of which Pillow gives 8; 8 for all others."""
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    if image.format not in ("AVIF", "JPEG2000"):
        return 8
    file.seek(0)
    head = file.read(_HEAD)
    if image.format == "AVIF":
        start = head.find(b"av1C")
        flags = head[start + 6] if 0 <= start < len(head) - 6 else 0
        return (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    start = head.find(b"ihdr")
    # Of a stream without boxes, the size is followed by the number of samples and their bits.
    place = start + 14 if start >= 0 else 42
    told = head[place] if place < len(head) else 7
    return 8 if told == 0xFF else (told & 0x7F) + 1


def jxl_size(file: BinaryIO) -> tuple[int, int]:
    """Read the width and the height of a JPEG XL file, which its reader unpacks at once.

    ISO/IEC 18181-1, annex D.2: sizes are numbers of bits, the lowest first.

    Raises
    ------
    ValueError
        If they cannot be found.
    """
    file.seek(0)
    if file.read(2) != _JXL_STREAM:
        _find_stream(file)
    told = int.from_bytes(file.read(12).ljust(12, b"\0"), "little")

    def take(count: int) -> int:
        nonlocal told
        value, told = told & ((1 << count) - 1), told >> count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take(_JXL_WIDTHS[take(2)]) + 1

    height = side()
    ratio = take(3)
    if not ratio:
        return side(), height
    across, down = _JXL_RATIOS[ratio]
    return height * across // down, height


def _find_stream(file: BinaryIO) -> None:
    """Go to where the stream begins in a file of boxes, behind its signature."""
    file.seek(0)
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if size == 1:
            size = int.from_bytes(file.read(8), "big") - 8
        if kind in (b"jxlc", b"jxlp"):
            file.seek(4 if kind == b"jxlp" else 0, 1)
            if file.read(2) == _JXL_STREAM:
                return
            break
        if size < 8:
            break
        file.seek(size - 8, 1)
    raise ValueError("its size cannot be found")


def is_tiff(head: bytes) -> bool:
    """Tell whether a file that begins so is TIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def frames_of(image: Any) -> int:
    """Count the pictures in an open file that Pillow reads; of a JPEG, the others are previews."""
    return 1 if image.format in ("JPEG", "MPO") else int(getattr(image, "n_frames", 1))
