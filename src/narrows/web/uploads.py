"""Pictures that requests send: bounded in number, bytes and pixels, and in memory altogether."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from narrows.data.codec import DefectError, open_picture, quietly
from narrows.errors import ParameterError, UnreadableFileError
from narrows.web.served import Served
from narrows.web.source import Source

_MOST_FILES = 64
# So many pictures are decoded at once, and one only of those that have more pixels than this: a
# large one takes half a gigabyte.
_AT_ONCE, _LARGE = 4, 2**24


class Uploads:
    """Read the pictures of all requests, a few at a time; the others wait on the disk."""

    def __init__(self) -> None:
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._one = asyncio.Semaphore(1)

    async def rows(self, request: Request, served: Served, most: int = _MOST_FILES) -> list[Any]:
        """Read pictures as rows for the model.

        Raises
        ------
        HTTPException, ParameterError
            If there are none, or too many.
        NarrowsError
            If one cannot be read.
        """
        async with _files(request, most) as files:
            return [await self._row(file, served) for file in files]

    async def _row(self, file: UploadFile, served: Served) -> Any:
        async with self._few:
            contents = await file.read()
            if not await run_in_threadpool(_is_large, contents):
                return await run_in_threadpool(served.read, contents)
        del contents  # while it waits
        async with self._one:
            await file.seek(0)
            return await run_in_threadpool(served.read, await file.read())

    async def add(self, request: Request, source: Source) -> dict[str, Any]:
        """Add the pictures to the library.

        Raises
        ------
        HTTPException, ParameterError, NarrowsError
            As of :meth:`rows`, or what adding raises.
        """
        async with _files(request, _MOST_FILES) as files, self._one:
            contents = [await file.read() for file in files]
            for one in contents:
                await run_in_threadpool(_is_large, one)
            added: dict[str, Any] = await run_in_threadpool(source.add, contents)
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


def _is_large(contents: bytes) -> bool:
    """Tell from a picture's header whether it takes much memory.

    Raises
    ------
    UnreadableFileError
        If it takes too much. Pillow only warns of that, and not in all threads alike.
    """
    try:
        with quietly(), open_picture(contents) as image:
            pixels = image.width * image.height
    except DefectError:
        return False  # whoever decodes it says why
    if pixels > (Image.MAX_IMAGE_PIXELS or pixels):  # another thread had the warning shown
        raise UnreadableFileError(
            f"the picture has {pixels} pixels, more than the {Image.MAX_IMAGE_PIXELS} that are "
            "safe; shrink it"
        )
    return pixels > _LARGE
