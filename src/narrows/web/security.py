"""The bounds of requests and connections: hosts, origins, tokens, sizes, and idle timeouts.

Whenever a connection waits for its client, it has a deadline. That of a request's headers is fixed.
For bodies, and for answers that are read, each byte extends the deadline by its time at the minimum
rate, up to the initial grace period. Where a new connection exceeds the bounds, the waiting one
with the least progress for its age is closed instead.
"""

import asyncio
import ipaddress
import json
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

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
_SLOW = {"error": "the body came too slowly, or on one of too many connections; send it again"}


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


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Idle timeouts and bounds on connections.

    Attributes
    ----------
    headers : float
        Seconds from the beginning of a connection, or the end of an answer, to the end of a
        request's headers.
    grace : float
        Seconds for which a body may pause, or an answer stay unread.
    rate : float
        The minimum rate of a body or an answer after that, in bytes per second.
    per_client : int, optional
        The most connections of one address, or of one /64 network of IPv6; None behind a proxy,
        from which all connections come.
    total : int
        The most connections of all clients.
    """

    headers: float = 10.0
    grace: float = 20.0
    rate: float = 1024.0
    per_client: int | None = 128
    total: int = 512


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with these timeouts and bounds.

    Parameters
    ----------
    limits : ConnectionLimits
        The timeouts and bounds.
    **options
        The options of uvicorn's protocol.
    """

    def __init__(self, *, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for = ""
        self._deadline = 0.0
        self._unread = 0
        # Like the deadline of a body, but not bounded by the grace: fast senders keep their lead.
        self.progress = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection, and wait for the first request."""
        super().connection_made(transport)
        if not self._make_room():
            self.app = _refuse_busy
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Credit the received bytes of a body."""
        before = self.cycle
        had = 0 if before is None else len(before.body)
        super().data_received(data)
        has = 0 if self.cycle is None else len(self.cycle.body)
        self._watch(has - had if self.cycle is before else has)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for this answer to be read."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Stop waiting for the client."""
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._wait_for("")
        super().connection_lost(exc)

    @property
    def is_waiting(self) -> bool:
        """Whether the server waits for the client."""
        return bool(self._waits_for)

    @property
    def client_network(self) -> str:
        """The client's IPv4 address, or its /64 network of IPv6."""
        host = self.client[0] if self.client else ""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host
        if isinstance(address, ipaddress.IPv4Address):
            return host
        return str(address.ipv4_mapped or int(address) >> 64)

    def close_idle(self) -> None:
        """Close the connection, with an answer 408 if it is waiting for a body."""
        waited_for, cycle = self._waits_for, self.cycle
        self._wait_for("")
        self.connections.discard(self)
        if waited_for == "body" and not cycle.response_started:
            body = json.dumps(_SLOW).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (
                h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        if waited_for == "body":
            cycle.disconnected = True  # tells the application
            cycle.message_event.set()
        if waited_for != "body" and self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait until all is read
        else:
            self.transport.close()

    def _make_room(self) -> bool:
        others = [c for c in self.connections if isinstance(c, LimitedProtocol) and c is not self]
        network = self.client_network
        same = [other for other in others if other.client_network == network]
        for most, connections in (
            (self._limits.per_client, same),
            (self._limits.total, others),
        ):
            if most is not None and len(connections) >= most:
                waiting = [other for other in connections if other.is_waiting]
                if not waiting:
                    return False
                slowest = min(waiting, key=lambda other: other.progress)
                slowest.close_idle()
                others.remove(slowest)
        return True

    def _watch(self, received: int = 0) -> None:
        if self.flow.write_paused:
            self._wait_for("reader")
        elif self.cycle is None or self.cycle.response_complete:
            # Neither headers that come byte by byte nor the rest of an answered body gain time.
            self._wait_for("request")
        elif self.cycle.more_body:
            self._wait_for("body")
            self._credit(received)
        else:
            self._wait_for("")

    def _wait_for(self, what: str) -> None:
        if what == self._waits_for:
            return
        self._waits_for = what
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if what:
            seconds = self._limits.headers if what == "request" else self._limits.grace
            self._deadline = self.loop.time() + seconds
            self.progress = self.loop.time() + self._limits.grace
            self._unread = self.transport.get_write_buffer_size()
            self._timer = self.loop.call_at(self._deadline, self._look)

    def _credit(self, count: int) -> None:
        seconds = count / self._limits.rate
        self.progress += seconds
        self._deadline = min(self._deadline + seconds, self.loop.time() + self._limits.grace)

    def _look(self) -> None:
        if self._waits_for == "reader":
            unread = self.transport.get_write_buffer_size()
            self._credit(max(self._unread - unread, 0))
            self._unread = unread
        if self._waits_for == "body" and self.flow.read_paused:  # the server has to read
            self._deadline = self.loop.time() + self._limits.grace
        if self._deadline > self.loop.time():
            self._timer = self.loop.call_at(self._deadline, self._look)
        else:
            self.close_idle()


async def _refuse_busy(scope: Scope, receive: Receive, send: Send) -> None:
    why = "too many requests are being answered; ask again later"
    await JSONResponse({"error": why}, 503, {"Connection": "close"})(scope, receive, send)
