"""Names of rows, and the paths of their files: inside one folder, and no two the same."""

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import TypeAlias, overload

from narrows.data.formats import IMAGE_SUFFIXES
from narrows.data.reading import split_name
from narrows.texts import as_text


class LazyNames(Sequence[str], ABC):
    """Names of rows that are read or made when they are asked for."""

    @abstractmethod
    def take(self, rows: range) -> list[str]:
        """Return the names of some rows."""

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        rows = range(len(self))
        if isinstance(index, slice):
            return self.take(rows[index])
        row = rows[index]
        return self.take(range(row, row + 1))[0]


class RowNames(LazyNames):
    """Names that are composed on access, so that those of millions of rows take no memory.

    Parameters
    ----------
    of : sequence
        The variable parts, such as the range of the rows' numbers.
    before, after : str
        The text before and after each.

    Examples
    --------
    >>> names = RowNames(range(3), "rows.npy[", "]")
    >>> len(names), names[-1], names[:2]
    (3, 'rows.npy[2]', ['rows.npy[0]', 'rows.npy[1]'])
    """

    def __init__(self, of: Sequence[object], before: str = "", after: str = "") -> None:
        self._of, self._before, self._after = of, before, after

    def __len__(self) -> int:
        return len(self._of)

    def take(self, rows: range) -> list[str]:
        """Compose the names of some rows."""
        return [f"{self._before}{self._of[row]}{self._after}" for row in rows]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


KEYS = ("path", "file", "file_name", "filename")
"""Columns of tables that may name the file of a row, in any case; the first counts."""


def key_column(names: Sequence[str]) -> str | None:
    """Return the column that names the file of a row; None if there is none."""
    by_key = {name.strip().lower(): name for name in reversed(names)}
    exact = next((key for key in KEYS if key in names), None)
    return exact or next((by_key[key] for key in KEYS if key in by_key), None)


class NameIndex:
    r"""Finds files by the names that tables and people use.

    Names are compared exactly first, then in Unicode normal form C with "/" and "\" alike, and then
    in lower case, if that is unambiguous. A name without folders stands for the only file of this
    name in any folder. A name that is not UTF-8 may be given as :func:`narrows.texts.as_text`
    writes it.

    Parameters
    ----------
    names : sequence of iterable of str
        The names of each file: its path within a folder, its full path, and so on.

    Examples
    --------
    >>> index = NameIndex([["left/a.png"], ["right/a.png"], ["B.JPG"], ["Zu\u0308rich.png"]])
    >>> index.find("left\\a.png"), index.find("b.jpg"), index.find("Z\u00fcrich.png")
    (0, 2, 3)
    >>> index.find("a.png"), index.alike("a.png"), index.find("c.png")
    (None, [0, 1], None)
    >>> NameIndex([["caf\udce9.png"]]).find(r"caf\xe9.png")
    0
    """

    def __init__(self, names: Sequence[Iterable[str]]) -> None:
        self._names = names
        # Indexes of looser forms are built only if stricter ones find nothing.
        self._made: dict[Callable[[str], str], tuple[_Places, _Places]] = {}

    def find(self, name: str) -> int | None:
        """Return the number of the file with a name; None if there is none, or several."""
        for form in _FORMS:
            key = form(name)
            for index in self._indexes(form):
                place = index.get(key)
                if place is not None:
                    return place if isinstance(place, int) else None
        return None

    def alike(self, name: str) -> list[int]:
        """Return the numbers of all files that a name may mean."""
        key = _folded(name)
        found: set[int] = set()
        for index in self._indexes(_folded):
            places = index.get(key, [])
            found.update([places] if isinstance(places, int) else places)
        return sorted(found)

    def _indexes(self, form: Callable[[str], str]) -> "tuple[_Places, _Places]":
        """Return the numbers of files by their names, and by the last parts of these."""
        if form not in self._made:
            full: _Places = {}
            bare: _Places = {}
            for place, several in enumerate(self._names):
                # Tables have names that are not UTF-8 as escaped text.
                texts = [text for name in several for text in (name, as_text(name))]
                for name in map(form, texts):
                    _add(full, name, place)
                    _add(bare, _bare(name), place)
            self._made[form] = full, bare
        return self._made[form]


def _add(index: "_Places", key: str, place: int) -> None:
    """Add the number of a file to an index; numbers come in ascending order."""
    before = index.setdefault(key, place)
    if isinstance(before, list):
        if before[-1] != place:
            before.append(place)
    elif before != place:
        index[key] = [before, place]


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _plain(name: str) -> str:
    """Remove empty parts and "." from a path."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def _composed(name: str) -> str:
    return _plain(unicodedata.normalize("NFC", name).replace("\\", "/"))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", _composed(name).casefold())


# The number of a file, or those of several files of one name.
_Places: TypeAlias = dict[str, int | list[int]]
# From the strictest to the loosest.
_FORMS = (_plain, _composed, _folded)


def picture_paths(names: Sequence[str], suffix: str = ".png") -> list[PurePosixPath]:
    r"""Choose a path within a folder for each row's picture.

    Parameters
    ----------
    names : sequence of str
        Any text; "/" and "\\" separate folders.
    suffix : str, default=".png"
        Suffix of the files.

    Returns
    -------
    list of PurePosixPath
        Relative paths with this suffix within the folder, which stay different where case and
        Unicode normal form make no difference.

    Examples
    --------
    >>> from narrows.data.names import picture_paths
    >>> [str(path) for path in picture_paths(["a.jpg", "a.png", "../../etc/passwd", "v1.2"])]
    ['a.png', 'a-2.png', 'etc/passwd.png', 'v1.2.png']
    >>> [str(path) for path in picture_paths(["scan.tif#1", "scan.tif#2"], ".tif")]
    ['scan#1.tif', 'scan#2.tif']
    >>> [str(path) for path in picture_paths(["8", "9", "10"])]
    ['08.png', '09.png', '10.png']
    """
    if all(name.isdecimal() for name in names):
        width = max(map(len, names), default=0)
        names = [name.zfill(width) for name in names]
    places = [_place(name) for name in names]
    # Folders come first, so that no file gets the path of a folder.
    taken = {_key(above) for folder, _ in places for above in (folder, *folder.parents)}
    used: dict[str, int] = {}
    paths = []
    for folder, stem in places:
        path = first = folder / f"{stem}{suffix}"
        while _key(path) in taken:
            used[_key(first)] = used.get(_key(first), 1) + 1
            path = folder / f"{stem}-{used[_key(first)]}{suffix}"
        taken.add(_key(path))
        paths.append(path)
    return paths


def clean_parts(name: str) -> list[str]:
    r"""Split a name into the parts of a path that cannot lead out of its folder.

    Examples
    --------
    >>> from narrows.data.names import clean_parts
    >>> clean_parts("a/b.png"), clean_parts("../../etc/passwd"), clean_parts("C:\\x.png")
    (['a', 'b.png'], ['etc', 'passwd'], ['C:', 'x.png'])
    """
    parts = [_printable(part) for part in name.replace("\\", "/").split("/")]
    return [part for part in parts if part not in ("", ".", "..")] or ["unnamed"]


def _place(name: str) -> tuple[PurePosixPath, str]:
    """Return the folder of a name, and its last part without a picture's suffix."""
    name, page = split_name(name)
    *folders, last = clean_parts(name)
    if PurePosixPath(last).suffix.lower() in IMAGE_SUFFIXES:
        last = PurePosixPath(last).stem
    return PurePosixPath(*folders), last + page


def _printable(part: str) -> str:
    return "".join("_" if unicodedata.category(letter) == "Cc" else letter for letter in part)


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
