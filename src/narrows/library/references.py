"""Files outside a library that its rows refer to: which of them are read, and how.

A row may name any file of the machine. Read is what is a regular file in a folder that the library
was told of when pictures were added to it, is not too large, and has the SHA-256 of the row: so a
library shows nobody a file whose contents its maker did not have.
"""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from narrows.containment import IrregularFileError, open_regular, read_regular
from narrows.data.image_codec import DefectError, extract
from narrows.data.pages import Page, Picture, file_of, parse
from narrows.data.reading import Reading
from narrows.errors import FormatError, MissingFileError
from narrows.errors import UnreadableFileError as Unreadable
from narrows.library.table import Table

MOST_BYTES = 2**31
"""Bytes of a file that is referred to."""

_MOST_FOLDERS = 100  # in library.json
_SYSTEM = ("/dev", "/proc", "/sys")
_NPY = b"\x93NUMPY"


def folders_of(files: Iterable[Picture], given: Path | None = None) -> tuple[str, ...]:
    """Return the folders that picture files are in, when all links on the way are followed.

    Parameters
    ----------
    files : iterable of Path or Page
        The files.
    given : Path, optional
        A folder that was given whole.

    Returns
    -------
    tuple of str
        Absolute paths, none of them within another; at most 100, in place of more those around.
    """
    found = set() if given is None else {_real(given)}
    met: set[Path] = set()
    for file in map(file_of, files):
        parent = file.parent
        if parent not in met:
            met.add(parent)
            found.add(_real(parent))
        if file.is_symlink():
            found.add(_real(file).parent)
    return together(found)


def together(folders: Iterable[str | Path]) -> tuple[str, ...]:
    """Leave out folders that are within others; of too many, name those around the deepest."""
    found = _outermost(set(map(Path, folders)))
    while len(found) > _MOST_FOLDERS:
        deepest = max(len(one.parts) for one in found)
        found = _outermost({one.parent if len(one.parts) == deepest else one for one in found})
    return tuple(sorted(map(str, found)))


def _outermost(folders: set[Path]) -> set[Path]:
    return {one for one in folders if folders.isdisjoint(one.parents)}


def folders_told(table: Table) -> tuple[str, ...]:
    """Return the folders that a library was told of; of older ones, those of its rows."""
    if table.folders is not None:
        return table.folders
    names = {name for name in table.column("reference").to_pylist() if name is not None}
    folders = {Path(name).parent for name in names if _is_path(name)}
    return together(map(_real, folders))


def fetch(reference: str | None, digest: str, table: Table, how: Reading | None = None) -> bytes:
    """Read a file that a library refers to, if it still is the one that was added.

    Parameters
    ----------
    reference : str or None
        Its absolute path, and the number of a page.
    digest : str
        Its SHA-256.
    table : Table
        Of the library.
    how : Reading, optional
        The bound on pixels of pages.

    Raises
    ------
    FormatError
        If there is no reference.
    MissingFileError
        If the file is not there.
    UnreadableFileError
        If it is no regular file, larger than 2 GiB, in a folder that the library was not told of,
        unreadable, no picture, or has changed.
    """
    library = table.path.parent
    remedy = f"put it back, or remove it from '{library}' and add it again"
    if reference is None:
        raise FormatError(
            f"a picture in '{library}' is neither stored nor referred to; restore the library from "
            "a copy, or build it again"
        )
    if not _is_path(reference):
        raise Unreadable(f"{reference[:200]!r} is no absolute path; remove it from '{library}'")
    try:
        picture = parse(reference)
        file = _real(file_of(picture), strict=True)
        _check_folder(file, reference, table)
        if isinstance(picture, Page):
            os.close(open_regular(file))
            contents = extract(Page(file, picture.number), how)
        else:
            contents = read_regular(file, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"'{reference}' is not there any more; {remedy}") from error
    except IrregularFileError as error:
        raise Unreadable(f"'{reference}' is not read: {error}; {remedy}") from error
    except DefectError as error:
        raise Unreadable(f"'{reference}' cannot be read ({error}); {remedy}") from error
    except OSError as error:
        raise Unreadable(f"'{reference}' cannot be read ({error.strerror}); {remedy}") from error
    if sha256(contents).hexdigest() != digest:
        raise Unreadable(f"'{reference}' has changed since it was added; {remedy}")
    if contents.startswith(_NPY):
        raise Unreadable(f"'{reference}' is no picture file; remove it from '{library}'")
    return contents


def _check_folder(file: Path, reference: str, table: Table) -> None:
    """Refuse a file, links followed, that is outside the folders that a library was told of."""
    library = table.path.parent
    # Older libraries were told of none: what is beside the path that a row has is as good.
    told = table.folders
    if told is None:
        told = (str(_real(Path(reference).parent)),)
    around = {str(folder) for folder in file.parents}
    if not around.isdisjoint(_SYSTEM):
        raise Unreadable(f"'{reference}' is a file of the system; remove it from '{library}'")
    if around.isdisjoint(told):
        raise Unreadable(
            f"'{reference}' is in '{file.parent}', a folder that '{library}' was not told "
            "of when it was built; if you trust it, add that folder (narrows index MODEL FOLDER "
            "--add --reference; Library.add(FOLDER, store='references'))"
        )


def _real(path: Path, *, strict: bool = False) -> Path:
    """Follow all links; those that lead to themselves are an OSError, if at all."""
    return Path(os.path.realpath(path, strict=strict))


def _is_path(reference: str) -> bool:
    return Path(reference).is_absolute() and "\0" not in reference
