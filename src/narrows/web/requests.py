"""What requests send: parameters in their addresses, JSON, and pictures.

Pictures are bounded in number, bytes and pixels, and those of all requests in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from narrows.containment import parse_json
from narrows.data.image_codec import DefectError, open_picture, quietly
from narrows.data.reading import Notes
from narrows.errors import ParameterError, UnreadableFileError
from narrows.web.batching import Worker
from narrows.web.snapshot import Snapshot, SnapshotSource

LARGEST = 2**31 - 1
# Bytes of JSON that every request may send.
MOST_BYTES = 2**18
_MOST_FILES = 64
# So many pictures are decoded at once, but only one of those with more pixels than this: it takes
# half a gigabyte.
_AT_ONCE, _LARGE = 4, 2**24
# Files of no more bytes and pixels than these are read in a fraction of a millisecond.
_SMALL = 2**15

Read: TypeAlias = Callable[[bytes, Notes], Any]
"""A function of a file's content; the notes take the warnings about it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of an address.

    Attributes
    ----------
    kind : {"integer", "number", "string", "integers"}
        Its type.
    about : str
        Its description in one sentence.
    default : object
        Its value where the address does not name it.
    low, high : float, optional
        The range of numbers.
    choices : tuple of str
        The allowed strings; empty for any.
    """

    kind: Literal["integer", "number", "string", "integers"]
    about: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The parameter as a JSON schema."""
        if self.kind == "integers":  # written 1,2,3
            item = {"type": "integer", "minimum": 0, "maximum": self.high}
            return {"type": "array", "items": item, "minItems": 1, "maxItems": 500}
        schema: dict[str, Any] = {"type": self.kind}
        if self.default is not None:
            schema["default"] = self.default
        if self.low is not None:
            schema |= {"minimum": self.low, "maximum": self.high}
        if self.choices:
            schema["enum"] = list(self.choices)
        return schema

    def read(self, name: str, word: str) -> Any:
        """Convert the text of an address to a value; raise a ParameterError if not allowed."""
        try:
            if self.kind == "integers":
                numbers = [int(part) for part in word.split(",")]
                if all(0 <= n <= (self.high or 0) for n in numbers) and len(numbers) <= 500:
                    return numbers
            elif self.kind == "string":
                if not self.choices or word in self.choices:
                    return word
            else:
                value = int(word) if self.kind == "integer" else float(word)
                if (self.low or 0) <= value <= (self.high or 0):
                    return value
        except ValueError:
            pass
        raise ParameterError(f"{name}={word[:40]!r} is not allowed; use {self._allowed()}")

    def _allowed(self) -> str:
        if self.kind == "integers":
            return "up to 500 ids with commas between"
        if self.kind == "string":
            return f"one of {', '.join(self.choices)}"
        kind = "an integer" if self.kind == "integer" else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"


_METRICS = ("euclidean", "cosine")
_RERANKS = ("none", "pixels", "ssim")
_CORRUPTIONS = ("none", "gaussian", "masking", "salt_and_pepper")
PARAMETERS = {
    "id": Parameter("integer", "A picture of the library, instead of a file.", None, 0, LARGEST),
    "ids": Parameter("integers", "Pictures of the library, in this order.", None, 0, LARGEST),
    "k": Parameter("integer", "How many matches.", 12, 1, 100),
    "metric": Parameter(
        "string", "The distance between codes; by default the model's.", choices=_METRICS
    ),
    "where": Parameter("string", "A filter of columns, such as label = 'boot' AND year > 2010."),
    "rerank": Parameter(
        "string", "What puts the nearest candidates in order.", "none", choices=_RERANKS
    ),
    "n_candidates": Parameter("integer", "How many are put in order.", 100, 1, 1000),
    "limit": Parameter("integer", "How many pictures.", 60, 1, 500),
    "offset": Parameter("integer", "How many to pass over.", 0, 0, LARGEST),
    "corruption": Parameter(
        "string", "The damage that is done first.", "none", choices=_CORRUPTIONS
    ),
    "amount": Parameter("number", "How much of it.", 0.3, 0, 1),
    "seed": Parameter("integer", "Seed of all random numbers.", 0, 0, LARGEST),
    "color": Parameter("string", "A column, 'error' or 'none'.", "none"),
}
QUERIES = {
    "POST /api/match": ("id", "k", "metric", "where", "rerank", "n_candidates"),
    "GET /api/items": ("ids", "where", "limit", "offset"),
    "POST /api/reconstruct": ("id",),
    "POST /api/denoise": ("id", "corruption", "amount", "seed"),
    "GET /api/map": ("color",),
    "POST /api/map": ("id",),
    "GET /api/map/legend": ("color",),
}
"""The parameters of each method and address that has any, in the order of their description."""


def read_query(request: Request) -> dict[str, Any]:
    """Read the parameters in a request's address.

    Raises
    ------
    ParameterError
        If a parameter is not known there, or its value is not allowed.
    """
    method = "GET" if request.method == "HEAD" else request.method
    names = QUERIES.get(f"{method} {request.scope['route'].path}", ())
    query = request.query_params
    for name in query:
        if name not in (*names, "token"):
            known = ", ".join(names) or "none"
            raise ParameterError(f"{name[:40]!r} is no parameter here; known are: {known}")
    return {
        name: PARAMETERS[name].read(name, query[name])
        if name in query
        else PARAMETERS[name].default
        for name in names
    }


def refuse_body(request: Request) -> None:
    """Raise a ParameterError if a picture is sent together with an id."""
    headers = request.headers
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise ParameterError("a picture is sent beside an id; give one of the two")


async def read_json(request: Request, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read a JSON object of at most this number of bytes.

    Raises
    ------
    HTTPException, ParameterError
        If the body is something else, or larger.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(415, "send JSON, with the content type application/json")
    contents = b""
    async for chunk in request.stream():
        contents += chunk
        if len(contents) > most:
            raise HTTPException(413, f"the JSON is too large; send at most {most} bytes here")
    try:
        body = parse_json(contents)
    except ValueError as error:
        raise ParameterError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise ParameterError("the body is no JSON object; send one")
    return body


class Uploads:
    """Read the pictures of all requests, a few at a time; the others wait on the disk."""

    def __init__(self) -> None:
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._one = asyncio.Semaphore(1)
        # Each thread retains some of the memory that it used, so large pictures have their own.
        self._large = Worker("large pictures")

    def close(self) -> None:
        """End the thread."""
        self._large.close()

    async def read(
        self, request: Request, snapshot: Snapshot, read: Read, most: int = _MOST_FILES
    ) -> list[Any]:
        """Read pictures by a function of their files' contents.

        Raises
        ------
        HTTPException, ParameterError
            If there are none, or too many.
        NarrowsError
            If one cannot be read.
        """
        notes = request.state.notes = Notes()
        async with _files(request, most) as files:
            return [await self._read(file, snapshot, read, notes) for file in files]

    async def _read(self, file: UploadFile, snapshot: Snapshot, read: Read, notes: Notes) -> Any:
        async with self._few:
            contents = await file.read()
            if len(contents) <= _SMALL and _pixels(contents, snapshot) <= _SMALL:
                return read(contents, notes)  # before a thread would even start
            if await run_in_threadpool(_pixels, contents, snapshot) <= _LARGE:
                return await run_in_threadpool(read, contents, notes)
        del contents  # while it waits
        async with self._one:
            await file.seek(0)
            return await self._large(read, await file.read(), notes)

    async def add(
        self, request: Request, source: SnapshotSource, changes: Worker
    ) -> dict[str, Any]:
        """Add the pictures to the library, in the thread of its changes.

        Raises
        ------
        HTTPException, ParameterError, NarrowsError
            As :meth:`read` does, and what adding raises.
        """
        notes = request.state.notes = Notes()
        async with _files(request, _MOST_FILES) as files, self._one:
            contents = [await file.read() for file in files]
            for content in contents:
                await run_in_threadpool(_pixels, content, source.latest)
            added: dict[str, Any] = await changes(source.add, contents, notes)
            return added


@asynccontextmanager
async def _files(request: Request, most: int) -> AsyncIterator[list[UploadFile]]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "send the picture as multipart/form-data, in the field 'file'")
    async with request.form(max_files=most, max_fields=0) as form:
        files = [file for file in form.getlist("file") if isinstance(file, UploadFile)]
        if not files or len(files) != len(form.multi_items()):
            raise ParameterError("the field 'file' is missing, or others are there; send one file")
        yield files


def _pixels(contents: bytes, snapshot: Snapshot) -> int:
    """Return the number of pixels to be decoded, by the picture's header; 0 if it is unreadable.

    Raises
    ------
    UnreadableFileError
        If there are too many.
    """
    try:
        with quietly(), open_picture(contents, snapshot.how) as picture:
            return picture.count_pixels(snapshot.model.sample_shape_)
    except DefectError as error:
        if error.unharmed:
            raise UnreadableFileError(f"the picture cannot be read: {error}") from error
        return 0  # decoding raises the reason
