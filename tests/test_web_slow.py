"""Connections that bring no request, or only a part of one, to a server that listens."""

import http.client
import socket
from contextlib import suppress

import pytest
from libraries import draw, fit
from web_kit import served

from narrows import Library
from narrows.data.images import encode_png

SEED = 12
REQUEST = b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    X = draw(5, SEED)
    return Library.build(tmp_path_factory.mktemp("web") / "own.lance", X, model=fit(X))[0].path


def trickle(connection):
    """Send a byte now and then, until nobody takes it any more."""
    connection.settimeout(0.01)
    while True:
        connection.sendall(b"G")
        with suppress(TimeoutError):
            assert connection.recv(1) == b""


def test_connections_without_a_request_are_ended(path, monkeypatch):
    monkeypatch.setattr("narrows.web.patience.SECONDS", 0.5)
    with served(path) as place:
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
        # What comes byte by byte, and never as a whole, gains no time.
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(trickling)
        for connection in (silent, half, second, trickling):
            connection.close()


def test_a_request_that_takes_longer_is_answered(path, monkeypatch):
    """Patience is for headers alone."""
    monkeypatch.setattr("narrows.web.patience.SECONDS", 0.2)
    with served(path) as place:
        png = encode_png(draw(1, SEED)[0])

        def body():
            head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            yield head + png[:20]
            with socket.create_connection(place) as silent:
                assert silent.recv(1) == b""  # its time is over, and so would be the other's
            yield png[20:] + b"\r\n--x--\r\n"

        connection = http.client.HTTPConnection(*place, timeout=60)
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/api/match", body(), kind, encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()


def test_an_upload_that_is_cut_off_harms_nobody(path, monkeypatch, caplog):
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
