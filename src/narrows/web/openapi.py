"""The description of the API in OpenAPI 3.1, from the same tables that requests are read with."""

from typing import Any

from narrows.web.requests import PARAMETERS, QUERIES

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
# The views of a picture of the library.
KINDS = ("picture", "thumbnail", "reconstruction")
_BYTES = "application/octet-stream"


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_STRING = {"type": "string"}
_NULL_STRING = {"type": ["string", "null"]}
_NUMBER = {"type": "number"}
_NULL_NUMBER = {"type": ["number", "null"]}
_INTEGER = {"type": "integer"}
_BOOLEAN = {"type": "boolean"}
_CODE = _list(_NUMBER)
_CODES = _list(_CODE)
_SIZE = {"type": ["array", "null"], "items": _INTEGER}  # height and width
_SIZES = {"given_size": _SIZE, "size": _SIZE}
_ITEM = {
    "id": _INTEGER,
    "path": _STRING,
    "metadata": {"type": "object"},
    **dict.fromkeys(KINDS, _NULL_STRING),
}
_QUERY = _object(
    id={"type": ["integer", "null"]},
    code=_CODE,
    error=_NULL_NUMBER,
    picture=_NULL_STRING,
    reconstruction=_NULL_STRING,
)
_MATCH = _object(query=_QUERY, matches=_list(_object(**_ITEM, distance=_NUMBER)), seconds=_NUMBER)
_UNIT = _object(index=_INTEGER, mean=_NUMBER, std=_NUMBER, min=_NUMBER, max=_NUMBER, share=_NUMBER)
_ROWS = _list(_list(_NULL_NUMBER))
_RUN = _object(name=_STRING, columns=_list(_STRING), rows=_ROWS, live=_BOOLEAN)


def describe(version: str, *, writable: bool) -> dict[str, Any]:
    """Return the description of everything under ``/api``."""
    operations = _reading() | (_writing() if writable else {})
    number = {"name": "id", "in": "path", "required": True, "schema": PARAMETERS["id"].schema}
    paths: dict[str, dict[str, Any]] = {}
    for key, operation in operations.items():
        method, path = key.split()
        names = QUERIES.get(key, ())
        operation["parameters"] = [number] if "{id}" in path else list(map(_parameter, names))
        paths.setdefault(path, {})[method.lower()] = operation
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


def _reading() -> dict[str, dict[str, Any]]:
    operations = {
        "GET /api/health": _operation("Whether the server is there", _object(status=_STRING)),
        "GET /api/metrics": _operation("Counts and times for Prometheus", {}, "text/plain"),
        "GET /api/openapi.json": _operation("This description", _object()),
        "GET /api/info": _operation("What is served", _object(version=_STRING, model={})),
        "POST /api/match": _operation(
            "The pictures nearest to one's own, or to one of the library", _MATCH, file="optional"
        ),
        "GET /api/items": _operation(
            "Pictures of the library", _object(total=_INTEGER, items=_list(_object(**_ITEM)))
        ),
        "GET /api/items/{id}": _operation("All of one picture", _object(**_ITEM, code=_CODE)),
        "POST /api/encode": _operation("Codes of pictures", _object(codes=_CODES), file="several"),
        "POST /api/decode": _operation(
            "Pictures of codes; one PNG file where Accept asks for image/png",
            _object(pictures=_list(_STRING)),
            body=_object(codes=_CODES),
        ),
        "POST /api/reconstruct": _operation(
            "What is left of a picture after encoding and decoding",
            _object(picture=_NULL_STRING, reconstruction=_NULL_STRING, error=_NUMBER, **_SIZES),
            file="optional",
        ),
        "POST /api/denoise": _operation(
            "A picture, damaged as wished, and restored",
            _object(
                picture=_NULL_STRING,
                damaged=_NULL_STRING,
                restored=_NULL_STRING,
                error_damaged=_NUMBER,
                error_restored=_NUMBER,
                **_SIZES,
            ),
            file="optional",
        ),
        "GET /api/latent": _operation(
            "How the code's units vary", _object(units=_list(_UNIT), mean_code=_CODE)
        ),
        "POST /api/sample": _operation(
            "New pictures",
            _object(codes=_CODES, pictures=_list(_NULL_STRING)),
            body={
                "type": "object",
                "properties": {
                    "n": {"type": "integer", "minimum": 1, "maximum": 64},
                    "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
                },
            },
        ),
        "GET /api/map": _operation(
            "Every picture's place and colour: all x, then all y, as little-endian float32 "
            "from -1 to 1, then a byte of colour each. The header X-Map-State is preview or "
            "final; X-Map-Version is that of the legend and the ids that belong to it.",
            _STRING,
            _BYTES,
            computing=True,
        ),
        "POST /api/map": _operation(
            "A picture's place", _object(x=_NUMBER, y=_NUMBER), file="optional"
        ),
        "GET /api/map/legend": _operation(
            "What the map's colours stand for; 255 is for what is missing",
            _object(count=_INTEGER, state=_STRING, kind=_STRING),
            computing=True,
        ),
        "GET /api/map/ids": _operation(
            "Every picture's id, little-endian uint32, in the map's order", _STRING, _BYTES
        ),
        "GET /api/training": _operation("Runs of training", _object(runs=_list(_RUN))),
        "GET /api/report": _operation(
            "Where the report is; a newer one is being made if it is not of the current state",
            _object(state=_STRING, url=_STRING, version=_STRING, current=_BOOLEAN),
            computing=True,
        ),
    }
    not_modified = {"description": "If-None-Match is its ETag."}
    operations["GET /api/training"]["responses"]["304"] = not_modified
    for kind in KINDS:
        view = _operation(f"The {kind}", _STRING, "image/png")
        content = view["responses"]["200"]["content"]
        content["image/jpeg"] = content["image/png"]
        view["responses"]["304"] = not_modified
        operations[f"GET /api/items/{{id}}/{kind}"] = view
    return operations


def _writing() -> dict[str, dict[str, Any]]:
    added = _object(count=_INTEGER, total=_INTEGER)
    body = _object(metadata={"type": "object", "minProperties": 1})
    remove = _operation("Remove one picture", {}, status=204)
    remove["responses"]["204"] = {"description": "It is gone."}
    return {
        "POST /api/items": _operation("Add pictures", added, file="several", status=201),
        "PATCH /api/items/{id}": _operation(
            "Write columns of one picture", _object(**_ITEM), body=body
        ),
        "DELETE /api/items/{id}": remove,
    }


def _operation(
    summary: str,
    answer: dict[str, Any],
    kind: str = "application/json",
    *,
    status: int = 200,
    computing: bool = False,
    file: str = "",
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe what a method of an address takes and answers; its parameters come later."""
    responses = {str(status): _response(kind, answer)}
    if computing:
        state = _object(state={"const": "computing"})
        responses["202"] = _response("application/json", state, "It is being computed.")
    for code, why in _ERRORS.items():
        responses[str(code)] = _response("application/json", _object(error=_STRING), why)
    operation = {"summary": summary, "parameters": [], "responses": responses}
    if body is not None:
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": content}
    if file:
        single = {"type": "string", "contentMediaType": _BYTES}
        field = {**_list(single), "maxItems": 64} if file == "several" else single
        content = {"multipart/form-data": {"schema": _object(file=field)}}
        # The file is optional where the address may have an id.
        operation["requestBody"] = {"required": file == "several", "content": content}
    return operation


def _response(kind: str, schema: dict[str, Any], about: str = "As asked.") -> dict[str, Any]:
    return {"description": about, "content": {kind: {"schema": schema}}}


def _parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": PARAMETERS[name].about,
        "schema": PARAMETERS[name].schema,
        "explode": False,
    }
