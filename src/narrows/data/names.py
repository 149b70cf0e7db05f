"""Names of rows to places of files in a folder: never outside of it, never two at one place."""

import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from narrows.data.images import IMAGE_SUFFIXES


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


def _place(name: str) -> tuple[PurePosixPath, str]:
    """Give a name's folder, and its last part without the ending of a picture."""
    parts = [_printable(part) for part in name.replace("\\", "/").split("/")]
    *folders, last = [part for part in parts if part not in ("", ".", "..")] or ["unnamed"]
    if PurePosixPath(last).suffix.lower() in IMAGE_SUFFIXES:
        last = PurePosixPath(last).stem
    return PurePosixPath(*folders), last


def _printable(part: str) -> str:
    return "".join("_" if unicodedata.category(letter) == "Cc" else letter for letter in part)


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
