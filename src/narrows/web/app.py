"""The ASGI application: its parts, its metrics for Prometheus, and its answers to errors."""

import asyncio
import logging
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from narrows import errors
from narrows.remote import place
from narrows.texts import printable
from narrows.web.background import LibraryMap, Maps, ReportMaker
from narrows.web.batching import Batcher, Views, Worker
from narrows.web.requests import Uploads
from narrows.web.routes import routes
from narrows.web.security import App, Guard, Message, Receive, Scope, Send, read_public_url
from narrows.web.snapshot import Snapshot, SnapshotSource

# The bounds of the histograms, of seconds and of batches.
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
# Clients may send any other method, and any number of different ones.
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# The first class that an error is an instance of counts.
_STATUS = (
    (errors.ParameterError, 400),
    (errors.MissingFileError, 404),
    (errors.OutputError, 503),
    (errors.StoreError, 503),
    (errors.NarrowsError, 422),
)
# An absolute path in quotes; the group is its last part.
_QUOTED_PATH = re.compile(r"'/(?:(?!'[ ,;:.)]).)*/((?:(?!'[ ,;:.)])[^/])+)'(?=[ ,;:.)]|$)")
_LONGEST = 2000
_log = logging.getLogger("narrows.web")


def create_app(
    path: str | Path,
    *,
    training: Sequence[str | Path] = (),
    writable: bool = False,
    host: str = "127.0.0.1",
    token: str | None = None,
    cache: Path | None = None,
    public_url: str | None = None,
) -> Starlette:
    """Create the application that serves a library or a model.

    Parameters
    ----------
    path : str or Path
        A library, or a model, or an encoder.
    training : sequence of str or Path
        Training logs, and folders of logs or of models.
    writable : bool, default=False
        Whether clients may add, change and remove pictures.
    host : str, default="127.0.0.1"
        The address that it will listen on; requests to other host names are refused.
    token : str, optional
        A token that every request must carry, as a bearer token or a cookie.
    cache : Path, optional
        The folder in which maps are stored; by default the user's cache.
    public_url : str, optional
        The address by which others reach it through a reverse proxy, such as
        ``"https://narrows.example.com"``; accepted like the local ones, and used in absolute links.

    Returns
    -------
    Starlette
        An ASGI application.

    Raises
    ------
    ParameterError
        If ``public_url`` is not such an address.
    NarrowsError
        If there is no library, model or encoder at ``path``.
    """
    public = None if public_url is None else read_public_url(public_url)
    source = SnapshotSource(place(path))
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        state = app.state
        state.metrics, state.writable = metrics, writable
        state.training = [Path(log) for log in training]
        state.source, state.uploads = source, Uploads()
        state.inference, state.turn = Worker("inference"), asyncio.Lock()
        # One thread each, as every thread that uses torch or Lance retains some of their memory.
        state.changes, state.opening = Worker("changes"), Worker("opening")
        state.match = Batcher(_match, state.inference, metrics.batch)
        state.encode = Batcher(Snapshot.encode, state.inference, metrics.batch)
        state.place = Batcher(LibraryMap.place, state.inference, metrics.batch)
        state.views = Views(state.inference)
        state.report = ReportMaker(source)
        maps = Maps(source, cache)
        state.map = maps.current
        library = source.now().library
        if library is not None and len(library):
            maps.current()  # computes the map ahead of the first request
        yield
        workers = (state.inference, state.changes, state.opening)
        for part in (*workers, state.views, state.uploads):
            part.close()
        await state.report.close()
        maps.close()

    return Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=[
            Middleware(_Measured, metrics=metrics),
            Middleware(Guard, host=host, token=token, public=public),
        ],
        exception_handlers={
            errors.NarrowsError: _explain,
            HTTPException: _explain_http,
            ClientDisconnect: _ignore_disconnect,
            Exception: _explain_fault,
        },
    )


def _match(key: tuple[Any, ...], items: list[Any]) -> Any:
    snapshot, by, *options = key
    return snapshot.match(by, dict(options), items)


class _Measured:
    """Middleware that counts requests and their time."""

    def __init__(self, app: App, metrics: "Metrics") -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            # Counts are kept by route, as clients may request any number of different addresses.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(scope["method"], route, status, time.perf_counter() - start)


class Metrics:
    """Counts of requests by route and status, their durations, and the sizes of batches."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds = _Histogram(_BOUNDS)
        self._batches = _Histogram(_SIZES)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in _METHODS else "other"
        self._requests[method, route, status] += 1
        self._seconds.add(seconds)

    def batch(self, size: int) -> None:
        """Count one batch."""
        self._batches.add(size)

    def text(self, pictures: int) -> str:
        """Return all metrics in Prometheus's text format."""
        lines = ["# TYPE narrows_requests_total counter"]
        lines += [
            f'narrows_requests_total{{method="{method}",route="{route}",status="{status}"}} {n}'
            for (method, route, status), n in sorted(self._requests.items())
        ]
        lines += self._seconds.lines("narrows_request_seconds")
        lines += self._batches.lines("narrows_batch_size")
        lines += ["# TYPE narrows_pictures gauge", f"narrows_pictures {pictures}"]
        lines += ["# TYPE narrows_memory_bytes gauge", f"narrows_memory_bytes {_memory()}"]
        return "\n".join(lines) + "\n"


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._count, self._sum = 0, 0.0

    def add(self, value: float) -> None:
        self._count += 1
        self._sum += value
        for number, bound in enumerate(self._bounds):
            self._counts[number] += value <= bound

    def lines(self, name: str) -> list[str]:
        pairs = [*zip(map(str, self._bounds), self._counts, strict=True), ("+Inf", self._count)]
        return [
            f"# TYPE {name} histogram",
            *(f'{name}_bucket{{le="{bound}"}} {count}' for bound, count in pairs),
            f"{name}_sum {self._sum:.6f}",
            f"{name}_count {self._count}",
        ]


def _memory() -> int:
    """Return the bytes of memory that this process uses, 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def _explain(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    text = str(error)
    if status != 400:  # those errors repeat the request's own words
        text = _QUOTED_PATH.sub(r"'\1'", text[:_LONGEST])
    return _answer(request, text, status)


async def _explain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (it is registered for these)
    return _answer(request, error.detail, error.status_code, error.headers)


def _answer(
    request: Request, text: str, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with an error, without the folder in which the library lies."""
    path = request.app.state.source.path
    for folder in [path.absolute(), path] if isinstance(path, Path) else [path]:
        text = text.replace(printable(str(folder)), path.name)
    # The text may repeat characters of the request that cannot be encoded.
    return JSONResponse({"error": printable(text)}, status, headers)


async def _ignore_disconnect(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=400)  # the client does not read it


async def _explain_fault(request: Request, error: Exception) -> Response:
    _log.error("a fault in Narrows, at %s", request.url.path, exc_info=error)
    return JSONResponse({"error": "a fault in Narrows; see the server's log"}, 500)
