"""Stalled and slow connections to a listening server."""

import http.client
import json
import socket
import time
from contextlib import ExitStack, suppress

import pytest
from libraries import draw, fit
from web_kit import served

from narrows import Library
from narrows.data.depths import encode_png
from narrows.web.security import ConnectionLimits

SEED = 12
REQUEST = b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    X = draw(5, SEED)
    return Library.build(tmp_path_factory.mktemp("web") / "own.lance", X, model=fit(X))[0].path


def trickle(connection):
    """Send single bytes until the server closes the connection."""
    connection.settimeout(0.01)
    while True:
        connection.sendall(b"G")
        with suppress(TimeoutError):
            assert connection.recv(1) == b""


def test_connections_without_a_request_are_ended(path):
    with served(path, limits=ConnectionLimits(headers=0.5)) as place:
        silent, half, second, trickling = [socket.create_connection(place) for _ in range(4)]
        half.sendall(REQUEST[:30])
        for connection in (second, trickling):
            connection.sendall(REQUEST)
            assert connection.recv(12) == b"HTTP/1.1 200"
            while not connection.recv(2**16).endswith(b"}"):
                pass
        second.sendall(REQUEST[:30])
        for connection in (silent, half, second):
            connection.settimeout(60)
            assert connection.recv(2**16) == b""  # rather than no end
        # Headers that come byte by byte do not extend the deadline.
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(trickling)
        for connection in (silent, half, second, trickling):
            connection.close()


def test_a_request_that_takes_longer_is_answered(path):
    """The timeout of headers does not apply to bodies."""
    with served(path, limits=ConnectionLimits(headers=0.2)) as place:
        png = encode_png(draw(1, SEED)[0])

        def body():
            head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            yield head + png[:20]
            with socket.create_connection(place) as silent:
                assert silent.recv(1) == b""  # the time for headers has passed since
            yield png[20:] + b"\r\n--x--\r\n"

        connection = http.client.HTTPConnection(*place, timeout=60)
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/api/match", body(), kind, encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()


def test_an_upload_that_is_cut_off_harms_nobody(path, caplog):
    with served(path) as place:
        upload = (
            b"POST /api/match HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        ) + encode_png(draw(1, SEED)[0])
        for length in (0, 40, 120, 150, len(upload)):
            cut = socket.create_connection(place)
            cut.sendall(upload[:length])
            cut.close()
        connection = http.client.HTTPConnection(*place, timeout=60)
        connection.request("POST", "/api/match?id=1")
        assert connection.getresponse().status == 200
        connection.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


KIND = b"Content-Type: multipart/form-data; boundary=x\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
HEAD = b"POST /api/match HTTP/1.1\r\nHost: 127.0.0.1\r\n" + KIND
STALLED = HEAD + b"Content-Length: 900000\r\n\r\n" + PART


def stall(place, source="127.0.0.1"):
    connection = socket.create_connection(place, timeout=60, source_address=(source, 0))
    connection.sendall(STALLED)
    return connection


def everything(connection):
    """Receive until the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            received += part
    return received


def status(place, source="127.0.0.1"):
    connection = http.client.HTTPConnection(*place, timeout=60, source_address=(source, 0))
    connection.request("GET", "/api/health")
    answer = connection.getresponse().status
    connection.close()
    return answer


class Upload:
    """An upload of a picture in pieces."""

    def __init__(self, place):
        self._body = PART + encode_png(draw(1, SEED)[0]) + b"\r\n--x--\r\n"
        self._connection = socket.create_connection(place, timeout=60)
        length = f"Content-Length: {len(self._body)}\r\nConnection: close\r\n\r\n"
        self._connection.sendall(HEAD + length.encode())

    def __len__(self):
        return len(self._body)

    def send(self, count):
        self._connection.sendall(self._body[:count])
        self._body = self._body[count:]

    def answer(self):
        with self._connection:
            return everything(self._connection)


def test_a_body_that_stalls_is_ended_and_told_why(path, caplog):
    with served(path, limits=ConnectionLimits(headers=60, grace=0.3)) as place:
        start = time.monotonic()
        with stall(place) as connection:
            head, _, body = everything(connection).partition(b"\r\n\r\n")
        assert 0.3 <= time.monotonic() - start < 30
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert "too slowly" in json.loads(body)["error"]
        assert status(place) == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_pause_after_many_bytes_is_no_longer_than_another(path):
    with (
        served(path, limits=ConnectionLimits(grace=0.3, rate=1)) as place,
        stall(place) as connection,
    ):
        start = time.monotonic()
        connection.sendall(bytes(500))  # 500 seconds at this rate
        assert everything(connection).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - start < 30


def test_a_trickle_below_the_least_rate_is_ended(path):
    with (
        served(path, limits=ConnectionLimits(grace=0.3, rate=10**6)) as place,
        stall(place) as slow,
    ):
        slow.settimeout(0.01)
        received = b""
        with suppress(ConnectionError):
            while not received:
                slow.sendall(b"a")
                with suppress(TimeoutError):
                    received = slow.recv(2**16)
        assert received.startswith(b"HTTP/1.1 408") or not received


def test_a_slow_upload_takes_much_longer_than_the_grace(path):
    """Time is measured by the ends of other connections, which come after the grace period."""
    with served(path, limits=ConnectionLimits(headers=0.2, grace=0.6, rate=20)) as place:
        upload = Upload(place)
        pieces = len(upload) // 10 + 1
        start = time.monotonic()
        for _ in range(10):
            upload.send(pieces)
            with socket.create_connection(place) as silent:
                assert silent.recv(1) == b""
        assert time.monotonic() - start > 3 * 0.6
        assert upload.answer().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize(
    "opening", [STALLED, STALLED[:30], b""], ids=["body", "headers", "nothing"]
)
def test_hundreds_of_stalled_connections_keep_nobody_out(path, source, opening):
    # At this rate, the first part of the upload extends its deadline by a minute.
    with served(path, limits=ConnectionLimits(rate=1)) as place, ExitStack() as stack:
        upload = Upload(place)
        assert len(upload) > 140
        upload.send(139)
        held = []
        for number in range(530):
            held.append(stack.enter_context(socket.create_connection(place, timeout=60)))
            held[-1].sendall(opening)
            if number % 100 == 0:
                assert status(place, source) == 200
        start = time.monotonic()
        assert status(place, source) == 200
        assert time.monotonic() - start < 5
        # The oldest connection was closed at once; one that sent its body was kept.
        assert (b"408" in everything(held[0])) == (opening is STALLED)
        upload.send(len(upload))
        assert upload.answer().startswith(b"HTTP/1.1 200")


def test_all_clients_together_are_bounded_too(path):
    with (
        served(
            path, limits=ConnectionLimits(headers=600, grace=600, per_client=None, total=4)
        ) as place,
        ExitStack() as stack,
    ):
        for one in range(2, 8):
            stack.enter_context(stall(place, f"127.0.0.{one}"))
        assert status(place) == 200


def test_one_client_does_not_end_anothers_connections(path):
    with (
        served(path, limits=ConnectionLimits(headers=600, grace=600, per_client=2)) as place,
        ExitStack() as stack,
    ):
        upload = Upload(place)
        held = [stack.enter_context(stall(place, "127.0.0.2")) for _ in range(6)]
        everything(held[0])  # is closed long before its timeout
        upload.send(len(upload))
        assert upload.answer().startswith(b"HTTP/1.1 200")


def keep_sending(connection, data):
    while True:
        connection.sendall(data)


def test_an_answer_that_nobody_reads_is_ended(path):
    with served(path, limits=ConnectionLimits(grace=0.3, rate=10**9)) as place:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        reader.connect(place)
        reader.settimeout(60)
        ask = b"GET /static/app.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            keep_sending(reader, ask)
        reader.close()
        assert status(place) == 200
