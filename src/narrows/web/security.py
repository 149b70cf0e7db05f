"""Middleware that checks the host, origin, token and size of each request; public addresses."""

import ipaddress
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response

from narrows.errors import ParameterError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 64 * 2**20
# The sum of the bodies of all requests that are being answered.
MOST_AT_ONCE = 8 * MOST_BYTES
# The page loads only this server's own files; a report has inline styles and no scripts.
_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox"
)
_HEADERS = {
    "Content-Security-Policy": _PAGE,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """The scheme, host name and port of an address, as browsers compare them.

    Attributes
    ----------
    scheme : {"http", "https"}
        The scheme, in lower case.
    name : str
        A host name in ASCII and lower case, or an IP address without brackets.
    port : int
        The port; by default the scheme's.
    """

    scheme: str
    name: str
    port: int

    @classmethod
    def of(cls, address: str) -> Self | None:
        """Parse the origin of an address; None if it has none."""
        try:
            parts = urlsplit(address)
            scheme, name = parts.scheme.lower(), (parts.hostname or "")
            name = name if name.isascii() else name.encode("idna").decode()
            port = parts.port
        except ValueError:  # a UnicodeError is one
            return None
        if scheme not in _PORTS or not name or port == 0 or "@" in parts.netloc:
            return None
        return cls(scheme, name, _PORTS[scheme] if port is None else port)

    @property
    def netloc(self) -> str:
        """Its host and port as in a request's Host header."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def read_public_url(address: str) -> Origin:
    """Parse the address by which others reach the server through a reverse proxy.

    Parameters
    ----------
    address : str
        A scheme, a host name or IP address, and perhaps a port: ``https://narrows.example.com``.

    Returns
    -------
    Origin

    Raises
    ------
    ParameterError
        If it has another scheme, no valid host or port, or a user, path, query or fragment.

    Examples
    --------
    >>> str(read_public_url("https://Narrows.example.com:443/"))
    'https://narrows.example.com'
    """
    origin = Origin.of(address)
    if origin is None or not re.fullmatch(r"[\w.:-]{1,253}", origin.name, re.ASCII):
        raise _bad_address(address, "it has no scheme http or https, host name and valid port")
    if "?" in address or "#" in address:
        raise _bad_address(address, "it has a query or a fragment")
    if address.partition("://")[2].partition("/")[2]:
        raise _bad_address(address, "it has a path, and the page needs the root of a host name")
    return origin


def _bad_address(address: str, why: str) -> ParameterError:
    return ParameterError(
        f"--public-url (public_url) {address[:200]!r} cannot be used: {why}; give an address like "
        "'https://narrows.example.com'"
    )


class Guard:
    """Middleware that refuses requests by other pages, to other host names, and without the token.

    Parameters
    ----------
    app : callable
        The ASGI application behind it.
    host : str
        The address that the server listens on.
    token : str, optional
        A token that every request must carry.
    public : Origin, optional
        The address by which others reach the server; also accepted as host and origin, and used in
        absolute links.

    Attributes
    ----------
    pending : int
        The bytes received so far of the bodies of all requests that are being answered.
    """

    def __init__(
        self, app: App, *, host: str, token: str | None, public: Origin | None = None
    ) -> None:
        self._app, self._token, self._public = app, token, public
        self.pending = 0
        self._hosts = {"localhost", "127.0.0.1", "::1", host.lower()}
        # A server that listens on all addresses is reached by any of the machine's.
        self._any_address = host in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound to)
        if self._any_address:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with the reason of its refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        if self._public is not None:
            # Redirects have to name the public address, not the one that the proxy connects to.
            scope["scheme"] = self._public.scheme
            others = [(key, value) for key, value in scope["headers"] if key != b"host"]
            scope["headers"] = [(b"host", self._public.netloc.encode()), *others]
        body = _Body(receive, self)
        try:
            await self._app(scope, body.receive, _with_headers(send))
        finally:
            self.pending -= body.received

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = _split(f"//{host}").hostname or ""
        local = name in self._hosts or (self._any_address and _is_address(name))
        # Any port is accepted: proxies leave it out, or name their own behind another proxy.
        if not local and (self._public is None or name != self._public.name):
            return _refusal(
                403,
                "this server has another host name; use the address it printed, or start it with "
                "--public-url and this name",
            )

        def is_own(page: str) -> bool:
            if self._public is not None and Origin.of(page) == self._public:
                return True
            return local and _split(page).netloc.lower() == host.lower()

        if not _is_allowed(scope["method"], scope["path"], headers, is_own):
            return _refusal(403, "the request comes from another page; use this server's own")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return _refusal(413, f"{length} bytes are too many; send at most {MOST_BYTES}")
        return None if self._token is None else self._ask_token(scope, headers, self._token)

    def _ask_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        given = parse_qs(scope["query_string"].decode("latin-1"))
        by_address = given.pop("token", [""])[0]
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            bearer = ""
        # Browsers share cookies between all ports of a host.
        name = f"narrows-{(scope.get('server') or ('', 0))[1]}"
        cookie = cookie_parser(headers.get("cookie", "")).get(name, "")
        tokens = (by_address, bearer, cookie)
        known = [secrets.compare_digest(sent.encode(), token.encode()) for sent in tokens]
        if not any(known):
            return _refusal(401, "the token is missing or wrong; open the address that was printed")
        if by_address and scope["method"] == "GET":
            # The token moves from the address bar into a cookie that scripts cannot read.
            rest = urlencode(given, doseq=True)
            path = "/" + scope["path"].lstrip("/\\")  # two at its beginning lead to other hosts
            answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            # Behind a proxy, the public address has the scheme that the browser uses.
            secure = (self._public.scheme if self._public else scope.get("scheme")) == "https"
            answer.set_cookie(name, token, httponly=True, samesite="strict", secure=secure)
            return answer
        return None


def _is_allowed(method: str, path: str, headers: Headers, is_own: Callable[[str], bool]) -> bool:
    """Return whether a request was made by the server's own page, by a user, or by a program.

    Other pages may only link to the server's page. Any other request of theirs costs work, which an
    ``<img>`` could repeat at will. Browsers send ``Sec-Fetch-*`` to the local machine and over TLS;
    elsewhere, requests of other pages are recognised by their origin or referrer.
    """
    if not all(is_own(origin) for origin in headers.getlist("origin")):
        return False
    if all(site in ("same-origin", "none") for site in headers.getlist("sec-fetch-site")) and all(
        is_own(page) for page in headers.getlist("referer") if page
    ):
        return True
    leads_here = (
        headers.get("sec-fetch-mode", "navigate") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
    )
    return leads_here and path == "/" and method in ("GET", "HEAD")


def _split(address: str) -> SplitResult:
    """Parse an address; all parts are empty if it is not one."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Body:
    """Counts the bytes of a request's body, whatever its Content-Length."""

    def __init__(self, receive: Receive, guard: Guard) -> None:
        self._receive, self._guard = receive, guard
        self.received = 0

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        count = len(message.get("body", b""))
        self.received += count
        self._guard.pending += count
        if self.received > MOST_BYTES:
            raise HTTPException(413, f"the request is too large; send at most {MOST_BYTES} bytes")
        if self._guard.pending > MOST_AT_ONCE:
            raise HTTPException(503, "too much is being sent at once; try again later")
        return message


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)
