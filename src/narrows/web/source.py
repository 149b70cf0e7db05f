"""What lies at a path now: opened when the server starts, and anew when somebody has changed it."""

import math
import time
from hashlib import sha256
from threading import Lock
from typing import Any

from narrows.data.reading import Notes, current, reading
from narrows.errors import FormatError, ParameterError
from narrows.library import Item, Library
from narrows.models import load
from narrows.remote import Place, Remote, on_disk, stamp
from narrows.texts import as_text
from narrows.web.snapshot import Served

# For which an object store is not asked again.
_SECONDS = 1.0


class Source:
    """A library, or a model alone, which others may change while it is served.

    Parameters
    ----------
    path : Path or Remote
        Of either.

    Attributes
    ----------
    latest : Served
        What was there when it was last looked at.

    Raises
    ------
    NarrowsError
        If it is neither.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        self._how = current()
        self._lock = Lock()
        found = _stamp(path)
        self.latest = self._open(found, alone=not found)
        self._looked = time.monotonic()

    def now(self) -> Served:
        """Return what is there now.

        Requests keep what they began with; nothing in it changes under them.

        Raises
        ------
        NarrowsError
            If the library has gone or cannot be read.
        """
        if self.is_current():
            return self.latest
        with self._lock:
            self._looked = time.monotonic()
            found = _stamp(self.path)
            if self.latest.version != found:
                self.latest = self._open(found, alone=False)
            return self.latest

    def is_current(self) -> bool:
        """Tell, within microseconds, whether :attr:`latest` is known to be what is there now."""
        if self.latest.library is None:
            return True
        if isinstance(self.path, Remote):  # which takes its time to answer
            return time.monotonic() - self._looked < _SECONDS
        return self.latest.version == _stamp(self.path)

    def add(self, contents: list[bytes], notes: Notes) -> dict[str, Any]:
        """Add picture files; ``notes`` takes what has to be said of them."""
        served = self.now()
        for one in contents:
            served.read(one, notes)
        library = self._to_be_changed()
        with reading(self._how.max_pixels):
            added = library.add(iter(contents))
        return {"count": added.count, "total": len(self._changed().opened())}

    def change(self, number: int, metadata: dict[str, Any]) -> Item:
        """Write columns of one picture."""
        self.now().item(number)
        if not metadata:
            raise ParameterError("there is nothing to change; give columns and their values")
        columns = {name: [value] for name, value in metadata.items()}
        self._to_be_changed().update([number], columns)
        return self._changed().item(number)

    def remove(self, number: int) -> None:
        """Remove one picture."""
        self.now().item(number)
        self._to_be_changed().remove([number])
        self._changed()

    def _to_be_changed(self) -> Library:
        """Open the library once more: requests that are being answered keep theirs as it is."""
        self.now().opened()
        with reading(self._how.max_pixels):
            return Library.open(self.path)

    def _changed(self) -> Served:
        self._looked = -math.inf
        return self.now()

    def _open(self, stamp: str, *, alone: bool) -> Served:
        # What a writer does after the stamp was read is seen the next time.
        path = self.path
        with reading(self._how.max_pixels):  # in whatever thread this is
            library = None if alone else Library.open(path)
        if library is not None:
            model: Any = library.model
        else:
            with on_disk(path) as folder:
                model = load(folder)
        if not hasattr(model, "transform"):
            raise FormatError(f"'{path}' makes no codes; serve a library, a model or an encoder")
        return Served(as_text(path.name), library, model, stamp, self._how)


def _stamp(path: Place) -> str:
    """Return what changes with every change of a library, and is no other's; "" without one."""
    facts = stamp(path / "library.json")
    return "" if facts is None else sha256(repr(facts).encode()).hexdigest()[:24]
