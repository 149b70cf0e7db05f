"""Folders in an object store, such as ``s3://bucket/folder``, accessed through Lance.

Endpoints, keys and all other settings are Lance's storage options, which it also reads from the
environment: ``AWS_ENDPOINT``, ``AWS_ACCESS_KEY_ID``, ``AWS_DEFAULT_REGION`` and the like.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from narrows.errors import (
    FormatError,
    MissingFileError,
    NarrowsError,
    ParameterError,
    StoreError,
)
from narrows.texts import is_utf8

# A Path has one slash where an address has two.
_ADDRESS = re.compile(r"(s3|gs|az):/{1,2}(?=[^/])")
# Timeouts of the first request, which tests whether the store answers; others have Lance's own.
_BOUNDED = {
    "timeout": "10s",
    "connect_timeout": "5s",
    "client_max_retries": "1",
    "download_retry_count": "0",
}
# Options for large files.
_LASTING = {"timeout": "1h"}
FAILURES = (OSError, ValueError, RuntimeError)
"""Errors of Lance and Arrow, which have no classes for unreadable files."""

# Further errors that they raise for damaged files.
_UNFORESEEN = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError)
# Reasons of failures by words of the messages, as Lance has no classes for them.
_REASONS = (
    (r"NoSuchBucket|ContainerNotFound", "there is no such bucket; create it, or correct its name"),
    (
        r"credential|FailedToLoadToken",
        "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what else "
        "your store knows you by",
    ),
    (
        r"AccessDenied|Forbidden|\b40[13]\b|InvalidAccessKeyId|SignatureDoesNotMatch",
        "access is denied; get the right to it, or correct the credentials",
    ),
    (
        r"error sending request|timed? ?out|connection",
        "nobody answers; check the network and AWS_ENDPOINT (http:// needs AWS_ALLOW_HTTP=true)",
    ),
)


@dataclass(frozen=True)
class Remote:
    """A folder or file in an object store, with the methods of Path that Narrows uses.

    Attributes
    ----------
    address : str
        Address, such as "s3://bucket/folder".
    options : mapping of str to str
        Lance's storage options, which take precedence over the environment's.
    """

    address: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.address}/{name}", self.options)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.address.rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        """The enclosing folder."""
        return Remote(self.address.rpartition("/")[0], self.options)

    def absolute(self) -> "Remote":
        """Return itself: an address is the same from everywhere."""
        return self

    def exists(self) -> bool:
        """Tell whether there is anything below the address."""
        return bool(self.names())

    def is_file(self) -> bool:
        """Tell whether there is an object of this address."""
        try:
            self.read_bytes()
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """List the objects below the address, by their relative addresses.

        Raises
        ------
        StoreError
            If the store does not answer, or refuses.
        """
        # If the store does not answer, Lance repeats requests for a list, but not for an object.
        (self / "library.json").is_file()
        with self._explained():
            found: list[str] = self._session.list()
        return found

    def has(self, name: str) -> bool:
        """Tell whether there is an object of this name in the folder, of any size.

        Raises
        ------
        StoreError
            If the store does not answer, or refuses.
        """
        with self._explained():
            return bool(self._bounded.contains(name))

    def read_bytes(self) -> bytes:
        """Read the object of this address, which must be small.

        Raises
        ------
        FileNotFoundError
            If there is none.
        StoreError
            If the store does not answer, or refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy")
            self._download(self.parent._bounded, copy)
            return copy.read_bytes()

    def read_text(self, encoding: str) -> str:
        """Read the object as text; see :meth:`read_bytes`."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, contents: bytes) -> None:
        """Write the object in one step.

        Raises
        ------
        StoreError
            If the store does not answer, or refuses.
        """
        with tempfile.NamedTemporaryFile() as file:
            file.write(contents)
            file.flush()
            self._upload(Path(file.name))

    def upload(self, folder: Path) -> None:
        """Upload a folder to the address; errors are those of :meth:`write_bytes`."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                (self / file.relative_to(folder).as_posix())._upload(file)

    def remove(self) -> None:
        """Remove all objects of this address, as far as possible."""
        # Early versions of Lance cannot remove objects.
        with suppress(*FAILURES, AttributeError):
            for name in self._session.list():
                self._session.delete_file(name)
            self.parent._session.delete_file(self.name)

    def _download(self, session: Any, copy: Path) -> None:
        with self.parent._explained():
            try:
                session.download_file(self.name, str(copy))
            except FAILURES as error:
                if re.search("NoSuchKey|BlobNotFound|No such object", str(error)):
                    raise FileNotFoundError(2, "no such object", self.address) from error
                raise

    def _upload(self, file: Path) -> None:
        with self.parent._explained():
            self.parent._session.upload_file(str(file), self.name)

    @cached_property
    def _session(self) -> Any:
        return _session(self.address, self.options)

    @cached_property
    def _bounded(self) -> Any:
        return _session(self.address, {**_BOUNDED, **self.options})

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except FAILURES as error:
            raise explained(self, error) from error


Place: TypeAlias = Path | Remote


def place(path: "str | Path | Remote", options: Mapping[str, str] | None = None) -> Place:
    """Return a Remote for the address of an object store, and a Path for anything else.

    Parameters
    ----------
    path : str, Path or Remote
        A path, or an address, which may be a Path.
    options : mapping of str to str, optional
        Lance's storage options.

    Returns
    -------
    Path or Remote

    Examples
    --------
    >>> place("photos"), str(place("s3://bucket/photos.lance/")), str(place(Path("s3://b/lib")))
    (PosixPath('photos'), 's3://bucket/photos.lance', 's3://b/lib')
    """
    if isinstance(path, Remote):
        return path
    found = _ADDRESS.match(str(path))
    if found is None:
        return Path(path)
    rest = str(path)[found.end() :].rstrip("/")
    return Remote(f"{found[1]}://{rest}", dict(options or {}))


def lance_address(path: Place) -> dict[str, Any]:
    """Return Lance's keyword arguments for the place of a table.

    Raises
    ------
    ParameterError
        If its path is not UTF-8, which Lance requires.
    """
    if isinstance(path, Remote):
        return {"uri": path.address, "storage_options": dict(path.options)}
    address = str(path.absolute())
    if not is_utf8(address):
        raise ParameterError(
            f"'{path}' lies in a folder whose name is not UTF-8, or has such a name, and Lance "
            "opens no such path; rename the folder, or choose another place",
            path=path,
        )
    return {"uri": address}


def open_dataset(path: Place, version: int | None = None) -> Any:
    """Open a Lance dataset, all of whose files are below its address.

    The manifest of a dataset may refer to files below further base paths, anywhere on the disk or
    in an object store. Lance would read them, with the user's credentials.

    Parameters
    ----------
    path : Path or Remote
        The dataset.
    version : int, optional
        Version of the dataset; the latest by default.

    Raises
    ------
    FormatError
        If it refers to another base path, which is not read.
    OSError, ValueError, RuntimeError
        Errors of Lance.
    """
    import lance

    with panics_as_failures():
        # Opening reads the manifest alone, and nothing below another base path.
        dataset: Any = lance.dataset(**lance_address(path), version=version)
        if hasattr(dataset, "base_paths"):
            named = [base.path for base in dataset.base_paths().values()]
        else:  # in older versions of Lance, which follow base paths already
            named = named_bases(_manifest(path, int(dataset.version)))
    if named:
        raise FormatError(
            f"the manifest of '{path}' names another folder for its data, {named[0][:200]!r}, "
            "which is not read; write the rows to a dataset of their own (lance.write_dataset)"
        )
    return dataset


@contextmanager
def panics_as_failures() -> Iterator[None]:
    """Raise the errors of Lance and Arrow for damaged files as one of :data:`FAILURES`.

    All calls of Lance are in such blocks. A panic in Lance raises a ``PanicException``, which is no
    ``Exception`` and would pass every handler.

    Raises
    ------
    OSError, ValueError, RuntimeError
        Errors of Lance, or a RuntimeError with the same message.
    """
    try:
        yield
    except NarrowsError:
        raise
    except _UNFORESEEN as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    except Exception:
        raise
    except BaseException as error:
        # Each extension that is written in Rust has its own class.
        if type(error).__name__ == "PanicException":
            raise RuntimeError(f"Lance gave up: {error}") from error
        raise


def _manifest(path: Place, version: int) -> bytes:
    """Read the manifest of a version, in either scheme of names."""
    names = (f"{2**64 - 1 - version:020}.manifest", f"{version}.manifest")
    for name in names:
        with suppress(FileNotFoundError):
            return (path / "_versions" / name).read_bytes()
    raise OSError(f"the manifest of version {version} of '{path}' is missing")


def named_bases(manifest: bytes) -> list[str]:
    """Read the base paths from the contents of a Lance manifest file.

    Parameters
    ----------
    manifest : bytes
        Of a file in ``_versions``. Its last 16 bytes are the place of the length of a protobuf
        message of the type ``Manifest``, two version numbers and "LANC"; field 18 of that message
        is repeated, a message of the type ``BasePath``, whose field 4 is the path.

    Raises
    ------
    ValueError
        If it is no manifest.
    """
    place = int.from_bytes(manifest[-16:-8], "little")
    length = int.from_bytes(manifest[place : place + 4], "little")
    message = manifest[place + 4 : place + 4 + length]
    if not manifest.endswith(b"LANC") or len(message) != length or not length:
        raise ValueError("it is no manifest of Lance")
    bases = [value for field, value in _fields(message) if field == 18]
    return [
        next((path.decode(errors="replace") for field, path in _fields(base) if field == 4), "")
        for base in bases
    ]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each field of a protobuf message; no bytes of varints."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while place < len(message) and shift < 70:
            byte = message[place]
            value |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                return value
        raise ValueError("a number in a protobuf message has no end")

    while place < len(message):
        tag = number()
        match tag & 7:
            case 0:
                size, _ = 0, number()
            case 1 | 5 as wire:
                size = 8 if wire == 1 else 4
            case 2:
                size = number()
            case _:
                raise ValueError(f"a protobuf message has a field of type {tag & 7}")
        value = message[place : place + size]
        if len(value) < size:
            raise ValueError("a field of a protobuf message is cut short")
        place += size
        yield tag >> 3, value


@contextmanager
def on_disk(path: Place) -> Iterator[Path]:
    """Yield a folder on this disk: itself, or a temporary copy.

    Raises
    ------
    MissingFileError
        If there is nothing at an address.
    StoreError
        If the store does not answer, or refuses.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        names = path.names()
        if not names:
            raise MissingFileError(f"there is nothing at '{path}'; check the address")
        for name in names:
            # Names of objects are not trusted.
            if ".." not in PurePosixPath(name).parts and not name.startswith("/"):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                with path._explained():
                    path._session.download_file(name, str(copy / name))
        yield copy


@contextmanager
def file_on_disk(path: Place) -> Iterator[Path]:
    """Yield a file of any size on this disk: itself, or a temporary copy.

    Raises
    ------
    StoreError
        If the store does not answer, or refuses. A missing file is not copied.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        with suppress(FileNotFoundError):
            path._download(_session(path.parent.address, {**_LASTING, **path.options}), copy)
        yield copy


def stamp(file: Place) -> object:
    """Return a value that differs after every change of a small file; None if there is no file."""
    try:
        if isinstance(file, Remote):
            return file.read_bytes()
        state = file.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_ctime_ns


def refusal(path: Place, error: Exception) -> StoreError | None:
    """Make the error for an object store that could not be used; None for any other error."""
    if isinstance(path, Remote) and _reason(error) is not None:
        return explained(path, error)
    return None


def explained(path: Remote, error: Exception) -> StoreError:
    """Make the error for an object store that could not be used."""
    text = " ".join(str(error).split())[:200]
    reason = _reason(error) or f"{text}; check the address and the storage options"
    return StoreError(f"'{path}' is out of reach: {reason}")


def _reason(error: Exception) -> str | None:
    found = (text for words, text in _REASONS if re.search(words, str(error), re.IGNORECASE))
    return next(found, None)


def _session(address: str, options: Mapping[str, str]) -> Any:
    from lance.file import LanceFileSession

    return LanceFileSession(address, dict(options))
