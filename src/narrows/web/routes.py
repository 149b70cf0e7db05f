"""The addresses of the API and the page, and the functions that answer them.

Training runs are read from the logs that ``narrows train --log`` writes during training.
"""

import asyncio
import csv
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from narrows import __version__
from narrows.containment import read_regular
from narrows.errors import DataError, ParameterError
from narrows.library import Item
from narrows.texts import as_text, unguarded
from narrows.web.background import LibraryMap
from narrows.web.openapi import KINDS, describe
from narrows.web.requests import LARGEST, MOST_BYTES, read_json, read_query, refuse_body
from narrows.web.security import REPORT
from narrows.web.snapshot import Sized, Snapshot, data_uri

_MOST_CODES, _MOST_SAMPLES = 256, 64
_BYTES_OF_NUMBER = 32  # in JSON
# Codes that are decoded at a time.
_DECODED = 16
_PNG = "image/png"
_STATIC = Path(__file__).parent / "static"
_LARGEST_CODE = 1e6
# A run is live if its log was written within this many seconds, unless an epoch takes longer.
_LIVE = 30.0
# The number of logs, and the bytes of each, at most.
_MOST_LOGS, _LARGEST_LOG = 100, 2**26


def routes() -> list[Route | Mount]:
    """Return the routes of the application."""
    return [
        _route("/", _index),
        _route("/report", _report_page),
        _route("/api/health", _health),
        _route("/api/info", _info),
        _route("/api/metrics", _metrics),
        _route("/api/openapi.json", _openapi),
        _route("/api/match", _match, "POST"),
        _route("/api/items", _items),
        _route("/api/items", _add, "POST", writes=True),
        _route("/api/items/{id}", _item),
        _route("/api/items/{id}", _change, "PATCH", writes=True),
        _route("/api/items/{id}", _remove, "DELETE", writes=True),
        _route("/api/items/{id}/{kind}", _view),
        _route("/api/encode", _encode, "POST"),
        _route("/api/decode", _decode, "POST"),
        _route("/api/reconstruct", _reconstruct, "POST"),
        _route("/api/denoise", _denoise, "POST"),
        _route("/api/latent", _latent),
        _route("/api/sample", _sample, "POST"),
        _route("/api/map", _map_points),
        _route("/api/map", _map_place, "POST"),
        _route("/api/map/legend", _map_legend),
        _route("/api/map/ids", _map_ids),
        _route("/api/training", _training),
        _route("/api/report", _report),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]


def _route(
    path: str,
    answer: Callable[[Request], Awaitable[Response]],
    method: str = "GET",
    *,
    writes: bool = False,
) -> Route:
    """Make a route whose answer finds the address's parameters in ``request.state.query``."""

    async def endpoint(request: Request) -> Response:
        if writes and not request.app.state.writable:
            raise HTTPException(403, "the library is served to be read; start with --writable")
        request.state.query = read_query(request)
        return await answer(request)

    return Route(path, endpoint, methods=[method])


async def _now(request: Request) -> Snapshot:
    """Return the current snapshot, by which the whole request is answered."""
    source = request.app.state.source
    if source.is_current():
        snapshot: Snapshot = source.latest
        return snapshot
    opened: Snapshot = await request.app.state.opening(source.now)
    return opened


async def _sized(request: Request, snapshot: Snapshot) -> Sized:
    """Return the row of a request's picture, which it sends or names by its id, and its size."""
    number = request.state.query["id"]
    if number is None:
        sized: Sized = await _upload(request, snapshot, snapshot.read_sized)
        return sized
    refuse_body(request)
    return await run_in_threadpool(snapshot.stored, number)


async def _upload(request: Request, snapshot: Snapshot, read: Callable[..., Any]) -> Any:
    """Read the one picture that a request sends."""
    return (await request.app.state.uploads.read(request, snapshot, read, 1))[0]


def _json(
    request: Request, answer: dict[str, Any], status: int = 200, **options: Any
) -> JSONResponse:
    """Answer in JSON, with the warnings about the pictures that were sent."""
    notes = getattr(request.state, "notes", None)
    if notes is not None and (warnings := notes.messages()):
        answer = {**answer, "warnings": [words for words, _ in warnings]}
    return JSONResponse(answer, status, **options)


def _computing() -> JSONResponse:
    return JSONResponse({"state": "computing"}, 202)


async def _health(_: Request) -> Response:
    """Answer that the server is running."""
    return JSONResponse({"status": "ok", "version": __version__})


async def _info(request: Request) -> Response:
    """Describe the library and the model."""
    state = request.app.state
    facts = (await _now(request)).info()
    return JSONResponse({**facts, "writable": state.writable, "training": bool(state.training)})


async def _metrics(request: Request) -> Response:
    """Return counts and times for a monitoring system."""
    library = (await _now(request)).library
    text = request.app.state.metrics.text(0 if library is None else len(library))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def _openapi(request: Request) -> Response:
    """Return the description of the API."""
    return JSONResponse(describe(__version__, writable=request.app.state.writable))


async def _match(request: Request) -> Response:
    """Find the nearest pictures."""
    start = time.perf_counter()
    options = dict(request.state.query)
    number = options.pop("id")
    if options["rerank"] == "none":
        options["rerank"] = None
    snapshot = await _now(request)
    snapshot.require_library()
    if number is None:
        by, query = "file", await _upload(request, snapshot, snapshot.read)
    else:
        refuse_body(request)
        by, query = "id", number
    result = await request.app.state.match((snapshot, by, *sorted(options.items())), query)
    if snapshot.has_small_rows:  # whose files are made before a thread would even start
        answer = snapshot.finish_match(*result)
    else:
        answer = await run_in_threadpool(snapshot.finish_match, *result)
    return _json(request, {**answer, "seconds": time.perf_counter() - start})


async def _items(request: Request) -> Response:
    """List pictures of the library, by a filter or by their ids."""
    ids, *page = request.state.query.values()
    snapshot = await _now(request)
    if ids is not None:
        items = await run_in_threadpool(lambda: snapshot.require_library().items(ids))
        total = len(items)
    else:
        total, items = await run_in_threadpool(snapshot.page, *page)
    return JSONResponse({"total": total, "items": [snapshot.describe(item) for item in items]})


async def _add(request: Request) -> Response:
    """Add pictures to the library."""
    state = request.app.state
    return _json(request, await state.uploads.add(request, state.source, state.changes), 201)


def _number(request: Request) -> int:
    word = request.path_params["id"]
    if not (word.isascii() and word.isdecimal() and len(word) <= 10 and int(word) <= LARGEST):
        raise HTTPException(404, f"there is no picture {word[:40]!r}; ids are whole numbers")
    return int(word)


async def _find(request: Request, snapshot: Snapshot) -> Item:
    try:
        return await run_in_threadpool(snapshot.item, _number(request))
    except ParameterError as error:
        raise HTTPException(404, str(error)) from error


async def _item(request: Request) -> Response:
    """Describe one picture."""
    snapshot = await _now(request)
    item = await _find(request, snapshot)
    code = await run_in_threadpool(lambda: item.code)
    return JSONResponse({**snapshot.describe(item), "code": code.tolist()})


async def _change(request: Request) -> Response:
    """Write columns of one picture."""
    snapshot, state = await _now(request), request.app.state
    item, body = await _find(request, snapshot), await read_json(request)
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or len(body) > 1:
        raise ParameterError('the body has no metadata; send {"metadata": {column: value}}')
    return JSONResponse(
        snapshot.describe(await state.changes(state.source.change, item.id, metadata))
    )


async def _remove(request: Request) -> Response:
    """Remove one picture."""
    item = await _find(request, await _now(request))
    await request.app.state.changes(request.app.state.source.remove, item.id)
    return Response(status_code=204)


async def _view(request: Request) -> Response:
    """Show one picture of the library."""
    kind, number = request.path_params["kind"], _number(request)
    if kind not in KINDS:
        raise HTTPException(404, f"there is no {kind[:40]!r}; ask for {', '.join(KINDS)}")
    snapshot = await _now(request)
    # Another library of the same model may replace this one.
    tag = f'"{snapshot.version}-{number}-{kind}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    try:
        shown = await request.app.state.views(snapshot, number, kind)
    except ParameterError as error:
        raise HTTPException(404, str(error)) from error
    return Response(shown.contents, 200, headers, shown.kind)


async def _encode(request: Request) -> Response:
    """Encode pictures."""
    snapshot, state = await _now(request), request.app.state
    rows = await state.uploads.read(request, snapshot, snapshot.read)
    codes = await asyncio.gather(*(state.encode(snapshot, row) for row in rows))
    return _json(request, {"codes": [code.tolist() for code in codes]})


async def _decode(request: Request) -> Response:
    """Decode codes: to one PNG file where Accept asks for it, or to data URIs."""
    snapshot = await _now(request)
    width = snapshot.width
    snapshot.require_decoder()
    body = await read_json(request, MOST_BYTES + _MOST_CODES * width * _BYTES_OF_NUMBER)
    codes = body.get("codes")
    if not isinstance(codes, list) or not 1 <= len(codes) <= _MOST_CODES or len(body) > 1:
        raise ParameterError(f'send {{"codes": [[...], ...]}} of 1 to {_MOST_CODES} codes')
    for code in codes:
        if not isinstance(code, list) or len(code) != width or not all(map(_is_number, code)):
            raise ParameterError(
                f"a code is no list of {width} numbers between -{_LARGEST_CODE:g} and "
                f"{_LARGEST_CODE:g}; send such"
            )
    if not snapshot.shows_pictures:
        raise DataError("the model's rows are no pictures; decode its codes in Python")
    files = await _decoded(request, snapshot, codes)
    if len(codes) == 1 and _PNG in request.headers.get("accept", ""):
        return Response(files[0], media_type=_PNG)
    return JSONResponse({"pictures": [data_uri(file) for file in files]})


async def _decoded(request: Request, snapshot: Snapshot, codes: list[list[float]]) -> list[bytes]:
    """Decode a few codes at a time, so that other requests get their turn and memory stays low."""
    state = request.app.state
    if len(codes) == 1:
        return list(await state.inference(snapshot.decode, codes))
    files: list[bytes] = []
    for start in range(0, len(codes), _DECODED):
        async with state.turn:  # among requests with several codes
            files += await state.inference(snapshot.decode, codes[start : start + _DECODED])
    return files


def _is_number(value: Any) -> bool:
    # NaN is not below the bound either.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= _LARGEST_CODE


async def _reconstruct(request: Request) -> Response:
    """Encode and decode one picture."""
    snapshot = await _now(request)
    picture = await _sized(request, snapshot)
    return _json(request, await request.app.state.inference(snapshot.reconstruct, picture))


async def _denoise(request: Request) -> Response:
    """Damage one picture, and restore it."""
    snapshot = await _now(request)
    picture = await _sized(request, snapshot)
    _, *damage = request.state.query.values()
    return _json(request, await request.app.state.inference(snapshot.denoise, picture, *damage))


async def _latent(request: Request) -> Response:
    """Describe how the units of the code vary."""
    snapshot = await _now(request)
    return JSONResponse((await run_in_threadpool(lambda: snapshot.spread)).describe())


async def _sample(request: Request) -> Response:
    """Draw new pictures."""
    body = await read_json(request)
    count, seed = body.get("n", 12), body.get("seed", 0)
    for name, value, low, high in (("n", count, 1, _MOST_SAMPLES), ("seed", seed, 0, LARGEST)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ParameterError(
                f"{name}={str(value)[:40]!r} is not allowed; use an integer from {low} to {high}"
            )
    snapshot = await _now(request)
    codes = (await run_in_threadpool(snapshot.draw, count, seed)).tolist()
    pictures: list[str | None] = [None] * count
    if snapshot.shows_pictures:
        pictures = [data_uri(file) for file in await _decoded(request, snapshot, codes)]
    return JSONResponse({"codes": codes, "pictures": pictures})


async def _map(request: Request) -> tuple[LibraryMap, dict[str, str]]:
    """Return the map of the current library, and headers with its version."""
    shown: LibraryMap = await run_in_threadpool(request.app.state.map)
    return shown, {"X-Map-Version": shown.snapshot.version}


async def _map_points(request: Request) -> Response:
    """Return every picture's place and colour, nine bytes each."""
    shown, headers = await _map(request)
    headers["X-Map-State"] = shown.state
    contents = await run_in_threadpool(shown.bytes, request.state.query["color"])
    if contents is None:
        return _computing()
    return Response(contents, 200, headers, "application/octet-stream")


async def _map_legend(request: Request) -> Response:
    """Describe what the map's colours stand for."""
    shown, headers = await _map(request)
    colours = await run_in_threadpool(shown.colours, request.state.query["color"])
    if colours is None:
        return _computing()
    legend = {"count": len(shown.ids), "state": shown.state, **colours[1]}
    return JSONResponse(legend, headers=headers)


async def _map_ids(request: Request) -> Response:
    """Return every picture's id, in the map's order."""
    shown, headers = await _map(request)
    return Response(shown.ids.astype("<u4").tobytes(), 200, headers, "application/octet-stream")


async def _map_place(request: Request) -> Response:
    """Place one picture on the map."""
    shown, headers = await _map(request)
    snapshot, state, number = shown.snapshot, request.app.state, request.state.query["id"]
    if number is None:
        code = await state.encode(snapshot, await _upload(request, snapshot, snapshot.read))
    else:
        refuse_body(request)
        code = await run_in_threadpool(lambda: snapshot.item(number).code)
    x, y = await state.place(shown, code)
    return _json(request, {"x": x, "y": y}, headers=headers)


async def _training(request: Request) -> Response:
    """Return the runs of training."""
    runs, word = await run_in_threadpool(read_runs, request.app.state.training)
    headers = {"ETag": f'"{word}"', "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return JSONResponse({"runs": runs}, headers=headers)


async def _report(request: Request) -> Response:
    """Start the report if necessary, and return its address."""
    maker = request.app.state.report
    state, why = maker.state(await _now(request))
    if state == "failed":
        raise DataError(f"there is no report: {why}")
    if state == "computing":
        return _computing()
    answer = {"state": "ready", "url": "/report", "version": maker.version}
    return JSONResponse({**answer, "current": state == "ready"})


async def _report_page(request: Request) -> Response:
    """Return the report's page."""
    page = request.app.state.report.page
    if page is None:
        raise HTTPException(404, "the report is not made yet; ask for /api/report")
    headers = {"Content-Security-Policy": REPORT}
    return Response(await run_in_threadpool(page.read_bytes), 200, headers, "text/html")


async def _index(_: Request) -> Response:
    """Return the page."""
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})


def read_runs(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], str]:
    """Read all logs, and return them with a hash of their content.

    Parameters
    ----------
    paths : sequence of Path
        Logs, and folders of logs and of models with a ``history.csv``.
    """
    runs, seen = [], sha256()
    for name, file in _files(paths):
        try:
            state = file.stat()
            text = read_regular(file, _LARGEST_LOG, follow=True).decode(errors="replace")
        except OSError:
            continue  # removed since it was listed, no regular file, or too large
        live = file.name != "history.csv" and time.time() - state.st_mtime < _LIVE
        seen.update(f"{name}\n{live}\n{text}".encode())
        columns, rows = _parse(text)
        runs.append({"name": name, "columns": columns, "rows": rows, "live": live})
    return runs, seen.hexdigest()[:32]


def _files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    logs = []
    for path in paths:
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        logs += [(as_text(file.stem), file) for file in files]
        if path.is_dir():
            models = sorted(path.glob("*/history.csv"))
            logs += [(as_text(file.parent.name), file) for file in models]
    return logs[:_MOST_LOGS]


def _parse(text: str) -> tuple[list[str], list[list[float | None]]]:
    """Parse complete lines of numbers; the last line may be half written."""
    lines = [line for line in csv.reader(text[: text.rfind("\n") + 1].splitlines()) if line]
    if not lines:
        return [], []
    columns = [unguarded(name) for name in lines[0]]
    whole = [line for line in lines[1:] if len(line) == len(columns)]
    return columns, [[_figure(word) for word in line] for line in whole]


def _figure(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
