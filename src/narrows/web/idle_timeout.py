"""Idle timeouts and bounds on connections, so that stalled clients do not exhaust the server.

Whenever a connection waits for its client, it has a deadline. That of a request's headers is fixed.
For bodies, and for answers that are read, each byte extends the deadline by its time at the minimum
rate, up to the initial grace period. Where a new connection exceeds the bounds, the waiting one
with the least progress for its age is closed instead.
"""

import asyncio
import ipaddress
import json
from dataclasses import dataclass
from typing import Any

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from narrows.web.security import Receive, Scope, Send

_SLOW = {"error": "the body came too slowly, or on one of too many connections; send it again"}


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
