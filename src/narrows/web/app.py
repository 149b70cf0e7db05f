"""The ASGI application: its routes, and its answers to errors."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from narrows import errors
from narrows.remote import place
from narrows.texts import printable
from narrows.web import routes
from narrows.web.address import read_public_url
from narrows.web.batching import Batcher, Worker
from narrows.web.maps import LibraryMap, Maps
from narrows.web.metrics import Metrics
from narrows.web.report import ReportMaker
from narrows.web.security import App, BusyError, Guard, Message, Receive, Scope, Send, TooLargeError
from narrows.web.snapshot import Served
from narrows.web.source import Source
from narrows.web.uploads import Uploads
from narrows.web.views import Views

STATIC = Path(__file__).parent / "static"

# The first that fits counts.
_STATUS = (
    (errors.ParameterError, 400),
    (errors.MissingFileError, 404),
    (errors.OutputError, 503),
    (errors.StoreError, 503),
    (errors.NarrowsError, 422),
)
# An absolute path in quotes; the group is its last part.
_PLACE = re.compile(r"'/(?:(?!'[ ,;:.)]).)*/((?:(?!'[ ,;:.)])[^/])+)'(?=[ ,;:.)]|$)")
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
    """Make the application that serves a library or a model.

    Parameters
    ----------
    path : str or Path
        A library, or a model, or an encoder.
    training : sequence of str or Path
        Logs of training, and folders of logs or of models.
    writable : bool, default=False
        Whether pictures may be added, changed and removed.
    host : str, default="127.0.0.1"
        The address that it is going to listen on: requests to another host name are refused.
    token : str, optional
        Required of every request, as a bearer token or a cookie.
    cache : Path, optional
        The folder in which maps are stored; by default the user's cache.
    public_url : str, optional
        The address by which others reach it through a reverse proxy, such as
        ``"https://narrows.example.com"``: accepted beside the local ones, and used in absolute
        links.

    Returns
    -------
    Starlette
        An ASGI application.

    Raises
    ------
    ParameterError
        If ``public_url`` is no such address.
    NarrowsError
        If there is no library, model or encoder at ``path``.
    """
    public = None if public_url is None else read_public_url(public_url)
    source = Source(place(path))
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        state = app.state
        state.metrics, state.writable = metrics, writable
        state.training = [Path(one) for one in training]
        state.source, state.uploads = source, Uploads()
        state.inference, state.turn = Worker("inference"), asyncio.Lock()
        # One thread each, since every thread that uses torch or Lance retains memory of theirs.
        state.changes, state.opening = Worker("changes"), Worker("opening")
        state.match = Batcher(_match, state.inference, metrics.batch)
        state.encode = Batcher(Served.encode, state.inference, metrics.batch)
        state.place = Batcher(LibraryMap.place, state.inference, metrics.batch)
        state.views = Views(state.inference)
        state.report = ReportMaker(source)
        maps = Maps(source, cache)
        state.map = maps.current
        library = source.now().library
        if library is not None and len(library):
            maps.current()  # computes the map ahead of the first request
        yield
        for worker in (state.inference, state.changes, state.opening):
            worker.close()
        state.views.close()
        state.uploads.close()
        await state.report.close()
        maps.close()

    return Starlette(
        routes=_routes(),
        lifespan=lifespan,
        middleware=[
            Middleware(_Measured, metrics=metrics),
            Middleware(Guard, host=host, token=token, public=public),
        ],
        exception_handlers={
            errors.NarrowsError: _explain,
            HTTPException: _explain_http,
            TooLargeError: _explain_size,
            BusyError: _explain_size,
            ClientDisconnect: _gone,
            Exception: _fault,
        },
    )


def _match(key: tuple[Any, ...], items: list[Any]) -> Any:
    served, by, *options = key
    return served.match(by, dict(options), items)


def _routes() -> list[Route | Mount]:
    return [
        Route("/", routes.index),
        Route("/report", routes.report_page),
        Route("/api/health", routes.health),
        Route("/api/info", routes.info),
        Route("/api/metrics", routes.metrics),
        Route("/api/openapi.json", routes.openapi),
        Route("/api/match", routes.match, methods=["POST"]),
        Route("/api/items", routes.items),
        Route("/api/items", routes.add, methods=["POST"]),
        Route("/api/items/{id}", routes.item),
        Route("/api/items/{id}", routes.change, methods=["PATCH"]),
        Route("/api/items/{id}", routes.remove, methods=["DELETE"]),
        Route("/api/items/{id}/{kind}", routes.view),
        Route("/api/encode", routes.encode, methods=["POST"]),
        Route("/api/decode", routes.decode, methods=["POST"]),
        Route("/api/reconstruct", routes.reconstruct, methods=["POST"]),
        Route("/api/denoise", routes.denoise, methods=["POST"]),
        Route("/api/latent", routes.latent),
        Route("/api/sample", routes.sample, methods=["POST"]),
        Route("/api/map", routes.map_points),
        Route("/api/map", routes.map_place, methods=["POST"]),
        Route("/api/map/legend", routes.map_legend),
        Route("/api/map/ids", routes.map_ids),
        Route("/api/training", routes.training),
        Route("/api/report", routes.report),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


class _Measured:
    """Middleware that counts requests and their time."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

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
            # Counts are kept by route: strangers can request any number of different addresses.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(scope["method"], route, status, time.perf_counter() - start)


async def _explain(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    why = str(error)
    if status != 400:  # those errors repeat the request's own words
        why = _PLACE.sub(r"'\1'", why[:_LONGEST])
    return _said(request, why, status)


async def _explain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (it is registered for these)
    return _said(request, error.detail, error.status_code, error.headers)


def _said(
    request: Request, why: str, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    # Clients are not told in which folder the library lies.
    path = request.app.state.source.path
    places = [str(path.absolute()), str(path)] if isinstance(path, Path) else [str(path)]
    shown = why
    for where in places:
        shown = shown.replace(printable(where), path.name)
    # What was asked may hold what is no text.
    shown = printable(shown)
    return JSONResponse({"error": shown}, status, headers)


async def _explain_size(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 503 if isinstance(error, BusyError) else 413)


async def _gone(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=400)  # nobody reads it


async def _fault(request: Request, error: Exception) -> Response:
    _log.error("a fault in Narrows, at %s", request.url.path, exc_info=error)
    return JSONResponse({"error": "a fault in Narrows; see the server's log"}, 500)
