"""What is known of pictures, kept between scans in one SQLite file, so that a scan goes on."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from narrows.copies.pictures import SIDE, Box, Seen
from narrows.errors import DataError, OutputError, warn

_FORM = 1  # of the table; raised when what is kept of a picture changes
_MARK = 0x4E727773  # of SQLite files that are ours
_AT_ONCE = 64  # pictures between two commits
_COLUMNS = (
    "path TEXT PRIMARY KEY, n_bytes INTEGER, modified INTEGER, digest BLOB, width INTEGER, "
    "height INTEGER, format TEXT, colour REAL, frames INTEGER, box TEXT, square BLOB"
)

_PUT = "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class State:
    """Pictures that have been looked at, by their paths.

    Parameters
    ----------
    file : Path or None
        The file, which is made if it does not exist; None keeps nothing.

    Raises
    ------
    DataError
        If the file is something else, or damaged.
    OutputError
        If it cannot be made.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._waiting = 0
        with self._explained():
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
            # Without a file, the pictures are not kept in memory twice either.
            self._store = None if file is None else sqlite3.connect(file, timeout=30)
            self._check()

    def _check(self) -> None:
        if self._store is None:
            return
        found = [self._store.execute(f"PRAGMA {name}").fetchone()[0]
                 for name in ("application_id", "user_version")]  # fmt: skip
        tables = self._store.execute("SELECT name FROM sqlite_master").fetchall()
        if tables and found[0] != _MARK:
            raise DataError(
                f"'{self._file}' is a file of another program; name another one (--state, state)"
            )
        if found != [_MARK, _FORM]:
            self._store.execute("DROP TABLE IF EXISTS pictures")
        self._store.execute(f"CREATE TABLE IF NOT EXISTS pictures ({_COLUMNS})")
        self._store.execute(f"PRAGMA application_id = {_MARK}")
        self._store.execute(f"PRAGMA user_version = {_FORM}")
        self._store.commit()

    def __enter__(self) -> Self:
        """Begin a scan."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Keep what was looked at, even if the scan was stopped."""
        del kind, error, at
        if self._store is not None:
            with self._explained():
                self._store.commit()
            self._store.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise OutputError(
                    f"'{self._file}' cannot keep what was looked at: {error}; name another file "
                    "(--state, state)"
                ) from error
            raise DataError(
                f"'{self._file}' does not hold what was looked at: {error}; remove it, or name "
                "another file (--state, state)"
            ) from error
        except OSError as error:
            raise OutputError(
                f"'{self._file}' cannot be made: {error.strerror}; name another file (--state, "
                "state)"
            ) from error

    def get(self, file: Path) -> Seen | None:
        """Return what is known of a file that has not changed since."""
        if self._store is None:
            return None
        try:
            now = file.stat()
        except OSError:
            return None
        with self._explained():
            row = self._store.execute(
                "SELECT * FROM pictures WHERE path = ? AND n_bytes = ? AND modified = ?",
                (_key(file), now.st_size, now.st_mtime_ns),
            ).fetchone()
        return None if row is None else _seen(row[1:])

    def put(self, file: Path, seen: Seen) -> None:
        """Keep what is known of a file."""
        if self._store is None:
            return
        box = " ".join(map(repr, map(float, seen.box)))
        row = (
            _key(file), seen.n_bytes, seen.modified, seen.digest, seen.width, seen.height,
            seen.format, seen.colour, seen.frames, box, seen.square.tobytes(),
        )  # fmt: skip
        with self._explained():
            self._store.execute(_PUT, row)
            self._waiting += 1
            if self._waiting >= _AT_ONCE:
                self._store.commit()
                self._waiting = 0

    def forget_missing(self, folder: Path, files: list[Path]) -> None:
        """Forget files of a folder that are no longer there."""
        if self._store is None:
            return
        start = _key(folder).rstrip("/") + "/"
        with self._explained():
            known = self._store.execute(
                "SELECT path FROM pictures WHERE substr(path, 1, ?) = ?", (len(start), start)
            ).fetchall()
            gone = {path for (path,) in known} - set(map(_key, files))
            self._store.executemany("DELETE FROM pictures WHERE path = ?", [(p,) for p in gone])


def _key(file: Path) -> str:
    # SQLite takes UTF-8 only, and a name may be any bytes.
    return str(file.absolute()).encode(errors="surrogateescape").decode("utf-8", "backslashreplace")


def _seen(row: tuple[Any, ...]) -> Seen | None:
    """Read a row, None if it is damaged."""
    *facts, box, square = row
    try:
        place = Box(*map(float, str(box).split()))
        pixels = np.frombuffer(square, np.uint8).reshape(SIDE, SIDE)
    except (TypeError, ValueError):
        return None
    known: list[Any] = [*facts, place, pixels]
    return Seen(*known)


def opened(file: str | Path | None, *, asked: bool) -> State:
    """Open a state; one that was not asked for is done without where it cannot be had."""
    try:
        return State(None if file is None else Path(file))
    except (DataError, OutputError) as error:
        if asked:
            raise
        warn(f"the scan is not kept: {error}", kind="scan_not_kept", stacklevel=3)
        return State(None)
