"""The formats of files in one list: how they are recognised, read and written.

Other packages bring further formats as entry points ``narrows.formats``. The help of the command
line is made from the list, so that errors, with which scikit-learn is imported, are imported where
they are raised.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, NamedTuple, Self, TypeAlias

from narrows.plugins import plug_ins, refuse

Kind: TypeAlias = Literal["rows", "tables", "signals", "pictures"]


class Contents(NamedTuple):
    """The rows in a file.

    Attributes
    ----------
    values : ndarray or LazyRows of shape (n, ...)
        Numbers.
    columns : list of str, optional
        Names of a table's columns.
    names : sequence of str, optional
        Names of the rows.
    pictures : bool
        Whether the rows are pixels of pictures that were packed.
    """

    values: Any
    columns: list[str] | None = None
    names: Sequence[str] | None = None
    pictures: bool = False


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of files.

    Attributes
    ----------
    name : str
        What it is called, such as "Parquet".
    suffixes : tuple of str
        Endings of the names of its files, in lower case, such as (".parquet",).
    kinds : tuple of {"rows", "tables", "signals", "pictures"}
        What its files hold: rows of any shape, (n, F) with named columns, (T,) or (T, C), or
        pictures.
    read : callable or str, optional
        Takes the path of a file; returns its rows as an array, or as :class:`Contents`. As
        "module:function" it is imported when it is first needed.
    write : callable or str, optional
        Takes the path of a new file and :class:`Contents`. The file is temporary, and gets its
        name when it is complete.
    options : tuple of str
        Names of the :class:`FileOptions` that say how a file is read. If there are any, ``read``
        takes the options after the path; if "header" is one, then also the names of the columns
        that a model knows, or None.
    needs : tuple of str, optional
        The module and the package that have to be installed to read it.
    """

    name: str
    suffixes: tuple[str, ...]
    kinds: tuple[Kind, ...]
    read: Callable[..., Any] | str | None = None
    write: Callable[[Path, Contents], Any] | str | None = None
    options: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None

    @property
    def is_installed(self) -> bool:
        """Whether the package that reads it is installed, if it needs one."""
        return self.needs is None or find_spec(self.needs[0]) is not None

    @property
    def need(self) -> str:
        """Which package its files need, as the end of a message."""
        package = self.needs[1] if self.needs else ""
        return f"is a file of {self.name}, which needs the package {package}; {_PHOTOS}"

    def load(
        self, path: Path, options: "FileOptions | None" = None, known: Sequence[str] | None = None
    ) -> Contents:
        """Read a file.

        Parameters
        ----------
        path : Path
        options : FileOptions, optional
        known : sequence of str, optional
            Names of the columns that a model knows.

        Raises
        ------
        NarrowsError
            The error of the reader; any error of a reader from another package becomes an
            UnreadableFileError that names the format.
        DataError
            If the reader returns something else than an array of numbers, with a row for each
            sample.
        """
        from narrows.errors import DataError, NarrowsError, UnreadableFileError

        more: tuple[Any, ...] = (options or DEFAULTS,) if self.options else ()
        if "header" in self.options:
            more = (*more, known)
        try:
            rows = _function(self.read)(path, *more)
        except Exception as error:
            if isinstance(error, NarrowsError) or self in FORMATS:
                raise
            raise UnreadableFileError(
                f"'{path}' is not a readable file of {self.name}: {_described(error)}; repair it, "
                "or choose another",
                path=path,
            ) from error
        contents = rows if isinstance(rows, Contents) else Contents(rows)
        values = contents.values
        if not getattr(values, "shape", None) or not is_numeric(values.dtype):
            raise DataError(
                f"'{path}': the reader of {self.name} gives no array of numbers (n, ...); update "
                "its package",
                path=path,
            )
        return contents

    def save(self, path: Path, contents: Contents) -> None:
        """Write a file.

        Raises
        ------
        NarrowsError, OSError
            The error of the writer; any other error of a writer from another package becomes an
            OutputError that names the format.
        """
        from narrows.errors import NarrowsError, OutputError

        try:
            _function(self.write)(path, contents)
        except Exception as error:
            if isinstance(error, NarrowsError | OSError) or self in FORMATS:
                raise
            raise OutputError(
                f"the writer of {self.name} failed: {_described(error)}; choose another format"
            ) from error


_TEXT_OPTIONS = (
    "delimiter", "decimal", "thousands", "encoding", "header", "comment", "skip_lines",
)  # fmt: skip
_PHOTOS = "install it by pip install 'narrows[photos]'"
_ROWS, _TABLES = "narrows.data.array_files", "narrows.data.tables"
_IMAGE = "narrows.data.images:read_image"
_SOUND = ("narrows.data.signal_files:read_sound", "narrows.data.signal_files:write_sound")

FORMATS = (
    Format(name="NumPy array", suffixes=(".npy",), kinds=("rows", "signals"),
           read=f"{_ROWS}:read_npy", write=f"{_ROWS}:write_npy"),
    Format(name="NumPy archive", suffixes=(".npz",), kinds=("rows",), options=("array",),
           read=f"{_ROWS}:read_npz", write=f"{_ROWS}:write_npz"),
    Format(name="CSV", suffixes=(".csv", ".tsv"), kinds=("tables", "signals"),
           read=f"{_TABLES}:read_rows", write=f"{_TABLES}:write_rows", options=_TEXT_OPTIONS),
    Format(name="text table", suffixes=(".txt", ".tab", ".dat", ".data", ".asc"),
           kinds=("tables", "signals"), read=f"{_TABLES}:read_rows", options=_TEXT_OPTIONS),
    Format(name="Parquet", suffixes=(".parquet",), kinds=("tables", "signals"),
           read=f"{_TABLES}:read_rows", write=f"{_TABLES}:write_rows"),
    Format(name="Lance", suffixes=(".lance",), kinds=("rows",),
           read="narrows.data.lance_rows:read_lance", write="narrows.data.lance_rows:write_lance"),
    Format(name="IDX", suffixes=(), kinds=("rows",), read=f"{_ROWS}:read_idx"),
    Format(name="PNG", suffixes=(".png",), kinds=("pictures",), read=_IMAGE,
           write="narrows.data.depths:write_png"),
    Format(name="TIFF", suffixes=(".tif", ".tiff"), kinds=("pictures",), read=_IMAGE,
           write="narrows.data.tiff:write_pages"),
    Format(name="JPEG", suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"), kinds=("pictures",),
           read=_IMAGE),
    Format(name="WebP", suffixes=(".webp",), kinds=("pictures",), read=_IMAGE),
    Format(name="BMP", suffixes=(".bmp",), kinds=("pictures",), read=_IMAGE),
    Format(name="GIF", suffixes=(".gif",), kinds=("pictures",), read=_IMAGE),
    Format(name="AVIF", suffixes=(".avif",), kinds=("pictures",), read=_IMAGE),
    Format(name="JPEG 2000", suffixes=(".jp2",), kinds=("pictures",), read=_IMAGE),
    Format(name="PNM", suffixes=(".pbm", ".pgm", ".pnm", ".ppm"), kinds=("pictures",), read=_IMAGE),
    Format(name="HEIC", suffixes=(".heic", ".heif", ".hif"), kinds=("pictures",), read=_IMAGE,
           needs=("pillow_heif", "pillow-heif")),
    Format(name="JPEG XL", suffixes=(".jxl",), kinds=("pictures",), read=_IMAGE,
           needs=("pillow_jxl", "pillow-jxl-plugin")),
    Format(name="WAV", suffixes=(".wav",), kinds=("signals",), read=_SOUND[0], write=_SOUND[1]),
    Format(name="FLAC", suffixes=(".flac",), kinds=("signals",), read=_SOUND[0], write=_SOUND[1]),
    Format(name="Ogg", suffixes=(".ogg",), kinds=("signals",), read=_SOUND[0], write=_SOUND[1]),
    Format(name="MP3", suffixes=(".mp3",), kinds=("signals",), read=_SOUND[0], write=_SOUND[1]),
    Format(name="AIFF", suffixes=(".aif", ".aiff"), kinds=("signals",), read=_SOUND[0],
           write=_SOUND[1]),
)  # fmt: skip
"""The formats that Narrows brings, in the order in which messages list them."""

_BY_SUFFIX = {suffix: file_format for file_format in FORMATS for suffix in file_format.suffixes}

COMPRESSED_SUFFIXES = frozenset({".gz", ".bz2", ".zst"})
"""Endings that may follow those of text tables, which are unpacked while they are read."""

TEXT_SUFFIXES = frozenset(
    s for s, file_format in _BY_SUFFIX.items() if "delimiter" in file_format.options
)
"""Endings of text files that are read as tables, in lower case."""

TABLE_SUFFIXES = frozenset(s for s, f in _BY_SUFFIX.items() if "tables" in f.kinds and f.write)
"""Endings of the files that are written as tables; more kinds of text are read."""

SOUND_SUFFIXES = frozenset(s for s, f in _BY_SUFFIX.items() if f.kinds == ("signals",))
"""Endings of the files that are read and written as sound."""

IMAGE_SUFFIXES = frozenset(
    s for s, f in _BY_SUFFIX.items() if f.kinds == ("pictures",) and f.is_installed
)
"""Endings by which files in a folder are taken for pictures, in lower case.

Those of HEIC and of JPEG XL are among them where the packages of ``narrows[photos]`` are installed,
which read them."""


@cache
def plug_in_formats() -> tuple[Format, ...]:
    """Import the formats that other packages bring as entry points ``narrows.formats``, once.

    Warns
    -----
    NarrowsWarning
        "broken_plug_in" for each that cannot be imported, or is refused: it is no
        :class:`Format`, or has an ending of a format that Narrows or a package before it brings.
    """
    formats: list[Format] = []
    for plug_in in plug_ins("narrows.formats"):
        if (reason := _unfit(plug_in.value, formats)) is None:
            formats.append(plug_in.value)
        else:
            refuse("narrows.formats", plug_in.name, plug_in.package, reason)
    return tuple(formats)


def _unfit(value: object, others: Sequence[Format]) -> str | None:
    """Return the reason why a plug-in is not used as a format; None if it is."""
    if not isinstance(value, Format):
        return "it is no narrows.data.formats.Format"
    for texts in (value.suffixes, value.kinds):
        if not (
            isinstance(texts, tuple) and texts and all(isinstance(text, str) for text in texts)
        ):
            return "it needs tuples of suffixes and of kinds ('rows', 'tables', 'signals')"
    unknown = set(value.kinds) - {"rows", "tables", "signals"}
    faults = {
        "pictures are read by packages that extend Pillow": "pictures" in unknown,
        f"its kinds {sorted(unknown)} are none of 'rows', 'tables', 'signals'": bool(unknown),
        "it needs a reader": not (callable(value.read) or isinstance(value.read, str)),
    }
    taken = {suffix for other in others for suffix in other.suffixes}
    for suffix in value.suffixes:
        is_built_in = suffix in _BY_SUFFIX or suffix in COMPRESSED_SUFFIXES
        is_plain = re.fullmatch(r"\.[^.]+", suffix) and suffix == suffix.lower()
        faults |= {
            f"Narrows itself reads {suffix}": is_built_in,
            f"another package reads {suffix}": suffix in taken,
            f"the suffix {suffix!r} is not one dot and lower-case letters": not is_plain,
        }
    return next((fault for fault, is_so in faults.items() if is_so), None)


def format_of(path: Path) -> Format | None:
    """Find the format that the ending of a file's name tells; None if it tells none.

    Other packages are asked only if Narrows does not know the ending itself.
    """
    suffix = path.suffix.lower()
    if is_text_table(path):
        return _BY_SUFFIX[text_suffix(path)]
    if suffix in _BY_SUFFIX or not suffix:
        return _BY_SUFFIX.get(suffix)
    return next(
        (file_format for file_format in plug_in_formats() if suffix in file_format.suffixes), None
    )


def suffixes_of(kinds: Iterable[Kind], *, written: bool = False) -> list[str]:
    """List the endings of files of some kinds that are read, or written, those of plug-ins last."""
    return [
        suffix
        for file_format in (*FORMATS, *plug_in_formats())
        if not set(file_format.kinds).isdisjoint(kinds)
        and (file_format.write if written else file_format.read)
        for suffix in file_format.suffixes
    ]


def options_of(path: Path) -> tuple[str, ...]:
    """Name the :class:`FileOptions` that say how a file is read."""
    file_format = format_of(path)
    return () if file_format is None else file_format.options


def is_text_table(path: Path) -> bool:
    """Tell by its name whether a file is a text table, compressed or not.

    Examples
    --------
    >>> from pathlib import Path
    >>> [is_text_table(Path(name)) for name in ("a.csv", "b.txt.gz", "c.parquet", "ubyte.gz")]
    [True, True, False, False]
    """
    return text_suffix(path) in TEXT_SUFFIXES


def is_table(path: Path) -> bool:
    """Tell by its name whether a file is read as a table: text, compressed or not, or Parquet."""
    return path.suffix.lower() == ".parquet" or is_text_table(path)


def text_suffix(path: Path) -> str:
    """Return the ending of a file's name in lower case, that of compression left out."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def check_installed(path: Path) -> None:
    """Refuse a file of a format whose package is missing.

    Raises
    ------
    MissingDependencyError
        If its name ends as those of such files do.
    """
    from narrows.errors import MissingDependencyError

    file_format = _BY_SUFFIX.get(path.suffix.lower())
    if file_format is not None and not file_format.is_installed:
        raise MissingDependencyError(f"'{path}' {file_format.need}, or save it as PNG or JPEG")


def needed_for(suffixes: Iterable[str]) -> str:
    """Say what has to be installed to read pictures of these endings; empty if nothing helps."""
    missing = {s for s, file_format in _BY_SUFFIX.items() if not file_format.is_installed}
    readable = [suffix for suffix in suffixes if suffix.lower() in missing]
    verb = "is" if len(readable) == 1 else "are"
    return (
        f"{', '.join(readable)} {verb} read after pip install 'narrows[photos]'" if readable else ""
    )


NUMERIC_KINDS = "biuf"
"""The kinds of NumPy types that rows may have: real numbers and truth values."""


def is_numeric(dtype: Any) -> bool:
    """Tell whether a NumPy type is of real numbers or truth values, as those of rows are.

    Examples
    --------
    >>> import numpy as np
    >>> [is_numeric(np.dtype(name)) for name in ("bool", "uint8", "float16", "complex64", "U3")]
    [True, True, True, False, False]
    """
    return dtype.kind in NUMERIC_KINDS


def _function(named: Callable[..., Any] | str | None) -> Any:
    return resolve_name(named) if isinstance(named, str) else named


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


WHITESPACE = "whitespace"
"""The delimiter that stands for runs of blanks and tabs."""

_WORDS = {"tab": "\t", r"\t": "\t", "space": WHITESPACE, " ": WHITESPACE, "comma": ",",
          "semicolon": ";", "pipe": "|", WHITESPACE: WHITESPACE}  # fmt: skip
_NO_DELIMITER = set("\"'\r\n+-.0123456789eE")
_THOUSANDS = ",.'’ \u00a0\u202f_"  # noqa: RUF001 (the sign that is meant)


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    r"""How to read a text table, and which array of an .npz file.

    By default everything is detected. If something is ambiguous, an error names the parameter here
    and the option of the command line (``--decimal``) to give; given values are not questioned.

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
        Any encoding of Python's, such as "cp1252" or "utf-16".
    header : bool, optional
        Whether the first line is a header.
    comment : str, optional
        Lines that begin with this are skipped. By default, lines before the table that begin with #
        or % are skipped.
    skip_lines : int, default=0
        Number of lines to skip at the beginning, such as a title.
    array : str, optional
        Name of the array of an .npz file.

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
    >>> from narrows.data.formats import FileOptions
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
            object.__setattr__(self, "delimiter", _WORDS.get(self.delimiter, self.delimiter))
        whole = isinstance(self.skip_lines, int) and not isinstance(self.skip_lines, bool)
        for name, is_allowed, allowed in (
            ("delimiter", _may_separate, "one character such as ; or |, or tab, comma, semicolon, "
             "pipe or whitespace"),
            ("decimal", lambda mark: mark in (".", ","), ". or ,"),
            ("thousands", lambda mark: len(mark) == 1 and mark in _THOUSANDS,
             "one of , . ' _ or a blank"),
            ("thousands", lambda mark: mark != self.decimal, "another than the decimal mark"),
            ("encoding", _is_text_encoding, "one that Python knows, such as cp1252"),
            ("header", lambda value: value in (True, False), "True, False or None"),
            ("comment", lambda start: 0 < len(start) <= 8,
             "what comment lines begin with, such as #"),
            ("skip_lines", lambda count: whole and 0 <= count <= 10_000,
             "a whole number from 0 to 10 000"),
        ):  # fmt: skip
            value = getattr(self, name)
            if (value is not None or name == "skip_lines") and not is_allowed(value):
                from narrows.errors import ParameterError

                option = "header/--no-header" if name == "header" else name.replace("_", "-")
                raise ParameterError(
                    f"{name}={value!r} is not allowed (--{option}); give {allowed}", parameter=name
                )

    def given(self) -> list[str]:
        """Name the options that were given."""
        return [one.name for one in fields(self) if getattr(self, one.name) != one.default]

    def check_use(self, path: Path) -> Self:
        """Return the same options, if each applies to a file.

        Raises
        ------
        ParameterError
            If one is for another kind of file.
        """
        from narrows.errors import ParameterError

        readers = options_of(path)
        unused = next((name for name in self.given() if name not in readers), None)
        if unused is not None:
            kinds = ".npz files" if unused == "array" else "text tables, .csv and the like"
            raise ParameterError(
                f"{unused}={getattr(self, unused)!r} is for {kinds}, and '{path}' is none; "
                f"leave it out (--{unused.replace('_', '-')})",
                parameter=unused,
                path=path,
            )
        return self

    def only_for(self, path: Path) -> Self:
        """Return the options that apply to a file, if there are several files."""
        readers = options_of(path)
        unused: Any = {one.name: one.default for one in fields(self) if one.name not in readers}
        return replace(self, **unused)


def _may_separate(sign: str) -> bool:
    return sign == WHITESPACE or (len(sign) == 1 and sign not in _NO_DELIMITER and sign <= "\x7f")


def _is_text_encoding(name: str) -> bool:
    try:
        b"a".decode(name)
    except UnicodeDecodeError:
        return True  # half a character
    except (LookupError, ValueError):
        return False
    return True


DEFAULTS = FileOptions()
"""No options: everything is detected."""
