"""A server that listens, within the process of the tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvicorn

from narrows.web import serve


class Listening(tuple[str, int]):
    """The host and the port of a listening server.

    Attributes
    ----------
    address : str
        The address that it printed.
    """

    address: str


@contextmanager
def served(path: Path, **options: Any) -> Iterator[Listening]:
    """Serve in a thread until the block ends."""
    servers: list[uvicorn.Server] = []
    places: list[tuple[str, int]] = []
    said: list[str] = []
    there = threading.Event()
    run = uvicorn.Server.run

    def noting(server: uvicorn.Server, sockets: Any) -> None:
        servers.append(server)
        places.append(sockets[0].getsockname()[:2])
        there.set()
        run(server, sockets=sockets)

    with patch.object(uvicorn.Server, "run", noting):
        thread = threading.Thread(
            target=serve, args=(path,), kwargs={"port": 0, "ready": said.append, **options}
        )
        thread.start()
        try:
            assert there.wait(60)
            place = Listening(places[0])
            place.address = said[0]
            yield place
        finally:
            for server in servers:
                server.should_exit = True
            thread.join()
