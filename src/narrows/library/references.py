"""Reading of files outside a library that its rows refer to.

A row may name any file of the machine. A file is used only if it is a regular file of bounded size,
lies in a folder that the library recorded when pictures were added, and has the SHA-256 of the row.
So a library shows no file whose contents its maker did not have.
"""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from narrows.containment import IrregularFileError, open_regular, read_regular
from narrows.data.image_codec import DefectError, extract
from narrows.data.reading import Page, Picture, Reading, file_of, parse
from narrows.errors import FormatError, MissingFileError
from narrows.errors import UnreadableFileError as Unreadable
from narrows.library.table import Table

MOST_BYTES = 2**31
"""Most bytes of a file that a row refers to."""

_MOST_FOLDERS = 100  # in library.json
_SYSTEM = ("/dev", "/proc", "/sys")
_NPY = b"\x93NUMPY"


def folders_of(files: Iterable[Picture], given: Path | None = None) -> tuple[str, ...]:
    """Return the folders that picture files are in, with all symbolic links followed.

    Parameters
    ----------
    files : iterable of Path or Page
        The files.
    given : Path, optional
        A folder that was given as a whole.

    Returns
    -------
    tuple of str
        Absolute paths, none of them within another. Of more than 100, the deepest are replaced by
        their parents until there are 100.
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
    """Leave out folders within others; of more than 100, replace the deepest by their parents."""
    found = _outermost(set(map(Path, folders)))
    while len(found) > _MOST_FOLDERS:
        deepest = max(len(one.parts) for one in found)
        found = _outermost({one.parent if len(one.parts) == deepest else one for one in found})
    return tuple(sorted(map(str, found)))


def _outermost(folders: set[Path]) -> set[Path]:
    return {one for one in folders if folders.isdisjoint(one.parents)}


def folders_told(table: Table) -> tuple[str, ...]:
    """Return the folders that a library has recorded; of older libraries, those of its rows."""
    if table.folders is not None:
        return table.folders
    names = {name for name in table.column("reference").to_pylist() if name is not None}
    folders = {Path(name).parent for name in names if _is_path(name)}
    return together(map(_real, folders))


def fetch(reference: str | None, digest: str, table: Table, how: Reading | None = None) -> bytes:
    """Read a file that a library refers to, if it is still the one that was added.

    Parameters
    ----------
    reference : str or None
        Its absolute path, with the number of a page where it has several.
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
        If it is no regular file, is larger than 2 GiB, lies in a folder that the library has not
        recorded, cannot be read, is no picture, or has changed.
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
    """Refuse a file that lies, links followed, outside the folders that a library has recorded."""
    library = table.path.parent
    # Older libraries recorded none: the folder that the row names stands for them.
    told = table.folders
    if told is None:
        told = (str(_real(Path(reference).parent)),)
    around = {str(folder) for folder in file.parents}
    if not around.isdisjoint(_SYSTEM):
        raise Unreadable(f"'{reference}' is a file of the system; remove it from '{library}'")
    if around.isdisjoint(told):
        raise Unreadable(
            f"'{reference}' is in '{file.parent}', and nothing of that folder was added to "
            f"'{library}'; if you trust it, add the folder (narrows index MODEL FOLDER --add "
            "--reference; Library.add(FOLDER, store='references'))"
        )


def _real(path: Path, *, strict: bool = False) -> Path:
    """Follow all symbolic links; with ``strict``, loops and missing files are an OSError."""
    return Path(os.path.realpath(path, strict=strict))


def _is_path(reference: str) -> bool:
    return Path(reference).is_absolute() and "\0" not in reference
