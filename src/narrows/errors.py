"""The errors and warnings that Narrows raises.

::

    NarrowsError
    ├── ParameterError          (ValueError)         a parameter outside what is allowed
    ├── DataError               (ValueError)         data that cannot be learned from or used
    │   ├── DataTypeError       (TypeError)          values that are no numbers
    │   └── UnreadableFileError                      a file that is not what it claims to be
    ├── NotFittedError          (sklearn's)          a model used before ``fit``
    ├── DivergedError           (ArithmeticError)    training left the finite numbers
    ├── WorkerError             (RuntimeError)       distributed processes that fail
    ├── CheckpointError         (ValueError)         a checkpoint of another run, or damaged
    ├── FormatError             (ValueError)         a model or library that is damaged or foreign
    ├── OutputExistsError       (FileExistsError)    an output that would be overwritten
    ├── OutputError             (OSError)            an output that cannot be written
    ├── MissingFileError        (FileNotFoundError)  an input that is not there
    ├── DownloadError           (OSError)            a data set that cannot be downloaded
    ├── StoreError              (RuntimeError)       an object store that is out of reach
    ├── MissingDependencyError  (ImportError)        an optional package that is not installed
    └── LibraryError            (ValueError)         a request that a library cannot fulfil
        └── WrongModelError                          a library of another model's codes

Each message is one line of at most 480 characters that says the value, what was allowed, and the
remedy. Rows are counted from 0 in all of them, as in arrays and as in the names that rows of files
have; they say so.

:class:`NarrowsWarning` is for results that stand although something was left out, changed or
guessed.
"""

import warnings
from functools import partial
from typing import Any

from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from narrows.texts import one_line


class NarrowsError(Exception):
    """The root: catch this to catch everything Narrows raises on purpose.

    Parameters
    ----------
    message : str
        Brought to one line of at most 480 printable characters, whatever values, names and paths
        it quotes; see :func:`narrows.texts.one_line`.
    **fields : object
        What the message is about, for programs, which need not parse it: the name of the
        ``parameter`` that was refused, the ``path`` of the file, the ``column`` of the table, or
        the ``reason`` without its remedy. They become attributes.

    Attributes
    ----------
    parameter, path, column, reason : object
        None where the error does not say.

    Examples
    --------
    >>> from narrows.data.formats import FileOptions
    >>> from narrows.errors import NarrowsError
    >>> try:
    ...     FileOptions(decimal=";")
    ... except NarrowsError as error:
    ...     print(error.parameter)
    decimal
    """

    parameter: str | None = None
    path: Any = None
    column: str | None = None
    reason: str | None = None

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(one_line(str(message)))
        vars(self).update(fields)


class ParameterError(NarrowsError, ValueError):
    """A parameter's value is outside what is allowed."""


class DataError(NarrowsError, ValueError):
    """The data cannot be learned from or used with this model."""


class DataTypeError(DataError, TypeError):
    """The data hold objects that are no numbers."""


class UnreadableFileError(DataError):
    """A file is not what it claims to be: truncated, foreign or damaged."""


class NotFittedError(NarrowsError, SklearnNotFittedError):  # type: ignore[misc]  # untyped
    """A model was used before ``fit``."""


class DivergedError(NarrowsError, ArithmeticError):
    """Training produced values that are not finite."""


class CheckpointError(NarrowsError, ValueError):
    """A checkpoint belongs to another run or is damaged."""


class WorkerError(NarrowsError, RuntimeError):
    """Processes that work together do not: one is lost, out of reach, or of another version."""


class FormatError(NarrowsError, ValueError):
    """A model or library on disk is damaged, incomplete or foreign."""


class OutputExistsError(NarrowsError, FileExistsError):
    """An output exists and overwriting was not asked for."""


class OutputError(NarrowsError, OSError):
    """An output cannot be written: no permission, no room, no such folder."""


class MissingFileError(NarrowsError, FileNotFoundError):
    """An input file or folder does not exist."""


class DownloadError(NarrowsError, OSError):
    """A data set is not on this machine and could not be downloaded."""


class StoreError(NarrowsError, RuntimeError):
    """An object store does not answer, or refuses."""


class MissingDependencyError(NarrowsError, ImportError):
    """An optional package is needed and not installed."""


class LibraryError(NarrowsError, ValueError):
    """A library of pictures cannot do what was asked."""


class WrongModelError(LibraryError):
    """A library's codes were made by another model than the one given."""


class NarrowsWarning(UserWarning):
    """A result stands, but something was left out, changed or guessed on the way to it.

    The command line prints each one as a line on standard error, and lists all of them under
    ``"warnings"`` in its JSON answer.

    Parameters
    ----------
    message : str
        One line: what happened to which data, and the option that changes it. It is bounded as
        that of :class:`NarrowsError`.
    kind : str
        A short name for programs, such as "files_left_out".
    **facts : object
        The figures in the message, as JSON can hold them.

    Attributes
    ----------
    kind : str
    facts : dict of str to object
        The facts that were given.

    Examples
    --------
    >>> import warnings
    >>> from narrows.errors import warn
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn("2 files of other kinds were left out: 2 .HEIC", kind="files_left_out", count=2)
    >>> caught[0].message.kind, caught[0].message.facts
    ('files_left_out', {'count': 2})
    """

    def __init__(self, message: str, *, kind: str, **facts: Any) -> None:
        super().__init__(one_line(str(message)))
        self.kind = kind
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process, where a filter makes errors of warnings, sends them to its parent.
        return partial(type(self), kind=self.kind, **self.facts), self.args


def warn(
    message: str,
    *,
    kind: str,
    stacklevel: int = 2,
    category: type[NarrowsWarning] = NarrowsWarning,
    **facts: Any,
) -> None:
    """Issue a :class:`NarrowsWarning` through Python's ``warnings``.

    Parameters
    ----------
    message, kind, **facts
        See :class:`NarrowsWarning`.
    stacklevel : int, default=2
        Whose line the warning names, as for ``warnings.warn``: 2 is the caller of the function
        that calls this one.
    category : type, default=NarrowsWarning
        The class of the warning, by which filters can tell it from others.
    """
    warnings.warn(category(message, kind=kind, **facts), stacklevel=stacklevel + 1)
