"""The API in the words of OpenAPI 3.1, from the same tables that requests are read with."""

from typing import Any

from narrows.web.parameters import PARAMETERS

_ERRORS = {
    400: "A parameter is not allowed.",
    401: "The token is missing or wrong, where one has to be known.",
    403: "Not from here, or the library is served to be read.",
    404: "There is no such picture.",
    413: "Too large.",
    415: "Another kind of content is wanted.",
    422: "It cannot be done with this library, model or picture.",
    503: "Too much is asked for at once, or the library cannot be written.",
}
# Ways to look at a picture of the library.
KINDS = ("picture", "thumbnail", "reconstruction")
_STRING = {"type": "string"}
_NULL_STRING = {"type": ["string", "null"]}
_NUMBER = {"type": "number"}
_INTEGER = {"type": "integer"}
_CODE = {"type": "array", "items": _NUMBER}
_SIZE = {"type": ["array", "null"], "items": _INTEGER}  # height and width
_CODES = {"type": "array", "items": _CODE}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_ITEM = {
    "id": _INTEGER,
    "path": _STRING,
    "metadata": {"type": "object"},
    "picture": _NULL_STRING,
    "thumbnail": _NULL_STRING,
    "reconstruction": _NULL_STRING,
}
_QUERY = _object(
    id={"type": ["integer", "null"]},
    code=_CODE,
    error={"type": ["number", "null"]},
    picture=_NULL_STRING,
    reconstruction=_NULL_STRING,
)
_MATCH = _object(query=_QUERY, matches=_list(_object(**_ITEM, distance=_NUMBER)), seconds=_NUMBER)
_COMPUTING = _object(state={"const": "computing"})
_UNIT = _object(index=_INTEGER, mean=_NUMBER, std=_NUMBER, min=_NUMBER, max=_NUMBER, share=_NUMBER)
_RUN = _object(
    name=_STRING,
    columns=_list(_STRING),
    rows=_list(_list({"type": ["number", "null"]})),
    live={"type": "boolean"},
)


def describe(version: str, *, writable: bool) -> dict[str, Any]:
    """Return the description of everything under ``/api``."""
    paths: dict[str, dict[str, Any]] = {
        "/api/health": {"get": _get("Whether the server is there", {"status": _STRING})},
        "/api/metrics": {"get": _plain("Counts and times for Prometheus", "text/plain")},
        "/api/openapi.json": {"get": _get("This description", {})},
        "/api/info": {"get": _get("What is served", {"version": _STRING, "model": {}})},
        "/api/match": {
            "post": _post(
                "The pictures nearest to one's own, or to one of the library",
                _MATCH,
                ("id", "k", "metric", "where", "rerank", "n_candidates"),
                file="optional",
            )
        },
        "/api/items": {
            "get": _get(
                "Pictures of the library",
                {"total": _INTEGER, "items": _list(_object(**_ITEM))},
                ("ids", "where", "limit", "offset"),
            )
        },
        "/api/items/{id}": {"get": _get("All of one picture", {**_ITEM, "code": _CODE})},
        "/api/encode": {"post": _post("Codes of pictures", _object(codes=_CODES), file="several")},
        "/api/decode": {
            "post": _post(
                "Pictures of codes; one PNG file where Accept asks for image/png",
                _object(pictures=_list(_STRING)),
                body=_object(codes=_CODES),
            )
        },
        "/api/reconstruct": {
            "post": _post(
                "What is left of a picture after encoding and decoding",
                _object(
                    picture=_NULL_STRING,
                    reconstruction=_NULL_STRING,
                    error=_NUMBER,
                    given_size=_SIZE,
                    size=_SIZE,
                ),
                ("id",),
                file="optional",
            )
        },
        "/api/denoise": {
            "post": _post(
                "A picture, damaged as wished, and restored",
                _object(
                    picture=_NULL_STRING,
                    damaged=_NULL_STRING,
                    restored=_NULL_STRING,
                    error_damaged=_NUMBER,
                    error_restored=_NUMBER,
                    given_size=_SIZE,
                    size=_SIZE,
                ),
                ("id", "corruption", "amount", "seed"),
                file="optional",
            )
        },
        "/api/latent": {
            "get": _get("How the code's units vary", {"units": _list(_UNIT), "mean_code": _CODE})
        },
        "/api/sample": {
            "post": _post(
                "New pictures",
                _object(codes=_CODES, pictures=_list(_NULL_STRING)),
                body={
                    "type": "object",
                    "properties": {
                        "n": {"type": "integer", "minimum": 1, "maximum": 64},
                        "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
                    },
                },
            )
        },
        "/api/map": {
            "get": _plain(
                "Every picture's place and colour: all x, then all y, as little-endian float32 "
                "from -1 to 1, then a byte of colour each. The header X-Map-State is preview or "
                "final; X-Map-Version is that of the legend and the ids that belong to it.",
                "application/octet-stream",
                ("color",),
                computing=True,
            ),
            "post": _post("A picture's place", _object(x=_NUMBER, y=_NUMBER), ("id",), "optional"),
        },
        "/api/map/legend": {
            "get": _get(
                "What the map's colours stand for; 255 is for what is missing",
                {"count": _INTEGER, "state": _STRING, "kind": _STRING},
                ("color",),
                computing=True,
            )
        },
        "/api/map/ids": {
            "get": _plain(
                "Every picture's id, little-endian uint32, in the map's order",
                "application/octet-stream",
            )
        },
        "/api/training": {"get": _get("Runs of training", {"runs": _list(_RUN)})},
        "/api/report": {
            "get": _get(
                "Where the report is; a newer one is being made if it is not of the current state",
                {
                    "state": _STRING,
                    "url": _STRING,
                    "version": _STRING,
                    "current": {"type": "boolean"},
                },
                computing=True,
            )
        },
    }
    for kind in KINDS:
        paths[f"/api/items/{{id}}/{kind}"] = {"get": _plain(f"The {kind}", "image/png")}
        content = paths[f"/api/items/{{id}}/{kind}"]["get"]["responses"]["200"]["content"]
        content["image/jpeg"] = content["image/png"]
    for path in ("/api/training", *(f"/api/items/{{id}}/{kind}" for kind in KINDS)):
        paths[path]["get"]["responses"]["304"] = {"description": "If-None-Match is its ETag."}
    if writable:
        _add_writing(paths)
    number = {"name": "id", "in": "path", "required": True, "schema": PARAMETERS["id"].schema}
    for path, methods in paths.items():
        if "{id}" in path:
            for operation in methods.values():
                operation["parameters"] = [number]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Narrows",
            "version": version,
            "description": "A library of pictures and its autoencoder, with the names of the "
            "Python API.",
        },
        "paths": paths,
    }


def _add_writing(paths: dict[str, dict[str, Any]]) -> None:
    added = _object(count=_INTEGER, total=_INTEGER)
    paths["/api/items"]["post"] = _post("Add pictures", added, file="several", status=201)
    one = paths["/api/items/{id}"]
    one["patch"] = _post(
        "Write columns of one picture",
        _object(**_ITEM),
        body=_object(metadata={"type": "object", "minProperties": 1}),
    )
    one["delete"] = _operation("Remove one picture", {204: {"description": "It is gone."}})


def _get(
    summary: str,
    properties: dict[str, Any],
    names: tuple[str, ...] = (),
    *,
    computing: bool = False,
) -> dict[str, Any]:
    answers = {200: _answer("application/json", _object(**properties))}
    if computing:
        answers[202] = _answer("application/json", _COMPUTING, "It is being computed.")
    return _operation(summary, answers, names)


def _plain(
    summary: str, kind: str, names: tuple[str, ...] = (), *, computing: bool = False
) -> dict[str, Any]:
    answers = {200: _answer(kind, {} if kind.startswith("text") else _STRING)}
    if computing:
        answers[202] = _answer("application/json", _COMPUTING, "It is being computed.")
    return _operation(summary, answers, names)


def _post(
    summary: str,
    answer: dict[str, Any],
    names: tuple[str, ...] = (),
    file: str = "",
    *,
    body: dict[str, Any] | None = None,
    status: int = 200,
) -> dict[str, Any]:
    operation = _operation(summary, {status: _answer("application/json", answer)}, names)
    if body is not None:
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": content}
    if file:
        one = {"type": "string", "contentMediaType": "application/octet-stream"}
        field = {"type": "array", "items": one, "maxItems": 64} if file == "several" else one
        content = {"multipart/form-data": {"schema": _object(file=field)}}
        # Without an id.
        operation["requestBody"] = {"required": file == "several", "content": content}
    return operation


def _operation(
    summary: str, answers: dict[int, Any], names: tuple[str, ...] = ()
) -> dict[str, Any]:
    refused = _object(error=_STRING)
    failures = {code: _answer("application/json", refused, why) for code, why in _ERRORS.items()}
    return {
        "summary": summary,
        "parameters": [
            {
                "name": name,
                "in": "query",
                "description": PARAMETERS[name].about,
                "schema": PARAMETERS[name].schema,
                "explode": False,
            }
            for name in names
        ],
        "responses": {str(code): answer for code, answer in {**answers, **failures}.items()},
    }


def _answer(kind: str, schema: dict[str, Any], about: str = "As asked.") -> dict[str, Any]:
    return {"description": about, "content": {kind: {"schema": schema}}}
