"""Copies are moved out of their folder; a list of them puts them back.

A line of the list is written and flushed to the disk before its file moves. However this is
interrupted, each file is whole in its place, in the new one, or in both, and the list names both.
Nothing is overwritten. Symbolic links are neither moved nor followed.
"""

import errno
import json
import os
import shlex
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO, Any

from narrows.atomic import check_output, sync
from narrows.copies.finding import Copies, Copy, Picture
from narrows.data.decoding import Progress
from narrows.data.folders import check_exists
from narrows.errors import OutputError, ParameterError, UnreadableFileError, warn
from narrows.texts import as_name, as_text, counted, shortened

# Where a file cannot have a second name: other disks, and file systems without links.
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True)
class Move:
    """A file that was moved: one line of the list.

    Attributes
    ----------
    source : Path
        Where it was.
    target : Path
        Where it is.
    size : int
        Its bytes.
    digest : str
        Their BLAKE2b hash, in hexadecimal digits.
    """

    source: Path
    target: Path
    size: int
    digest: str


@dataclass(frozen=True)
class Moved:
    """What was moved, or put back.

    Attributes
    ----------
    record : Path or None
        The list, which :func:`undo_moves` takes; None if there was nothing to move.
    moves : list of Move
        The files.
    left : list of (Path, str)
        Files that were not moved, and the reasons.
    """

    record: Path | None
    moves: list[Move]
    left: list[tuple[Path, str]]

    def as_json(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "list": self.record,
            "files": [{"from": move.source, "to": move.target} for move in self.moves],
            "left": [{"path": path, "reason": why} for path, why in self.left],
        }


def check_target(folder: str | Path, to: str | Path) -> None:
    """Refuse a folder that the copies of another one cannot be moved to.

    Raises
    ------
    ParameterError
        If one of the folders lies within the other, or is the other.
    OutputExistsError, OutputError
        If ``to`` is a file, or cannot be written.
    """
    inner, outer = Path(to).resolve(), Path(folder).resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ParameterError(
            f"copies in '{folder}' cannot be moved to '{to}', as one of these folders lies within "
            "the other, and the next scan would find them again; name a folder beside it "
            "(--move-to, to)",
            parameter="to",
        )
    check_output(to, overwrite=True, kind="folder")


def move_copies(found: Copies, to: str | Path, *, progress: Progress | None = None) -> Moved:
    """Move all pictures but the kept one of every group to a folder.

    They keep their paths below it, with a number where a name is taken, and are named in a new list
    there (``moved-1.jsonl``, ``moved-2.jsonl`` and so on), from which :func:`undo_moves` puts them
    back. These stay: pictures that show more than the one to keep, or were compared with another
    one; symbolic links among the pictures found, and their targets; files that changed since the
    scan, and copies of a kept picture that changed.

    Parameters
    ----------
    found : Copies
        What :func:`find_copies` found.
    to : str or Path
        The folder, made if it does not exist, neither within the folder of pictures nor around it.
    progress : callable, optional
        Called with the number of copies that were dealt with, and the number of all.

    Returns
    -------
    Moved

    Raises
    ------
    ParameterError, OutputExistsError, OutputError
        See :func:`check_target`; an OutputError also if the list cannot be written. The list names
        what was moved before.

    Warns
    -----
    NarrowsWarning
        "copies_left", if some were not moved.

    See Also
    --------
    undo_moves : Puts them back.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from PIL import Image
    >>> from narrows.copies import find_copies, move_copies, undo_moves
    >>> wave = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    >>> picture = Image.fromarray(wave).resize((160, 120), Image.Resampling.BICUBIC)
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = Path(place, "photos")
    ...     folder.mkdir()
    ...     for name in ("a.png", "b.jpg"):
    ...         picture.save(folder / name)
    ...     moved = move_copies(find_copies(folder), Path(place, "copies"))
    ...     left = [file.name for file in folder.iterdir()]
    ...     undone = undo_moves(moved.record, folder)
    ...     back = sorted(file.name for file in folder.iterdir())
    >>> [move.target.name for move in moved.moves], left, back
    (['b.jpg'], ['a.png'], ['a.png', 'b.jpg'])
    """
    check_target(found.folder, to)
    total = sum(len(group.copies) for group in found.groups)
    if not total:
        return Moved(None, [], [])
    pictures = [p for g in found.groups for p in (g.keep, *(copy.picture for copy in g.copies))]
    link_targets = {p.path.resolve() for p in pictures if p.path.is_symlink()}
    moves: list[Move] = []
    left: list[tuple[Path, str]] = []
    listed, file = _new_list(Path(to).resolve())
    with file:
        for group in found.groups:
            gone = _why_changed(
                group.keep.path, group.keep.seen.n_bytes, group.keep.seen.digest.hex()
            )
            for copy in group.copies:
                picture = copy.picture
                if gone:
                    why = f"'{shortened(group.keep.name)}', which was to be kept, {gone}"
                else:
                    why = _why_not(copy, group.keep, link_targets)
                made = why or _move(found.folder, picture, listed, file)
                if isinstance(made, Move):
                    moves.append(made)
                else:
                    left.append((picture.path, made))
                if progress is not None:
                    progress(len(moves) + len(left), total)
    if not moves:
        listed.unlink()
    if left:
        path, why = left[0]
        warn(
            f"{counted(len(left), 'file')} stayed, such as '{shortened(str(path))}': {why}",
            kind="copies_left",
            files=len(left),
            first=path,
        )
    return Moved(listed if moves else None, moves, left)


def _why_not(copy: Copy, kept: Picture, link_targets: set[Path]) -> str:
    """Tell why a copy has to stay; "" if it may be moved."""
    if copy.of is not kept:
        return "it was compared with another picture than the one to keep"
    if "shows more" in copy.change.kinds:
        return "it shows more than the picture to keep"
    if copy.picture.path.is_symlink() or copy.picture.path.resolve() in link_targets:
        return "it is a symbolic link, or the target of one"
    return ""


def _new_list(folder: Path) -> tuple[Path, IO[bytes]]:
    """Make the folder, and a list of a new name in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = folder / f"moved-{number}.jsonl"
            if not os.path.lexists(path):
                break
        file = path.open("xb", buffering=0)
    except OSError as error:
        raise OutputError(
            f"no list can be written to '{folder}' ({error.strerror}), and nothing was moved; name "
            "another folder (--move-to, to)"
        ) from error
    _sync(folder)
    return path, file


def _move(folder: Path, picture: Picture, listed: Path, file: IO[bytes]) -> Move | str:
    """Move a picture; return why it stays, if it does."""
    size, digest = picture.seen.n_bytes, picture.seen.digest.hex()
    source = folder.resolve() / picture.name
    if why := _why_changed(source, size, digest):
        return f"it {why}; scan again"
    try:
        target = _free_path(_within(listed.parent, picture.name))
    except OSError as error:
        return f"it cannot be moved: {error.strerror}"
    line = {
        "from": as_text(picture.name),
        "to": as_text(target.relative_to(listed.parent).as_posix()),
        "size": size,
        "digest": digest,
    }
    _write_line(file, json.dumps(line), listed, folder)
    try:
        _rename(source, target, digest)
    except OSError as error:
        return f"it cannot be moved: {error.strerror or error}"
    return Move(source, target, size, digest)


def _write_line(file: IO[bytes], line: str, listed: Path, folder: Path) -> None:
    """Write a line of the list, and flush it to the disk."""
    contents = f"{line}\n".encode()
    try:
        while contents:
            contents = contents[file.write(contents) :]
        os.fsync(file.fileno())
    except OSError as error:
        undo = shlex.join(["narrows", "duplicates", str(folder), "--undo", str(listed)])
        raise OutputError(
            f"'{listed}' cannot be written ({error.strerror}), and no more is moved; make room and "
            f"repeat this, or put files back ({undo}, undo_moves)"
        ) from error


def _within(folder: Path, name: str) -> Path:
    """Return the path of a name in a folder.

    Raises
    ------
    OSError
        If it lies outside, by its name or by links.
    """
    path = folder / name
    outside = "\0" in name or PurePosixPath(name).is_absolute() or ".." in path.parts
    if outside or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise OSError(errno.ELOOP, f"'{shortened(name)}' leads out of '{folder}'")
    return path


def _free_path(wanted: Path) -> Path:
    """Return a path with a number, if it is taken."""
    path = wanted
    for number in count(2):
        if not os.path.lexists(path):
            break
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path


def _why_changed(path: Path, size: int, digest: str) -> str:
    """Tell why a file is not the one of this size and hash; "" if it is."""
    try:
        known = path.stat()
        if not stat.S_ISREG(known.st_mode) or known.st_size != size or _digest(path) != digest:
            return "has changed"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "blake2b").hexdigest()


def _rename(source: Path, target: Path, digest: str) -> None:
    """Give a file a free name; it is neither overwritten nor lost if this is interrupted.

    Raises
    ------
    OSError
        If it cannot be done; the file keeps its old name then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)  # unlike a renaming, never overwrites
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(source, target, digest)
    _sync(target.parent)
    try:
        source.unlink(missing_ok=True)
    except OSError:
        target.unlink()
        raise


def _copy(source: Path, target: Path, digest: str) -> None:
    """Copy a file with its times and rights; the free name is there once all of it is written."""
    part = target.with_name(f".{digest[:16]}.part")
    try:
        with source.open("rb") as old, part.open("wb") as new:
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
        with suppress(OSError):  # some disks keep no rights
            shutil.copystat(source, part)
        if _digest(part) != digest:
            raise OSError(errno.EIO, "other bytes were written")
        try:
            os.link(part, target)
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(target):
                raise
            part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk, where its file system can."""
    with suppress(OSError):
        sync(folder)


def undo_moves(
    record: str | Path,
    folder: str | Path,
    *,
    progress: Progress | None = None,
) -> Moved:
    """Put files back that :func:`move_copies` moved.

    A file is put back if it has the size and the hash of the list, and its place is free; nothing
    is written outside of ``folder``. What is in its place already is left out, so that this can be
    repeated. The list stays.

    Parameters
    ----------
    record : str or Path
        The list, in the folder that files were moved to.
    folder : str or Path
        The folder that they came from.
    progress : callable, optional
        Called with the number of files that were dealt with, and the number of all.

    Returns
    -------
    Moved
        Moves from the folder of the list to their places.

    Raises
    ------
    MissingFileError
        If there is no such list or folder.
    UnreadableFileError
        If it is no such list; nothing is put back, then.

    Warns
    -----
    NarrowsWarning
        "copies_left", if files could not be put back.

    See Also
    --------
    move_copies : Moves copies, with an example.
    """
    path, folder = Path(record), Path(folder)
    entries = _read(path)
    check_exists(folder, "the folder that the copies came from")
    folder, top = folder.resolve(), path.resolve().parent
    moves: list[Move] = []
    left: list[tuple[Path, str]] = []
    for number, (name, to, size, digest) in enumerate(reversed(entries), 1):
        move = Move(top / to, folder / name, size, digest)
        try:
            if _put_back(move, _within(folder, name), _within(top, to)):
                moves.append(move)
                _remove_empty(move.source.parent, top)
        except OSError as error:
            left.append((move.source, error.strerror or str(error)))
        if progress is not None:
            progress(number, len(entries))
    if left:
        first, why = left[0]
        warn(
            f"{counted(len(left), 'file')} not put back, such as '{shortened(str(first))}': {why}",
            kind="copies_left",
            files=len(left),
            first=first,
        )
    return Moved(path, moves, left)


def _put_back(move: Move, place: Path, now: Path) -> bool:
    """Put a file back; return False if it is in its place already.

    Raises
    ------
    OSError
        If it cannot be put back.
    """
    here = "is a link" if now.is_symlink() else _why_changed(now, move.size, move.digest)
    is_back = not _why_changed(place, move.size, move.digest)
    if here == "is missing" and is_back:
        return False
    if here:
        raise OSError(errno.EINVAL, f"it {here}")
    if is_back and place.samefile(now):  # both names, by an interruption
        now.unlink()
    elif os.path.lexists(place):
        raise OSError(errno.EEXIST, f"'{shortened(str(place))}' is taken")
    else:
        _rename(now, place, move.digest)
    return True


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove the folders below ``top`` that nothing is left in."""
    while folder != top:
        try:
            folder.rmdir()
        except OSError:  # something is in it
            return
        folder = folder.parent


def _read(path: Path) -> list[tuple[str, str, int, str]]:
    """Read a list. An incomplete last line is left out: its file had not been moved."""
    check_exists(path, "a list that narrows duplicates --move-to wrote")
    try:
        *lines, last = path.read_text(encoding="utf-8").split("\n")
        with suppress(ValueError):
            json.loads(last)
            lines.append(last)
        return [_entry(json.loads(line)) for line in lines]
    except OSError as error:
        raise UnreadableFileError(
            f"'{path}' cannot be read: {error.strerror}", path=path
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UnreadableFileError(
            f"'{path}' is no list of moved files, and nothing was put back; name a list that "
            "narrows duplicates --move-to wrote (moved-1.jsonl)",
            path=path,
        ) from error


def _entry(line: dict[str, Any]) -> tuple[str, str, int, str]:
    name, to = as_name(line["from"]), as_name(line["to"])
    os.fsencode(name + to)  # they can be names of files
    return name, to, int(line["size"]), str(line["digest"])
