"""Pictures that requests send: bounded in number, bytes and pixels, and in memory altogether."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from narrows.data.image_codec import DefectError, open_picture, quietly
from narrows.data.reading import Notes
from narrows.errors import ParameterError, UnreadableFileError
from narrows.web.batching import Worker
from narrows.web.snapshot import Served
from narrows.web.source import Source

_MOST_FILES = 64
# So many pictures are decoded at once, and one only of those that have more pixels than this: a
# large one takes half a gigabyte.
_AT_ONCE, _LARGE = 4, 2**24
# Files of no more bytes and pixels than these are read in a fraction of a millisecond.
_SMALL = 2**15


# From what is in a file to what is wanted of it; notes take what has to be said of the file.
Read: TypeAlias = Callable[[bytes, Notes], Any]


class Uploads:
    """Read the pictures of all requests, a few at a time; the others wait on the disk."""

    def __init__(self) -> None:
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._one = asyncio.Semaphore(1)
        # Each thread keeps for itself some of the memory that it had.
        self._large = Worker("large pictures")

    def close(self) -> None:
        """End the thread."""
        self._large.close()

    async def rows(self, request: Request, served: Served, most: int = _MOST_FILES) -> list[Any]:
        """Read pictures as rows for the model; see :meth:`read`."""
        return await self.read(request, served, served.read, most)

    async def read(
        self, request: Request, served: Served, read: Read, most: int = _MOST_FILES
    ) -> list[Any]:
        """Read pictures by a function of what is in their files.

        Raises
        ------
        HTTPException, ParameterError
            If there are none, or too many.
        NarrowsError
            If one cannot be read.
        """
        notes = request.state.notes = Notes()
        async with _files(request, most) as files:
            return [await self._read(file, served, read, notes) for file in files]

    async def _read(self, file: UploadFile, served: Served, read: Read, notes: Notes) -> Any:
        async with self._few:
            contents = await file.read()
            if len(contents) <= _SMALL and _pixels(contents, served) <= _SMALL:
                return read(contents, notes)  # sooner than a thread would begin with it
            found = await run_in_threadpool(_read_unless_large, contents, served, read, notes)
        if found is not None:
            return found
        del contents  # while it waits
        async with self._one:
            await file.seek(0)
            return await self._large(read, await file.read(), notes)

    async def add(self, request: Request, source: Source, changes: Worker) -> dict[str, Any]:
        """Add the pictures to the library, in the thread of its changes.

        Raises
        ------
        HTTPException, ParameterError, NarrowsError
            As of :meth:`rows`, or what adding raises.
        """
        notes = request.state.notes = Notes()
        async with _files(request, _MOST_FILES) as files, self._one:
            contents = [await file.read() for file in files]
            for one in contents:
                await run_in_threadpool(_pixels, one, source.latest)
            added: dict[str, Any] = await changes(source.add, contents, notes)
            return added


@asynccontextmanager
async def _files(request: Request, most: int) -> AsyncIterator[list[UploadFile]]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "send the picture as multipart/form-data, in the field 'file'")
    async with request.form(max_files=most, max_fields=0) as form:
        files = [one for one in form.getlist("file") if isinstance(one, UploadFile)]
        if not files or len(files) != len(form.multi_items()):
            raise ParameterError("the field 'file' is missing, or others are there; send one file")
        yield files


def _read_unless_large(contents: bytes, served: Served, read: Read, notes: Notes) -> Any:
    return None if _pixels(contents, served) > _LARGE else read(contents, notes)


def _pixels(contents: bytes, served: Served) -> int:
    """Count from a picture's header what is unpacked of it; 0 if it cannot be read.

    Raises
    ------
    UnreadableFileError
        If that is too much.
    """
    try:
        with quietly(), open_picture(contents, served.how) as picture:
            return picture.count_pixels(served.model.sample_shape_)
    except DefectError as error:
        if error.unharmed:
            raise UnreadableFileError(f"the picture cannot be read: {error}") from error
        return 0  # whoever decodes it says why
