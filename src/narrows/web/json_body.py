"""What requests send beside pictures: JSON, or nothing."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from narrows.containment import parse_json
from narrows.errors import ParameterError
from narrows.web.security import TooLargeError

MOST_BYTES = 2**18


def refuse_body(request: Request) -> None:
    """Refuse what is sent beside the id of a picture.

    Raises
    ------
    ParameterError
        If there is anything.
    """
    headers = request.headers
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise ParameterError("a picture is sent beside an id; give one of the two")


async def read_json(request: Request, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read a JSON object of no more bytes than these.

    Raises
    ------
    HTTPException, TooLargeError, ParameterError
        If it is something else, or larger.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(415, "send JSON, with the content type application/json")
    contents = b""
    async for chunk in request.stream():
        contents += chunk
        if len(contents) > most:
            raise TooLargeError(f"the JSON is too large; send at most {most} bytes here")
    try:
        body = parse_json(contents)
    except ValueError as error:
        raise ParameterError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise ParameterError("the body is no JSON object; send one")
    return body
