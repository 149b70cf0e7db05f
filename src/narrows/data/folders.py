"""Which files of a folder are read, by one rule for pictures, sounds, arrays and tables.

Hidden files and folders, and those that systems leave in the folders of their users, are never
read. Other files that are not read are counted, so that a warning can name them.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

from narrows.atomic import check_output, is_address
from narrows.containment import irregular, is_folder
from narrows.errors import (
    MissingFileError,
    OutputExistsError,
    ParameterError,
    UnreadableFileError,
    warn,
)
from narrows.remote import lance_address
from narrows.texts import listed, shortened

SYSTEM_NAMES = frozenset(
    {
        "#recycle", "#snapshot", "$recycle.bin", "@__thumb", "@eadir", "@recently-snapshot",
        "@recycle", "@synoeastream", "@synoresource", "_gsdata_",
        "@sharebin", "@tmp", "__macosx", "__pycache__", "desktop.ini", "ehthumbs.db",
        "ehthumbs_vista.db", "icon\r", "lost+found", "network trash folder", "picasa.ini",
        "recycled", "recycler", "system volume information", "temporary items", "thumbs.db",
        "trashbox", "~snapshot",
    }
)  # fmt: skip
"""Files and folders that systems make in the folders of their users, in lower case: recycle bins,
thumbnails and snapshots of Windows, macOS, Linux, Synology, QNAP, Buffalo, NetApp and Picasa. Names
that begin with a point are left out as well (``.Trashes``, ``._photo.jpg``, ``.DS_Store``), and so
are ``FOUND.000`` and the like."""

SIDECARS = frozenset(
    {
        ".aae", ".cfg", ".css", ".db", ".htm", ".html", ".ini", ".ipynb", ".js", ".json", ".jsonl",
        ".lnk", ".log", ".md", ".md5", ".nfo", ".pp3", ".py", ".rst", ".sfv", ".sh", ".sha1",
        ".sha256", ".thm", ".toml", ".txt", ".url", ".xml", ".xmp", ".yaml", ".yml",
    }
)  # fmt: skip
"""Endings of files that stand beside data and are none: notes, settings, checksums, metadata."""

_ABOUT = frozenset(
    {
        "_common_metadata", "_metadata", "_success", "authors", "changelog", "citation", "copying",
        "licence", "license", "makefile", "notice", "readme", "version",
    }
)  # fmt: skip
# A folder with all names of one of these sets is a model, a library, a Lance dataset or a report of
# Narrows, whose plots are no training data.
_OWN = (
    {"narrows.json"},
    {"library.json", "table.lance"},
    {"_versions"},
    {"report.json", "index.html"},
)
_LONGEST_SUFFIX = 12
_SHOWN = 6  # kinds of files in a message

Entries: TypeAlias = dict[Path, list[os.DirEntry[str]]]
"""Entries of folders that have been listed."""

# Bytes at the beginning of a file that are examined.
_START = 1024
_BYTE_ORDER_MARKS = (
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff",
)  # of encodings, before the first letter
_PAGE = "it is a web page (HTML)"
_STARTS = (
    *((start, _PAGE) for start in (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")),
    (b"version https://git-lfs.github.com", "it is a pointer of Git LFS; fetch the file itself "
     "(git lfs pull)"),
    (b"\x00\x05\x16\x07", "it is an AppleDouble file, which macOS writes beside the file itself"),
    (b"<svg", "it is an SVG drawing"),
    (b"<!doctype svg", "it is an SVG drawing"),
    (b"<error", "it is an error message in XML, as a server sends in place of a file"),
    (b"%pdf-", "it is a PDF document"),
)  # fmt: skip


@dataclass
class LeftOut:
    """The files and folders of a folder that are not read.

    Attributes
    ----------
    kinds : Counter of str
        Number of files of other kinds by their suffixes, in the most frequent spelling.
    linked : list of str
        Symbolic links to folders, which are not entered.
    deeper : list of str
        Subfolders, if these are not entered.
    dangling : list of str
        Broken links.
    own : list of str
        Folders of models, libraries, Lance datasets and reports.
    sidecars : int
        Number of files that are evidently no data; see :data:`SIDECARS`.
    system : int
        Number of hidden files and folders and those of systems; see :data:`SYSTEM_NAMES`.
    excluded : Counter of str
        Number of excluded files and folders by pattern, also 0.
    remedy : str
        How files of other kinds can be read, if that is known.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    linked: list[str] = field(default_factory=list)
    deeper: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    sidecars: int = 0
    system: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return all counts, and the names of folders and links, for JSON."""
        return {
            "files": self.kinds.total(),
            "kinds": dict(self.kinds.most_common()),
            "linked_folders": self.linked,
            "deeper_folders": self.deeper,
            "dangling_links": self.dangling,
            "narrows_folders": self.own,
            "sidecars": self.sidecars,
            "system": self.system,
            "excluded": sum(self.excluded.values()),
        }

    def words(self) -> str:
        """Describe what was left out unexpectedly; "" if nothing was.

        Sidecars, files of systems and excluded files are expected.
        """
        parts = []
        if self.kinds:
            n = self.kinds.total()
            parts.append(
                f"{n} file{'s' if n > 1 else ''} of other kinds left out: {self.kinds_in_words()}"
            )
            parts += [self.remedy] * bool(self.remedy)
        for names, one, many in (
            (self.linked, "linked folder not entered", "linked folders not entered"),
            (self.deeper, "subfolder not entered", "subfolders not entered"),
            (self.dangling, "link that leads nowhere", "links that lead nowhere"),
            (self.own, "model or library left out", "models or libraries left out"),
        ):
            if names:
                what = one if len(names) == 1 else f"{many}, the first"
                parts.append(f"{len(names)} {what}: '{shortened(names[0])}'")
        return "; ".join(parts)

    def kinds_in_words(self) -> str:
        """List the numbers of files of other kinds: "6 .HEIC, 1 .CR2"."""
        shown = [f"{count} {kind}" for kind, count in self.kinds.most_common(_SHOWN)]
        rest = self.kinds.total() - sum(count for _, count in self.kinds.most_common(_SHOWN))
        return ", ".join(shown + ([f"{rest} others"] if rest else []))

    def warn(self, folder: Path, *, stacklevel: int = 2) -> None:
        """Warn of what is not read of a folder.

        Parameters
        ----------
        folder : Path
            The folder.
        stacklevel : int
            See :func:`narrows.errors.warn`.
        """
        if description := self.words():
            name = next((f"*{kind}" for kind in self.kinds if kind[0] == "."), "NAME")
            warn(
                f"'{shortened(str(folder))}': {description}; exclude what is meant to be left out "
                f"(--exclude '{name}', exclude={name!r})",
                kind="files_left_out",
                stacklevel=stacklevel + 1,
                folder=str(folder),
                **self.as_json(),
            )
        if unused := [pattern for pattern, count in self.excluded.items() if not count]:
            warn(
                f"exclude={shortened(unused[0])!r} matches nothing in '{shortened(str(folder))}', "
                "so that it leaves nothing out; correct the pattern (--exclude, exclude)",
                kind="exclude_without_match",
                stacklevel=stacklevel + 1,
                patterns=unused,
            )


class Listing(NamedTuple):
    """The files to read of a folder, or a single file.

    Attributes
    ----------
    files : list of Path
        Files to read, sorted.
    left_out : LeftOut
        The other files of the folder.
    """

    files: list[Path]
    left_out: LeftOut


def list_files(
    folder: Path,
    suffixes: Iterable[str],
    *,
    beside: Iterable[str] = (),
    exclude: str | Sequence[str] = (),
    deep: bool = True,
    seen: Entries | None = None,
) -> Listing:
    """List the files of a folder with certain suffixes, and count the others.

    Parameters
    ----------
    folder : Path
        The folder; its own name does not matter.
    suffixes : iterable of str
        Suffixes in lower case; names are compared in lower case.
    beside : iterable of str
        Suffixes of files that are no data here, beyond :data:`SIDECARS`.
    exclude : sequence of str
        Patterns of files and folders that are left out; see :func:`check_exclude`.
    deep : bool, default=True
        Whether subfolders are searched. Linked folders never are.
    seen : dict, optional
        Entries of folders that were listed before, to which new ones are added.

    Returns
    -------
    Listing
        Regular files, and links to regular files.

    Raises
    ------
    UnreadableFileError
        If there is no permission to read the folder, or one in it.
    ParameterError
        If a pattern is empty.

    Examples
    --------
    >>> import tempfile
    >>> from narrows.data.folders import list_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.PNG", "b.heic", "c.heic", "notes.txt", "._a.png"):
    ...         _ = Path(folder, name).write_bytes(b"")
    ...     found = list_files(Path(folder), [".png"])
    >>> [file.name for file in found.files], found.left_out.words()
    (['a.PNG'], '2 files of other kinds left out: 2 .heic')
    >>> found.left_out.sidecars, found.left_out.system
    (1, 1)
    """
    patterns = check_exclude(exclude)
    seen = {} if seen is None else seen
    looker = _Looker(
        folder,
        suffixes=frozenset(suffixes),
        sidecars=SIDECARS.union(beside),
        patterns=patterns,
        deep=deep,
        seen=seen,
    )
    waiting = [folder]
    while waiting:
        waiting += looker.look(waiting.pop())
    left = looker.left_out
    # The most frequent suffix first, in its most frequent spelling.
    totals = {
        _most_frequent(spellings): spellings.total() for spellings in looker.spellings.values()
    }
    ordered = sorted(totals, key=lambda kind: (-totals[kind], kind[0] != ".", kind.lower()))
    left.kinds = Counter({kind: totals[kind] for kind in ordered})
    for names in (left.linked, left.deeper, left.dangling, left.own):
        names.sort()
    return Listing(sorted(looker.files), left)


def _most_frequent(spellings: Counter[str]) -> str:
    return min(spellings, key=lambda one: (-spellings[one], one))


class _Looker:
    """Sorts the entries of folders into files to read and what is left out."""

    def __init__(
        self,
        top: Path,
        *,
        suffixes: frozenset[str],
        sidecars: frozenset[str],
        patterns: tuple[str, ...],
        deep: bool,
        seen: Entries,
    ) -> None:
        self._seen = seen
        self._top, self._suffixes, self._sidecars = top, suffixes, sidecars
        self._patterns, self._deep = patterns, deep
        self.files: list[Path] = []
        self.left_out = LeftOut(excluded=Counter(dict.fromkeys(patterns, 0)))
        self.spellings: dict[str, Counter[str]] = {}

    def look(self, folder: Path) -> list[Path]:
        """Sort the entries of one folder; return the subfolders to search."""
        if folder not in self._seen:
            try:
                with os.scandir(folder) as entries:
                    self._seen[folder] = list(entries)
            except OSError as error:
                raise refusal(error) from error
        found = self._seen[folder]
        names = {entry.name for entry in found}
        if folder != self._top and any(own <= names for own in _OWN):
            self.left_out.own.append(self._name(folder))
            return []
        if folder != self._top and not self._deep:
            self.left_out.deeper.append(self._name(folder))
            return []
        return [Path(entry.path) for entry in found if self._sort(entry, folder)]

    def _sort(self, entry: os.DirEntry[str], folder: Path) -> bool:
        """Record an entry; return whether it is a folder to search."""
        name, left = entry.name, self.left_out
        path = folder / name
        if is_of_system(name):
            left.system += 1
            return False
        is_folder = entry.is_dir(follow_symlinks=False)
        matching = [one for one in self._patterns if _matches(self._name(path), one, is_folder)]
        if matching:
            left.excluded.update(matching)
            return False
        if is_folder:
            return True
        kind = _kind_of(entry)
        suffix = path.suffix.lower()
        if kind == "folder":
            left.linked.append(self._name(path))
        elif suffix in self._sidecars or (not suffix and name.lower() in _ABOUT):
            left.sidecars += 1
        elif kind == "nothing":
            left.dangling.append(self._name(path))
        elif kind == "file" and suffix in self._suffixes:
            self.files.append(path)
        else:
            kind_left_out = _ending(path) if kind == "file" else "pipe or device"
            self.spellings.setdefault(kind_left_out.lower(), Counter())[kind_left_out] += 1
        return False

    def _name(self, path: Path) -> str:
        return path.relative_to(self._top).as_posix()


def is_of_system(name: str) -> bool:
    """Return whether a file or folder is hidden, or made by a system; see `SYSTEM_NAMES`.

    Examples
    --------
    >>> [is_of_system(name) for name in ("._a.png", "@eaDir", "$Recycle.Bin", "FOUND.001", "found")]
    [True, True, True, True, False]
    """
    lower = name.casefold()
    lost = lower.startswith("found.") and lower[6:].isdecimal() and len(lower) == 9
    return name.startswith((".", "~$")) or lower in SYSTEM_NAMES or lost


def check_exclude(exclude: str | Sequence[str]) -> tuple[str, ...]:
    """Validate patterns of files and folders to leave out.

    Parameters
    ----------
    exclude : str or sequence of str
        Patterns with ``*``, ``?`` and ``[...]``, case-sensitive. A pattern without ``/`` is matched
        with the name of every file and folder, one with ``/`` with the path within the folder that
        is read, of which ``*`` matches any part. A folder that matches is left out as a whole. A
        pattern that ends in ``/`` matches folders only.

    Returns
    -------
    tuple of str
        The patterns in Unicode normal form C, as names are compared.

    Raises
    ------
    ParameterError
        If a pattern is empty, or no string.
    """
    given = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    for pattern in given:
        if not isinstance(pattern, str) or not pattern.strip("/"):
            raise ParameterError(
                f"exclude={pattern!r} is not allowed; give patterns of names such as '*_thumb.jpg' "
                "or 'drafts/' (--exclude, exclude)",
                parameter="exclude",
            )
    return tuple(unicodedata.normalize("NFC", one).removeprefix("./") for one in given)


def check_excludable(given: Any, exclude: str | Sequence[str]) -> None:
    """Refuse patterns for anything else than a folder of files.

    Raises
    ------
    ParameterError
        If there are patterns, and ``given`` is no such folder; or a pattern is empty.
    """
    path = Path(given) if isinstance(given, str | Path) else None
    if check_exclude(exclude) and (path is None or not is_folder(path) or is_lance(path)):
        what = "what was given" if path is None else f"'{path}'"
        patterns = [exclude] if isinstance(exclude, str) else list(exclude)
        raise ParameterError(
            f"exclude={shortened(listed(map(repr, patterns)))}: files are left out of folders, and "
            f"{what} is none; give a folder, or leave the patterns out (--exclude, exclude)",
            parameter="exclude",
        )


def _matches(name: str, pattern: str, is_folder: bool) -> bool:
    name = unicodedata.normalize("NFC", name)
    if pattern.endswith("/"):
        if not is_folder:
            return False
        pattern = pattern.rstrip("/")
    if "/" in pattern:
        return fnmatchcase(name, pattern.removeprefix("/"))
    return fnmatchcase(PurePosixPath(name).name, pattern)


def _kind_of(entry: os.DirEntry[str]) -> str:
    """Tell what an entry is that is no folder, or what the link leads to."""
    try:
        if entry.is_file():
            return "file"
        if entry.is_dir():
            return "folder"
        Path(entry.path).stat()
    except OSError:  # a broken link, a circle of links, or no permission
        return "nothing"
    return "other"


def _ending(path: Path) -> str:
    suffix = path.suffix
    return suffix if 1 < len(suffix) <= _LONGEST_SUFFIX else "without an ending"


def check_exists(path: Path, wanted: str | Callable[[], str]) -> None:
    """Refuse a path that does not exist, or is not readable.

    Parameters
    ----------
    path : Path
        The path that a user gave.
    wanted : str, or callable
        What to give instead, for the message.

    Raises
    ------
    MissingFileError
        If it does not exist.
    UnreadableFileError
        If there is no permission to read it, or it is a pipe or device.
    """
    if (kind := irregular(path)) is not None:
        raise UnreadableFileError(
            f"'{path}' is {kind}, and data are read more than once; save them to a file first",
            path=path,
        )
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except (FileNotFoundError, ValueError) as error:
        wanted = wanted if isinstance(wanted, str) else wanted()
        if isinstance(error, ValueError):
            raise MissingFileError(
                f"'{path}' is no path ({error}); give {wanted}", path=path
            ) from error
        hint = "a path on a disk: " if is_address(path) else ""
        raise MissingFileError(
            f"'{path}' does not exist; give {hint}{wanted}", path=path
        ) from error
    except OSError as error:
        raise refusal(error) from error


def refusal(error: OSError) -> UnreadableFileError:
    """Make the error for a file or folder that the system does not allow to read."""
    return UnreadableFileError(
        f"'{error.filename}' cannot be read: {error.strerror}; allow reading it or give another",
        path=error.filename,
        reason=error.strerror,
    )


def what_it_is(source: Path | bytes) -> str | None:
    r"""Say what an unreadable file is instead, if its first bytes show it.

    Parameters
    ----------
    source : Path or bytes
        The file, or its contents.

    Returns
    -------
    str or None
        A clause such as "it is empty" or "it is a web page"; None if that is not known, or the file
        cannot be opened.

    Examples
    --------
    >>> from narrows.data.folders import what_it_is
    >>> what_it_is(b""), what_it_is(b"<!DOCTYPE html><html>404"), what_it_is(b"\x89PNG")
    ('it is empty (0 bytes)', 'it is a web page (HTML)', None)
    """
    if isinstance(source, bytes):
        head, size = source[:_START], len(source)
    else:
        try:
            with source.open("rb") as file:
                head = file.read(_START)
            size = source.stat().st_size
        except OSError:
            return None
    if not head:
        return "it is empty (0 bytes)"
    if not head.strip(b"\0"):
        return f"the first {len(head)} of its {size} bytes are zeros, as after a broken download"
    text = _as_text(head)
    return next((words for start, words in _STARTS if text.startswith(start)), None)


def _as_text(head: bytes) -> bytes:
    """Return the first bytes of a text in lower case, without the zeros of UTF-16 and UTF-32."""
    for mark in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            head = head[len(mark) :].replace(b"\0", b"")
    # A declaration and comments may stand before the first element of a page.
    return re.sub(rb"^\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*", b"", head, flags=re.DOTALL).lower()


def is_lance(path: Path) -> bool:
    """Return whether a folder is a Lance dataset."""
    return is_folder(path / "_versions")


def check_dataset(path: Path, *, overwrite: bool) -> Path:
    """Refuse a path for a Lance dataset where there is something else.

    Raises
    ------
    OutputExistsError, OutputError, ParameterError
        As :func:`narrows.atomic.check_output` and :func:`narrows.remote.lance_address`;
        also if the path exists and is no dataset.
    """
    check_output(path, overwrite=overwrite, kind="folder")
    lance_address(path)
    if path.exists() and not is_lance(path):
        raise OutputExistsError(f"'{path}' is no Lance dataset and is not replaced; name another")
    return path
