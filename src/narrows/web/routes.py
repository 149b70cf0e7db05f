"""What each address answers."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from narrows import __version__
from narrows.errors import DataError, ParameterError
from narrows.web.json_body import MOST_BYTES, read_json, refuse_body
from narrows.web.maps import LibraryMap
from narrows.web.openapi import KINDS, describe
from narrows.web.parameters import read_query
from narrows.web.security import REPORT
from narrows.web.snapshot import Served, data_uri
from narrows.web.training import read_runs

_MOST_CODES, _MOST_SAMPLES = 256, 64
# Of JSON.
_BYTES_OF_NUMBER = 32
# Codes that are decoded at a time.
_DECODED = 16
_PNG = "image/png"
_STATIC = Path(__file__).parent / "static"
_LARGEST = 2**31 - 1
_LARGEST_CODE = 1e6


async def _now(request: Request) -> Served:
    """Return what is served now; a request is answered from this alone."""
    source = request.app.state.source
    if source.is_current():
        served: Served = source.latest
        return served
    opened: Served = await request.app.state.opening(source.now)
    return opened


async def _offload(function: Callable[..., Any], *given: Any) -> Any:
    """Run what takes its time where it holds up no other request."""
    return await run_in_threadpool(function, *given)


async def _row(request: Request, served: Served, number: int | None) -> Any:
    """Return the row that a request is about: of the library, or of the picture that it sends."""
    if number is not None:
        refuse_body(request)
        return (await _offload(lambda: served.opened().read([number])))[0]
    return (await request.app.state.uploads.rows(request, served, 1))[0]


def _answered(
    request: Request, answer: dict[str, Any], status: int = 200, **options: Any
) -> JSONResponse:
    """Answer, with what has to be said of the pictures that were sent."""
    notes = getattr(request.state, "notes", None)
    if notes is not None and (said := notes.said()):
        answer = {**answer, "warnings": [words for words, _ in said]}
    return JSONResponse(answer, status, **options)


async def _sized(request: Request, served: Served, number: int | None) -> Any:
    """Return the same, and the size that the picture has."""
    if number is not None:
        refuse_body(request)
        return await _offload(served.stored, number)
    return (await request.app.state.uploads.read(request, served, served.read_sized, 1))[0]


async def health(request: Request) -> Response:
    """Say that the server is there."""
    read_query(request.query_params)
    return JSONResponse({"status": "ok", "version": __version__})


async def info(request: Request) -> Response:
    """Tell what is served."""
    read_query(request.query_params)
    state = request.app.state
    facts = (await _now(request)).info()
    return JSONResponse({**facts, "writable": state.writable, "training": bool(state.training)})


async def metrics(request: Request) -> Response:
    """Tell a monitoring system how things go."""
    read_query(request.query_params)
    library = (await _now(request)).library
    text = request.app.state.metrics.text(0 if library is None else len(library))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def openapi(request: Request) -> Response:
    """Describe all this."""
    read_query(request.query_params)
    return JSONResponse(describe(__version__, writable=request.app.state.writable))


async def match(request: Request) -> Response:
    """Find the nearest pictures."""
    start = time.perf_counter()
    wanted = read_query(
        request.query_params, "id", "k", "metric", "where", "rerank", "n_candidates"
    )
    number = wanted.pop("id")
    if wanted["rerank"] == "none":
        wanted["rerank"] = None
    served = await _now(request)
    served.opened()
    by = "file" if number is None else "id"
    if number is None:
        item = await _row(request, served, None)
    else:
        refuse_body(request)
        item = number
    found = await request.app.state.match((served, by, *sorted(wanted.items())), item)
    if served.has_small_rows:  # which are files sooner than a thread begins to make them
        answer = served.finish_match(*found)
    else:
        answer = await _offload(served.finish_match, *found)
    return _answered(request, {**answer, "seconds": time.perf_counter() - start})


async def items(request: Request) -> Response:
    """List pictures of the library, by a filter or by their ids."""
    wanted = read_query(request.query_params, "ids", "where", "limit", "offset")
    served = await _now(request)
    if wanted["ids"] is not None:
        found = await _offload(lambda: served.opened().items(wanted["ids"]))
        total = len(found)
    else:
        total, found = await _offload(
            served.page, wanted["where"], wanted["limit"], wanted["offset"]
        )
    return JSONResponse({"total": total, "items": [served.describe(item) for item in found]})


async def add(request: Request) -> Response:
    """Add pictures to the library."""
    _check_writable(request)
    read_query(request.query_params)
    state = request.app.state
    return _answered(request, await state.uploads.add(request, state.source, state.changes), 201)


def _number(request: Request) -> int:
    word = request.path_params["id"]
    if not (word.isascii() and word.isdecimal() and len(word) <= 10 and int(word) <= _LARGEST):
        raise HTTPException(404, f"there is no picture {word[:40]!r}; ids are whole numbers")
    return int(word)


async def _found(request: Request, served: Served) -> Any:
    try:
        return await _offload(served.item, _number(request))
    except ParameterError as error:
        raise HTTPException(404, str(error)) from error


async def item(request: Request) -> Response:
    """Tell all of one picture."""
    read_query(request.query_params)
    served = await _now(request)
    one = await _found(request, served)
    code = await _offload(lambda: one.code)
    return JSONResponse({**served.describe(one), "code": code.tolist()})


async def change(request: Request) -> Response:
    """Write columns of one picture."""
    _check_writable(request)
    read_query(request.query_params)
    served = await _now(request)
    one, body = await _found(request, served), await read_json(request)
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or len(body) > 1:
        raise ParameterError('the body has no metadata; send {"metadata": {column: value}}')
    changed = await request.app.state.changes(request.app.state.source.change, one.id, metadata)
    return JSONResponse(served.describe(changed))


async def remove(request: Request) -> Response:
    """Remove one picture."""
    _check_writable(request)
    read_query(request.query_params)
    one = await _found(request, await _now(request))
    await request.app.state.changes(request.app.state.source.remove, one.id)
    return Response(status_code=204)


def _check_writable(request: Request) -> None:
    if not request.app.state.writable:
        raise HTTPException(403, "the library is served to be read; start with --writable")


async def view(request: Request) -> Response:
    """Show one picture of the library."""
    read_query(request.query_params)
    kind, number = request.path_params["kind"], _number(request)
    if kind not in KINDS:
        raise HTTPException(404, f"there is no {kind[:40]!r}; ask for {', '.join(KINDS)}")
    served = await _now(request)
    # Another library of the same model may come in the place of this one.
    tag = f'"{served.version}-{number}-{kind}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    try:
        shown = await request.app.state.views(served, number, kind)
    except ParameterError as error:
        raise HTTPException(404, str(error)) from error
    return Response(shown.contents, 200, headers, shown.kind)


async def encode(request: Request) -> Response:
    """Encode pictures."""
    read_query(request.query_params)
    served = await _now(request)
    rows = await request.app.state.uploads.rows(request, served)
    encode = request.app.state.encode
    codes = await asyncio.gather(*(encode(served, row) for row in rows))
    return _answered(request, {"codes": [code.tolist() for code in codes]})


async def decode(request: Request) -> Response:
    """Decode codes: to one PNG file if that is asked for, or to data URIs."""
    read_query(request.query_params)
    served = await _now(request)
    width = served.width
    served.whole()
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
    if not served.shows_pictures:
        raise DataError("the model's rows are no pictures; decode its codes in Python")
    files = await _decoded(request, served, codes)
    if len(codes) == 1 and _PNG in request.headers.get("accept", ""):
        return Response(files[0], media_type=_PNG)
    return JSONResponse({"pictures": [data_uri(file) for file in files]})


async def _decoded(request: Request, served: Served, codes: list[list[float]]) -> list[bytes]:
    """Decode some codes at a time, so that others get their turn and little is in memory."""
    state = request.app.state
    if len(codes) == 1:
        return list(await state.inference(served.decode, codes))
    files: list[bytes] = []
    for start in range(0, len(codes), _DECODED):
        async with state.turn:  # of those that want several
            files += await state.inference(served.decode, codes[start : start + _DECODED])
    return files


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= _LARGEST_CODE  # which what is no number is not
    )


async def reconstruct(request: Request) -> Response:
    """Encode and decode one picture."""
    wanted = read_query(request.query_params, "id")
    served = await _now(request)
    given = await _sized(request, served, wanted["id"])
    return _answered(request, await request.app.state.inference(served.reconstruct, given))


async def denoise(request: Request) -> Response:
    """Damage one picture, as wished, and restore it."""
    wanted = read_query(request.query_params, "id", "corruption", "amount", "seed")
    served = await _now(request)
    given = await _sized(request, served, wanted.pop("id"))
    restored = await request.app.state.inference(lambda: served.denoise(given, **wanted))
    return _answered(request, restored)


async def latent(request: Request) -> Response:
    """Tell how the code's units vary."""
    read_query(request.query_params)
    served = await _now(request)
    return JSONResponse((await _offload(lambda: served.spread)).describe())


async def sample(request: Request) -> Response:
    """Draw new pictures."""
    read_query(request.query_params)
    body = await read_json(request)
    count, seed = body.get("n", 12), body.get("seed", 0)
    for name, value, low, high in (("n", count, 1, _MOST_SAMPLES), ("seed", seed, 0, _LARGEST)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ParameterError(
                f"{name}={str(value)[:40]!r} is not allowed; use an integer from {low} to {high}"
            )
    served = await _now(request)
    codes = (await _offload(served.draw, count, seed)).tolist()
    pictures: list[str | None] = [None] * count
    if served.shows_pictures:
        pictures = [data_uri(file) for file in await _decoded(request, served, codes)]
    return JSONResponse({"codes": codes, "pictures": pictures})


async def _map(request: Request) -> tuple[LibraryMap, dict[str, str]]:
    """Return the map of the library as it is now, and headers that say which that is."""
    shown: LibraryMap = await _offload(request.app.state.map)
    return shown, {"X-Map-Version": shown.served.version}


async def map_points(request: Request) -> Response:
    """Give every picture's place and colour, nine bytes each."""
    wanted = read_query(request.query_params, "color")
    shown, headers = await _map(request)
    headers["X-Map-State"] = shown.state
    found = await _offload(shown.bytes, wanted["color"])
    if found is None:
        return JSONResponse({"state": "computing"}, 202)
    return Response(found, 200, headers, "application/octet-stream")


async def map_legend(request: Request) -> Response:
    """Say what the map's colours stand for."""
    wanted = read_query(request.query_params, "color")
    shown, headers = await _map(request)
    colours = await _offload(shown.colours, wanted["color"])
    if colours is None:
        return JSONResponse({"state": "computing"}, 202)
    legend = {"count": len(shown.ids), "state": shown.state, **colours[1]}
    return JSONResponse(legend, headers=headers)


async def map_ids(request: Request) -> Response:
    """Give every picture's id, in the map's order."""
    read_query(request.query_params)
    shown, headers = await _map(request)
    return Response(shown.ids.astype("<u4").tobytes(), 200, headers, "application/octet-stream")


async def map_place(request: Request) -> Response:
    """Place one picture on the map."""
    wanted = read_query(request.query_params, "id")
    shown, headers = await _map(request)
    served, state = shown.served, request.app.state
    if wanted["id"] is None:
        code = await state.encode(served, await _row(request, served, None))
    else:
        refuse_body(request)
        code = await _offload(lambda: served.item(wanted["id"]).code)
    x, y = await state.place(shown, code)
    return _answered(request, {"x": x, "y": y}, headers=headers)


async def training(request: Request) -> Response:
    """Tell how runs of training go."""
    read_query(request.query_params)
    runs, word = await _offload(read_runs, request.app.state.training)
    headers = {"ETag": f'"{word}"', "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return JSONResponse({"runs": runs}, headers=headers)


async def report(request: Request) -> Response:
    """Make the report, and say where it is."""
    read_query(request.query_params)
    maker = request.app.state.report
    state, why = maker.state(await _now(request))
    if state == "failed":
        raise DataError(f"there is no report: {why}")
    if state == "computing":
        return JSONResponse({"state": state}, 202)
    answer = {"state": "ready", "url": "/report", "version": maker.version}
    return JSONResponse({**answer, "current": state == "ready"})


async def report_page(request: Request) -> Response:
    """Show the report."""
    read_query(request.query_params)
    page = request.app.state.report.page
    if page is None:
        raise HTTPException(404, "the report is not made yet; ask for /api/report")
    headers = {"Content-Security-Policy": REPORT}
    return Response(await _offload(page.read_bytes), 200, headers, "text/html")


async def index(request: Request) -> Response:
    """Show the page."""
    read_query(request.query_params)
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})
