"""Pictures of the library as files: made together where several are asked for, the latest kept."""

from collections import OrderedDict
from typing import NamedTuple

from narrows.web.batching import Batcher, Worker
from narrows.web.snapshot import Served

# Bytes that are kept: some ten thousand thumbnails of small pictures, or a thousand of photos.
_MOST_BYTES = 16 * 2**20


class View(NamedTuple):
    """A picture file and its media type."""

    contents: bytes
    kind: str


class Views:
    """Look at pictures of the library: as stored, small, or restored.

    Parameters
    ----------
    inference : Worker
        What networks do there.
    most_bytes : int, default=16 MiB
        That are kept of what was made.
    """

    def __init__(self, inference: Worker, most_bytes: int = _MOST_BYTES) -> None:
        self._reading = Worker("pictures")
        self._makers = {
            "picture": Batcher(Served.pictures, self._reading),
            "thumbnail": Batcher(Served.thumbnails, self._reading),
            "reconstruction": Batcher(Served.reconstructions, inference),
        }
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[str, int, str], View] = OrderedDict()

    async def __call__(self, served: Served, number: int, kind: str) -> View:
        """Return one picture.

        Raises
        ------
        ParameterError
            If there is none of this id.
        NarrowsError
            If it cannot be shown.
        """
        key = served.version, number, kind
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        contents = await self._makers[kind](served, number)
        view = View(contents, "image/jpeg" if contents.startswith(b"\xff\xd8") else "image/png")
        if key not in self._kept:  # nobody else asked for it meanwhile
            self._kept[key] = view
            self._bytes += len(contents)
        while self._bytes > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.contents)
        return view

    def close(self) -> None:
        """End the thread."""
        self._reading.close()
