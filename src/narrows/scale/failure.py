"""What goes wrong on purpose at a worker, told where the work was asked for."""

import socket
from typing import NamedTuple

from narrows import errors
from narrows.errors import (
    MissingDependencyError,
    MissingFileError,
    NarrowsError,
    UnreadableFileError,
)


class Failure(NamedTuple):
    """What went wrong on purpose elsewhere, as it travels.

    Attributes
    ----------
    name : str
        The error's class.
    message : str
        Its words.
    host : str
        Where it was.
    """

    name: str
    message: str
    host: str

    @classmethod
    def of(cls, error: NarrowsError) -> "Failure":
        """Say what went wrong on this machine."""
        return cls(type(error).__name__, str(error), socket.gethostname())

    def error(self) -> NarrowsError:
        """Make the error again; of what may be the machine's own affair, it names the machine."""
        kind: type[NarrowsError] = getattr(errors, self.name)
        local = issubclass(kind, MissingFileError | MissingDependencyError | UnreadableFileError)
        return kind(f"{self.message} (on {self.host})" if local else self.message)
