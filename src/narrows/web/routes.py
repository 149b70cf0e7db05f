"""What each address answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from narrows import __version__
from narrows.errors import DataError, LibraryError, ParameterError
from narrows.web.openapi import KINDS, describe
from narrows.web.parameters import read_query
from narrows.web.security import REPORT
from narrows.web.served import Served, plain
from narrows.web.training import read_runs

_MOST_FILES, _MOST_CODES, _MOST_SAMPLES = 64, 256, 64
_PNG = "image/png"
_STATIC = Path(__file__).parent / "static"
_LARGEST = 2**31 - 1
_LARGEST_CODE = 1e6


def _served(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


async def _offload(function: Callable[..., Any], *given: Any) -> Any:
    """Run what takes its time where it holds up no other request."""
    return await run_in_threadpool(function, *given)


async def _uploads(request: Request, most: int) -> list[bytes]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "send the picture as multipart/form-data, in the field 'file'")
    async with request.form(max_files=most, max_fields=0) as form:
        files = [one for one in form.getlist("file") if isinstance(one, UploadFile)]
        if not files or len(files) != len(form.multi_items()):
            raise ParameterError("the field 'file' is missing, or others are there; send one file")
        return [await one.read() for one in files]


async def _row(request: Request, number: int | None) -> Any:
    """Return the row that a request is about: of the library, or of the picture that it sends."""
    served = _served(request)
    if number is not None:
        return (await _offload(lambda: served.opened().read([number])))[0]
    contents = (await _uploads(request, 1))[0]
    return await _offload(served.read, contents)


async def _json(request: Request) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(415, "send JSON, with the content type application/json")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise ParameterError("the body is no JSON object; send one")
    return body


async def health(request: Request) -> Response:
    """Say that the server is there."""
    read_query(request.query_params)
    return JSONResponse({"status": "ok", "version": __version__})


async def info(request: Request) -> Response:
    """Tell what is served."""
    read_query(request.query_params)
    state = request.app.state
    facts = await _offload(_served(request).info)
    return JSONResponse({**facts, "writable": state.writable, "training": bool(state.training)})


async def metrics(request: Request) -> Response:
    """Tell a monitoring system how things go."""
    read_query(request.query_params)
    library = _served(request).library
    text = request.app.state.metrics.text(0 if library is None else len(library))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def openapi(request: Request) -> Response:
    """Describe all this."""
    read_query(request.query_params)
    return JSONResponse(describe(__version__, writable=request.app.state.writable))


async def match(request: Request) -> Response:
    """Find the nearest pictures."""
    wanted = read_query(
        request.query_params, "id", "k", "metric", "where", "rerank", "n_candidates"
    )
    number = wanted.pop("id")
    if wanted["rerank"] == "none":
        wanted["rerank"] = None
    _served(request).opened()
    by = "file" if number is None else "id"
    if number is None:
        item = await _row(request, None)
    else:
        item = number
        await _offload(_served(request).item, number)  # one who asks wrongly spoils no batch
    answer = await request.app.state.match((by, *sorted(wanted.items())), item)
    return JSONResponse(answer)


async def items(request: Request) -> Response:
    """List pictures of the library, by a filter or by their ids."""
    wanted = read_query(request.query_params, "ids", "where", "limit", "offset")
    served = _served(request)
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
    contents = await _uploads(request, _MOST_FILES)
    answer = await _offload(_served(request).add, contents)
    return JSONResponse(answer, 201)


def _number(request: Request) -> int:
    word = request.path_params["id"]
    if not (word.isascii() and word.isdecimal() and len(word) <= 10 and int(word) <= _LARGEST):
        raise HTTPException(404, f"there is no picture {word[:40]!r}; ids are whole numbers")
    return int(word)


async def _found(request: Request) -> Any:
    try:
        return await _offload(_served(request).item, _number(request))
    except ParameterError as error:
        raise HTTPException(404, str(error)) from error


async def item(request: Request) -> Response:
    """Tell all of one picture."""
    read_query(request.query_params)
    served, one = _served(request), await _found(request)
    code = await _offload(lambda: one.code)
    return JSONResponse({**served.describe(one), "code": code.tolist()})


async def change(request: Request) -> Response:
    """Write columns of one picture."""
    _check_writable(request)
    read_query(request.query_params)
    one, body = await _found(request), await _json(request)
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or len(body) > 1:
        raise ParameterError('the body has no metadata; send {"metadata": {column: value}}')
    changed = await _offload(_served(request).change, one.id, metadata)
    return JSONResponse(_served(request).describe(changed))


async def remove(request: Request) -> Response:
    """Remove one picture."""
    _check_writable(request)
    read_query(request.query_params)
    one = await _found(request)
    await _offload(_served(request).remove, one.id)
    return Response(status_code=204)


def _check_writable(request: Request) -> None:
    if not request.app.state.writable:
        raise HTTPException(403, "the library is served to be read; start with --writable")


async def view(request: Request) -> Response:
    """Show one picture of the library."""
    read_query(request.query_params)
    served, kind = _served(request), request.path_params["kind"]
    if kind not in KINDS:
        raise HTTPException(404, f"there is no {kind[:40]!r}; ask for {', '.join(KINDS)}")
    one = await _found(request)
    # Pictures never change, what is restored from them does when the model does.
    tag = f'"{served.model.fingerprint_[:16]}-{one.id}-{kind}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(await _offload(served.view, one.id, kind), 200, headers, _PNG)


async def encode(request: Request) -> Response:
    """Encode pictures."""
    read_query(request.query_params)
    served = _served(request)
    contents = await _uploads(request, _MOST_FILES)
    rows = [await _offload(served.read, one) for one in contents]
    codes = [await request.app.state.encode((), row) for row in rows]
    return JSONResponse({"codes": [code.tolist() for code in codes]})


async def decode(request: Request) -> Response:
    """Decode codes: to one PNG file if that is asked for, or to data URIs."""
    read_query(request.query_params)
    served, body = _served(request), await _json(request)
    codes = body.get("codes")
    served.whole()
    if not isinstance(codes, list) or not 1 <= len(codes) <= _MOST_CODES or len(body) > 1:
        raise ParameterError(f'send {{"codes": [[...], ...]}} of 1 to {_MOST_CODES} codes')
    width = served.model.spec_.code_width
    for code in codes:
        if not isinstance(code, list) or len(code) != width or not all(map(_is_number, code)):
            raise ParameterError(
                f"a code is no list of {width} numbers between -{_LARGEST_CODE:g} and "
                f"{_LARGEST_CODE:g}; send such"
            )
    if not served.shows_pictures:
        raise DataError("the model's rows are no pictures; decode its codes in Python")
    restored = await _offload(served.decode, codes)
    if len(codes) == 1 and _PNG in request.headers.get("accept", ""):
        return Response(await _offload(served.png, restored[0]), media_type=_PNG)
    pictures = await _offload(lambda: [served.picture(row) for row in restored])
    return JSONResponse({"pictures": pictures})


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= _LARGEST_CODE  # which what is no number is not
    )


async def reconstruct(request: Request) -> Response:
    """Encode and decode one picture."""
    wanted = read_query(request.query_params, "id")
    row = await _row(request, wanted["id"])
    return JSONResponse(await _offload(_served(request).reconstruct, row))


async def denoise(request: Request) -> Response:
    """Damage one picture, as wished, and restore it."""
    wanted = read_query(request.query_params, "id", "corruption", "amount", "seed")
    row = await _row(request, wanted.pop("id"))
    return JSONResponse(
        await _offload(lambda: _served(request).denoise(row, **wanted)),
    )


async def latent(request: Request) -> Response:
    """Tell how the code's units vary."""
    read_query(request.query_params)
    return JSONResponse(await _offload(_served(request).latent))


async def sample(request: Request) -> Response:
    """Draw new pictures."""
    read_query(request.query_params)
    body = await _json(request)
    count, seed = body.get("n", 12), body.get("seed", 0)
    for name, value, low, high in (("n", count, 1, _MOST_SAMPLES), ("seed", seed, 0, _LARGEST)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ParameterError(
                f"{name}={str(value)[:40]!r} is not allowed; use an integer from {low} to {high}"
            )
    return JSONResponse(plain(await _offload(_served(request).sample, count, seed)))


async def _map(request: Request) -> Any:
    """Return the map of the library as it is now."""
    library = await _offload(_served(request).opened)
    if not len(library):
        raise LibraryError("the library is empty, so there is no map; add pictures to it first")
    return await _offload(request.app.state.map)


async def map_points(request: Request) -> Response:
    """Give every picture's place and colour, nine bytes each."""
    wanted = read_query(request.query_params, "color")
    shown = await _map(request)
    state = shown.state
    found = await _offload(shown.bytes, wanted["color"])
    if found is None:
        return JSONResponse({"state": "computing"}, 202)
    headers = {"X-Map-State": state, "Cache-Control": "no-store"}
    return Response(found, 200, headers, "application/octet-stream")


async def map_legend(request: Request) -> Response:
    """Say what the map's colours stand for."""
    wanted = read_query(request.query_params, "color")
    found = await _map(request)
    colours = await _offload(found.colours, wanted["color"])
    if colours is None:
        return JSONResponse({"state": "computing"}, 202)
    return JSONResponse({"count": len(found.ids), "state": found.state, **colours[1]})


async def map_ids(request: Request) -> Response:
    """Give every picture's id, in the map's order."""
    read_query(request.query_params)
    ids = (await _map(request)).ids.astype("<u4").tobytes()
    return Response(ids, media_type="application/octet-stream")


async def map_place(request: Request) -> Response:
    """Place one picture on the map."""
    wanted = read_query(request.query_params, "id")
    found = await _map(request)
    if wanted["id"] is None:
        code = await request.app.state.encode((), await _row(request, None))
    else:
        code = await _offload(lambda: _served(request).item(wanted["id"]).code)
    x, y = await _offload(found.place, code)
    return JSONResponse({"x": x, "y": y})


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
    state, why = request.app.state.report.state()
    if state == "failed":
        raise DataError(f"there is no report: {why}")
    if state == "computing":
        return JSONResponse({"state": state}, 202)
    return JSONResponse({"state": state, "url": "/report"})


async def report_page(request: Request) -> Response:
    """Show the report."""
    read_query(request.query_params)
    page = request.app.state.report.page
    if not page.exists():
        raise HTTPException(404, "the report is not made yet; ask for /api/report")
    headers = {"Content-Security-Policy": REPORT}
    return Response(await _offload(page.read_bytes), 200, headers, "text/html")


async def index(request: Request) -> Response:
    """Show the page."""
    read_query(request.query_params)
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})
