"""The picture files that the page shows, made in batches, of which the latest are kept."""

from collections import OrderedDict
from typing import NamedTuple

from narrows.web.batching import Batcher, Worker
from narrows.web.snapshot import Snapshot

# Bytes of picture files that are kept: some ten thousand thumbnails, or a thousand photos.
_MOST_BYTES = 16 * 2**20


class View(NamedTuple):
    """A picture file and its media type."""

    contents: bytes
    kind: str


class Views:
    """Picture files of a library's pictures: as stored, small, or reconstructed; the latest kept.

    Parameters
    ----------
    inference : Worker
        The thread that runs networks.
    most_bytes : int, default=16 MiB
        The number of bytes that are kept.
    """

    def __init__(self, inference: Worker, most_bytes: int = _MOST_BYTES) -> None:
        self._reading = Worker("pictures")
        self._makers = {
            "picture": Batcher(Snapshot.pictures, self._reading),
            "thumbnail": Batcher(Snapshot.thumbnails, self._reading),
            "reconstruction": Batcher(Snapshot.reconstructions, inference),
        }
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[str, int, str], View] = OrderedDict()

    async def __call__(self, snapshot: Snapshot, number: int, kind: str) -> View:
        """Return the file of one picture.

        Raises
        ------
        ParameterError
            If there is no picture with this id.
        NarrowsError
            If it cannot be shown.
        """
        key = snapshot.version, number, kind
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        contents = await self._makers[kind](snapshot, number)
        view = View(contents, "image/jpeg" if contents.startswith(b"\xff\xd8") else "image/png")
        if key not in self._kept:  # no other request made it meanwhile
            self._kept[key] = view
            self._bytes += len(contents)
        while self._bytes > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.contents)
        return view

    def close(self) -> None:
        """End the thread."""
        self._reading.close()
