"""Names of rows, and their places as files in a folder: never outside, never two at one place."""

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
    """Names that are put together when asked for: those of millions of rows take no memory.

    Parameters
    ----------
    of : sequence
        What they are made of, such as the range of the rows' numbers.
    before, after : str
        What stands around each.

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
        """Put the names of some rows together."""
        return [f"{self._before}{self._of[row]}{self._after}" for row in rows]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


KEYS = ("path", "file", "file_name", "filename")
"""Columns of tables that may say which file a row is of, in any case; the first of these does."""


def key_column(names: Sequence[str]) -> str | None:
    """Return the column that says which file a row is of; None if there is none."""
    by_key = {name.strip().lower(): name for name in reversed(names)}
    exact = next((key for key in KEYS if key in names), None)
    return exact or next((by_key[key] for key in KEYS if key in by_key), None)


class NameIndex:
    r"""Finds files by what tables and people call them.

    Names are the same if they are so letter by letter; if not, if they are so composed (NFC), with
    "/" and "\" alike; if not, if they are so in lower case, and no other file is. A name without
    folders stands for the only file of this name, in whatever folder. A name that is not UTF-8 may
    be given as :func:`narrows.texts.as_text` writes it, which is what Narrows shows of it.

    Parameters
    ----------
    names : sequence of iterable of str
        For each file, all that it goes by: its path in a folder, in full, and so on.

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
        # Looser forms are made only where a stricter one finds nothing.
        self._made: dict[Callable[[str], str], tuple[_Places, _Places]] = {}

    def find(self, name: str) -> int | None:
        """Return the place of the file of a name, None if there is none, or more than one."""
        for form in _FORMS:
            key = form(name)
            for index in self._indexes(form):
                place = index.get(key)
                if place is not None:
                    return place if isinstance(place, int) else None
        return None

    def alike(self, name: str) -> list[int]:
        """Return the places of all files that a name may mean; none where no file is called so."""
        key = _folded(name)
        found: set[int] = set()
        for index in self._indexes(_folded):
            places = index.get(key, [])
            found.update([places] if isinstance(places, int) else places)
        return sorted(found)

    def _indexes(self, form: Callable[[str], str]) -> "tuple[_Places, _Places]":
        """Return the places of files by all their names, and by their last parts alone."""
        if form not in self._made:
            full: _Places = {}
            bare: _Places = {}
            for place, several in enumerate(self._names):
                # Tables hold a name that is not UTF-8 as the text that stands for it.
                texts = [text for name in several for text in (name, as_text(name))]
                for name in map(form, texts):
                    _add(full, name, place)
                    _add(bare, _bare(name), place)
            self._made[form] = full, bare
        return self._made[form]


def _add(index: "_Places", key: str, place: int) -> None:
    """Note the place of a name; places come in ascending order."""
    before = index.setdefault(key, place)
    if isinstance(before, list):
        if before[-1] != place:
            before.append(place)
    elif before != place:
        index[key] = [before, place]


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _plain(name: str) -> str:
    """Leave out what changes nothing about a path."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def _composed(name: str) -> str:
    return _plain(unicodedata.normalize("NFC", name).replace("\\", "/"))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", _composed(name).casefold())


# A place, or the places of several files of one name.
_Places: TypeAlias = dict[str, int | list[int]]
# From the strictest to the loosest.
_FORMS = (_plain, _composed, _folded)


def picture_paths(names: Sequence[str], suffix: str = ".png") -> list[PurePosixPath]:
    r"""Give each row's picture file a place within a folder.

    Parameters
    ----------
    names : sequence of str
        Any text; "/" and "\\" part folders.
    suffix : str, default=".png"
        What the files' names end in.

    Returns
    -------
    list of PurePosixPath
        Relative paths that end so and stay within the folder, no two of which are one file,
        even where case and the composition of accents make no difference.

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
    # Folders come first, so that no file takes the place of one.
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
    r"""Split a name into parts of a path that never leads out of the folder where it begins.

    Examples
    --------
    >>> from narrows.data.names import clean_parts
    >>> clean_parts("a/b.png"), clean_parts("../../etc/passwd"), clean_parts("C:\\x.png")
    (['a', 'b.png'], ['etc', 'passwd'], ['C:', 'x.png'])
    """
    parts = [_printable(part) for part in name.replace("\\", "/").split("/")]
    return [part for part in parts if part not in ("", ".", "..")] or ["unnamed"]


def _place(name: str) -> tuple[PurePosixPath, str]:
    """Give a name's folder, and its last part without the ending of a picture."""
    name, page = split_name(name)
    *folders, last = clean_parts(name)
    if PurePosixPath(last).suffix.lower() in IMAGE_SUFFIXES:
        last = PurePosixPath(last).stem
    return PurePosixPath(*folders), last + page


def _printable(part: str) -> str:
    return "".join("_" if unicodedata.category(letter) == "Cc" else letter for letter in part)


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
