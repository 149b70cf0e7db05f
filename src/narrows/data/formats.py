"""Formats of files: which are known by the endings of their names, and how they are read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

from narrows.errors import (
    MissingDependencyError,
    ParameterError,
)

WHITESPACE = "whitespace"
"""The delimiter that stands for runs of blanks and tabs."""

TEXT_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".asc"})
"""Endings of text files that are read as tables, in lower case."""

COMPRESSED_SUFFIXES = frozenset({".gz", ".bz2", ".zst"})
"""Endings that may follow them, of files that are unpacked while they are read."""

_WORDS = {"tab": "\t", r"\t": "\t", "space": WHITESPACE, " ": WHITESPACE, "comma": ",",
          "semicolon": ";", "pipe": "|", WHITESPACE: WHITESPACE}  # fmt: skip
_NO_DELIMITER = set("\"'\r\n+-.0123456789eE")
_THOUSANDS = ",.'’ \u00a0\u202f_"  # noqa: RUF001 (the sign that is meant)
_PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
     ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)  # fmt: skip
_EXTRA = "narrows[photos]"
# Brands that an HEIF file may begin with; those of AVIF are Pillow's own.
_HEIF_BRANDS = {b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevm", b"hevs", b"hevx", b"mif1"}
JXL_STREAM, _JXL_BOXES = b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"})
"""Endings of the files that are read and written as sound."""

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
"""Endings of the files that are written as tables; more kinds of text are read."""


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    r"""How to read a file that does not say it itself.

    Everything is found out where it is certain. Where it is not, an error names the parameter here
    and the option of the command line (``--decimal``) that say it; what is given is never doubted.

    Parameters
    ----------
    delimiter : str, optional
        The character between values, or one of "tab", "comma", "semicolon", "pipe" and
        "whitespace" (any number of blanks and tabs).
    decimal : {".", ","}, optional
        The decimal mark.
    thousands : str, optional
        The thousands separator, one of , . ' _ and blank.
    encoding : str, optional
        Any that Python knows, such as "cp1252" or "utf-16".
    header : bool, optional
        Whether the first line holds the columns' names.
    comment : str, optional
        Lines that begin with this are left out. By default those before the table are that begin
        with # or %.
    skip_lines : int, default=0
        So many lines are left out at the beginning, such as a title.
    array : str, optional
        Which array of an .npz file.

    Raises
    ------
    ParameterError
        If a value is not allowed.

    See Also
    --------
    narrows.data.files.read : Takes them; ``for_model()`` of what it returns goes into ``fit``.
    narrows.signals.read : Takes them for signals in tables.
    narrows.Library.add : Takes them for tables of metadata.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from narrows.data.files import read

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "prices.csv")
    ...     _ = file.write_text("1,250;2,500\n3,750;4,125\n")
    ...     options = FileOptions(delimiter=";", decimal=",", header=False)
    ...     read(file, options=options).values
    array([[1.25 , 2.5  ],
           [3.75 , 4.125]])
    """

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: bool | None = None
    comment: str | None = None
    skip_lines: int = 0
    array: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            sign = _WORDS.get(self.delimiter, self.delimiter)
            if sign != WHITESPACE and (len(sign) != 1 or sign in _NO_DELIMITER or sign > "\x7f"):
                raise _refused(
                    "delimiter",
                    self.delimiter,
                    "one character such as ; or |, or tab, comma, semicolon, pipe or whitespace",
                )
            object.__setattr__(self, "delimiter", sign)
        if self.decimal not in (None, ".", ","):
            raise _refused("decimal", self.decimal, ". or ,")
        if self.thousands is not None and (
            len(self.thousands) != 1 or self.thousands not in _THOUSANDS
        ):
            raise _refused("thousands", self.thousands, "one of , . ' _ or a blank")
        if self.thousands is not None and self.thousands == self.decimal:
            raise _refused("thousands", self.thousands, "another than the decimal mark")
        if self.encoding is not None and not _is_text_encoding(self.encoding):
            raise _refused("encoding", self.encoding, "one that Python knows, such as cp1252")
        if self.header not in (None, True, False):
            raise _refused("header", self.header, "True, False or None")
        if self.comment is not None and not (0 < len(self.comment) <= 8):
            raise _refused("comment", self.comment, "what comment lines begin with, such as #")
        if (
            isinstance(self.skip_lines, bool)
            or not isinstance(self.skip_lines, int)
            or not 0 <= self.skip_lines <= 10_000
        ):
            raise _refused("skip_lines", self.skip_lines, "a whole number from 0 to 10 000")

    def given(self) -> list[str]:
        """Name those that are not left to be found out."""
        return [one.name for one in fields(self) if getattr(self, one.name) != one.default]

    def check_use(self, path: Path) -> Self:
        """Return the same options, if each of them says something of a file.

        Raises
        ------
        ParameterError
            If one is for another kind of file, where it would do nothing.
        """
        unused = [name for name in self.given() if not _says(name, path)]
        if unused:
            kinds = "text tables, .csv and the like" if unused[0] != "array" else ".npz files"
            raise ParameterError(
                f"{unused[0]}={getattr(self, unused[0])!r} is for {kinds}, and '{path}' is none; "
                f"leave it out (--{unused[0].replace('_', '-')})"
            )
        return self

    def only_for(self, path: Path) -> Self:
        """Return those of the options that say something of a file, where there are several."""
        unused: Any = {one.name: one.default for one in fields(self) if not _says(one.name, path)}
        return replace(self, **unused)


DEFAULTS = FileOptions()
"""Nothing is said: everything is to be found out."""


def is_text_table(path: Path) -> bool:
    """Tell by its name whether a file is a text table, compressed or not.

    Examples
    --------
    >>> from pathlib import Path
    >>> [is_text_table(Path(name)) for name in ("a.csv", "b.txt.gz", "c.parquet", "ubyte.gz")]
    [True, True, False, False]
    """
    return text_suffix(path) in TEXT_SUFFIXES


def text_suffix(path: Path) -> str:
    """Return the ending of a file's name in lower case, that of compression left out."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _says(name: str, path: Path) -> bool:
    return path.suffix.lower() == ".npz" if name == "array" else is_text_table(path)


def _is_text_encoding(name: str) -> bool:
    try:
        b"a".decode(name)
    except UnicodeDecodeError:
        return True  # half a character
    except (LookupError, ValueError):
        return False
    return True


def _refused(name: str, value: Any, allowed: str) -> ParameterError:
    option = "header/--no-header" if name == "header" else name.replace("_", "-")
    return ParameterError(f"{name}={value!r} is not allowed (--{option}); give {allowed}")


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
        lambda head: head.startswith((JXL_STREAM, _JXL_BOXES)),
    ),
)


def picture_suffixes() -> frozenset[str]:
    """Return the endings of files that can be read here as pictures, in lower case."""
    plugins = [plugin.suffixes for plugin in PLUGINS if find_spec(plugin.module) is not None]
    return _PICTURE_SUFFIXES.union(*plugins)


IMAGE_SUFFIXES = picture_suffixes()
"""Endings by which files in a folder are taken for pictures, in lower case.

Those of HEIC (``.heic``, ``.heif``, ``.hif``) and of JPEG XL (``.jxl``) are among them where the
packages of ``narrows[photos]`` are installed, which read them."""


def check_plugin(path: Path) -> None:
    """Refuse a file of a format for which a package is missing.

    Raises
    ------
    MissingDependencyError
        If its name ends as those of such files do.
    """
    for plugin in PLUGINS:
        if path.suffix.lower() in plugin.suffixes and find_spec(plugin.module) is None:
            raise MissingDependencyError(
                f"'{path}' {needed_package(plugin)}, or save it as PNG or JPEG"
            )


def needed_for(suffixes: Iterable[str]) -> str:
    """Say what has to be installed to read pictures of these endings; empty if nothing helps."""
    missing = frozenset().union(
        *(plugin.suffixes for plugin in PLUGINS if find_spec(plugin.module) is None)
    )
    found = [suffix for suffix in suffixes if suffix.lower() in missing]
    verb = "is" if len(found) == 1 else "are"
    return f"{', '.join(found)} {verb} read after pip install '{_EXTRA}'" if found else ""


def needed_package(plugin: Plugin) -> str:
    """Say which package a file of a format needs."""
    return (
        f"is a file of {plugin.format}, which needs the package {plugin.package}; install it by "
        f"pip install '{_EXTRA}'"
    )


def is_table(path: Path) -> bool:
    """Tell by its name whether a file is read as a table: text, compressed or not, or Parquet."""
    return path.suffix.lower() == ".parquet" or is_text_table(path)
