"""Names of rows, and their places as files in a folder: never outside, never two at one place."""

import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import overload

from narrows.data.images import IMAGE_SUFFIXES


class RowNames(Sequence[str]):
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

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [f"{self._before}{one}{self._after}" for one in self._of[index]]
        return f"{self._before}{self._of[index]}{self._after}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


def png_paths(names: Sequence[str]) -> list[PurePosixPath]:
    r"""Give each row's PNG file a place within a folder.

    Parameters
    ----------
    names : sequence of str
        Any text; "/" and "\\" part folders.

    Returns
    -------
    list of PurePosixPath
        Relative paths that end in .png and stay within the folder, no two of which are one file,
        even where case and the composition of accents make no difference.

    Examples
    --------
    >>> from narrows.data.names import png_paths
    >>> [str(path) for path in png_paths(["a.jpg", "a.png", "../../etc/passwd", "v1.2"])]
    ['a.png', 'a-2.png', 'etc/passwd.png', 'v1.2.png']
    >>> [str(path) for path in png_paths(["8", "9", "10"])]
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
        path = first = folder / f"{stem}.png"
        while _key(path) in taken:
            used[_key(first)] = used.get(_key(first), 1) + 1
            path = folder / f"{stem}-{used[_key(first)]}.png"
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
    *folders, last = clean_parts(name)
    if PurePosixPath(last).suffix.lower() in IMAGE_SUFFIXES:
        last = PurePosixPath(last).stem
    return PurePosixPath(*folders), last


def _printable(part: str) -> str:
    return "".join("_" if unicodedata.category(letter) == "Cc" else letter for letter in part)


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
