"""The server behind a reverse proxy, by headers and with nginx, and with its own TLS."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from libraries import draw, fit
from starlette.testclient import TestClient
from web_kit import served

from narrows import Library
from narrows.data.depths import encode_png
from narrows.errors import ParameterError
from narrows.web.app import create_app
from narrows.web.security import read_public_url

SEED = 31
PUBLIC = "https://narrows.example.com"
TOKEN = "a-token-of-some-length"  # noqa: S105 (of a test)
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    X = draw(5, SEED)
    return Library.build(tmp_path_factory.mktemp("web") / "own.lance", X, model=fit(X))[0].path


@pytest.fixture(scope="module")
def client(path, tmp_path_factory):
    app = create_app(path, cache=tmp_path_factory.mktemp("cache"), public_url=PUBLIC)
    with TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (PUBLIC, PUBLIC),
        ("HTTPS://Narrows.Example.COM/", PUBLIC),
        (f"{PUBLIC}:443", PUBLIC),
        ("http://narrows.example.com:80", "http://narrows.example.com"),
        (f"{PUBLIC}:8443/", f"{PUBLIC}:8443"),
        ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
        ("https://büro.example", "https://xn--bro-hoa.example"),
    ],
)
def test_public_addresses_are_read_as_browsers_do(given, read):
    assert str(read_public_url(given)) == read


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("narrows.example.com", "scheme"),
        ("ftp://narrows.example.com", "scheme"),
        ("https://", "host name"),
        ("", "host name"),
        ("https://narrows.example.com:99999", "port"),
        ("https://narrows.example.com:0", "port"),
        ("https://narrows.example.com:a", "port"),
        ("https://[::1", "host name"),
        ("https://user@narrows.example.com", "host name"),
        ("https://narrows example.com", "host name"),
        ("https://narrows.example.com\\evil", "host name"),
        (f"https://{'a' * 900}.example", "host name"),
        (f"{PUBLIC}?a=b", "query"),
        (f"{PUBLIC}/#a", "fragment"),
        (f"{PUBLIC}/narrows/", "path"),
    ],
)
def test_other_public_addresses_are_refused_in_one_line(given, why):
    with pytest.raises(ParameterError, match=why) as refused:
        read_public_url(given)
    assert "--public-url" in str(refused.value)
    assert len(str(refused.value)) <= 500
    assert "\n" not in str(refused.value)


def test_the_command_refuses_them_too(path, run):
    refused = run("serve", path, "--port", "0", "--public-url", f"{PUBLIC}/narrows")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert f"'{PUBLIC}/narrows' cannot be used: it has a path" in refused.err


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "narrows.example.com"}, 200),
        ({"Host": "Narrows.Example.com:443"}, 200),
        ({"Host": "narrows.example.com", "Origin": PUBLIC, "Referer": f"{PUBLIC}/#/map"}, 200),
        ({"Host": "narrows.example.com", "Origin": f"{PUBLIC}:443"}, 200),
        # A proxy may send the address that it connects to.
        ({"Host": "127.0.0.1:8765", "Origin": PUBLIC, "Referer": f"{PUBLIC}/"}, 200),
        # Local requests are answered as before.
        ({"Host": "127.0.0.1:8765", "Origin": "http://127.0.0.1:8765"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": PUBLIC}, 403),
        ({"Host": "narrows.example.com.evil.example"}, 403),
        ({"Host": "sub.narrows.example.com"}, 403),
        ({"Host": "narrows.example.com", "Origin": "https://evil.example"}, 403),
        ({"Host": "narrows.example.com", "Origin": f"{PUBLIC}.evil.example"}, 403),
        ({"Host": "narrows.example.com", "Origin": f"{PUBLIC}@evil.example"}, 403),
        ({"Host": "narrows.example.com", "Origin": f"{PUBLIC}:8443"}, 403),
        # An attacker on the network could forge pages of the same name without TLS.
        ({"Host": "narrows.example.com", "Origin": "http://narrows.example.com"}, 403),
        ({"Host": "narrows.example.com", "Referer": "http://narrows.example.com/"}, 403),
        ({"Host": "narrows.example.com", "Origin": "http://127.0.0.1:8765"}, 403),
        ({"Host": "narrows.example.com", "Origin": "null"}, 403),
        ({"Host": "narrows.example.com", "Sec-Fetch-Site": "cross-site"}, 403),
        # Headers of proxies are ignored, as any client can send them.
        ({"Host": "evil.example", "X-Forwarded-Host": "narrows.example.com"}, 403),
    ],
    ids=str,
)
def test_the_public_name_is_accepted_beside_local_ones(client, headers, status):
    assert client.get("/api/items", headers=headers).status_code == status
    assert client.post("/api/match", params={"id": 1}, headers=headers).status_code == status


def test_the_public_name_is_refused_unless_it_was_given(path, tmp_path):
    with TestClient(create_app(path, cache=tmp_path), base_url="http://127.0.0.1") as client:
        answer = client.get("/api/health", headers={"Host": "narrows.example.com"})
        assert answer.status_code == 403
        assert "--public-url" in answer.json()["error"]


@pytest.mark.parametrize("host", ["narrows.example.com", "127.0.0.1:8765"])
def test_absolute_links_are_made_of_the_public_address(client, host):
    answer = client.get("/api/health/", headers={"Host": host})
    assert answer.headers["Location"] == f"{PUBLIC}/api/health"


@pytest.mark.parametrize(
    ("public", "base", "secure"),
    [
        (PUBLIC, "http://narrows.example.com", True),
        (PUBLIC, "http://127.0.0.1:8765", True),
        ("http://narrows.example.com", "http://narrows.example.com", False),
        (None, "http://127.0.0.1:8765", False),
        (None, "https://127.0.0.1:8765", True),
    ],
)
def test_cookies_are_secure_over_tls(path, tmp_path, public, base, secure):
    app = create_app(path, cache=tmp_path, token=TOKEN, public_url=public)
    with TestClient(app, base_url=base, follow_redirects=False) as client:
        answer = client.get("/", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        attributes = [one.strip().lower() for one in answer.headers["Set-Cookie"].split(";")[1:]]
        assert ("secure" in attributes) is secure
        assert {"httponly", "samesite=strict"} <= set(attributes)


def make_certificate(folder, name="own", *options):
    """Write a self-signed certificate of 127.0.0.1, and its key."""
    certfile, keyfile = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-subj", "/CN=narrows.example.com", "-days", "2", "-keyout", keyfile, "-out", certfile,
         "-addext", "subjectAltName=DNS:narrows.example.com,IP:127.0.0.1",
         *(options or ("-nodes",))],
        check=True, capture_output=True,
    )  # fmt: skip
    return certfile, keyfile


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is needed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is needed")

CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name narrows.example.com;
        ssl_certificate {certfile};
        ssl_certificate_key {keyfile};
        client_max_body_size 64m;
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            {headers}
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, port: int, behind: int, headers: str):
    """Run nginx with TLS on this port until the block ends."""
    certfile, keyfile = make_certificate(folder)
    written = folder / "nginx.conf"
    written.write_text(CONFIGURATION.format_map(locals()))
    arguments = [NGINX, "-p", str(folder), "-c", str(written), "-e", "stderr"]
    subprocess.run([*arguments, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    try:
        while True:
            assert process.poll() is None, process.stderr.read()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                continue
        yield certfile
    finally:
        process.terminate()
        process.communicate(timeout=60)


class Browser:
    """Send requests over TLS with cookies, to a host name that resolves to this machine."""

    def __init__(self, place, certfile, name):
        self._context = ssl.create_default_context(cafile=str(certfile))
        self._place, self._name, self._cookie = place, name, {}

    def ask(self, method, address, body=None, **headers):
        connection = http.client.HTTPConnection("narrows.example.com", timeout=60)
        plain = socket.create_connection(self._place)
        connection.sock = self._context.wrap_socket(plain, server_hostname="narrows.example.com")
        headers = {"Host": self._name, **self._cookie, **headers}
        connection.request(method, address, body, headers)
        answer = connection.getresponse()
        answer.contents = answer.read()
        connection.close()
        if cookie := answer.headers["Set-Cookie"]:
            self._cookie = {"Cookie": cookie.partition(";")[0]}
        return answer


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@needs_nginx
@needs_openssl
@pytest.mark.parametrize(
    "headers", ["proxy_set_header Host $host;", "proxy_set_header Host $http_host;", ""]
)
def test_behind_nginx(path, tmp_path, headers):
    """The three host headers that nginx can send: without the port, with it, and its upstream's."""
    port = free_port()
    public = f"https://narrows.example.com:{port}"
    with (
        served(path, public_url=public) as place,
        nginx(tmp_path, port, place[1], headers) as certfile,
    ):
        assert place.address.startswith(f"{public}/?token=")
        browser = Browser(("127.0.0.1", port), certfile, f"narrows.example.com:{port}")
        assert browser.ask("GET", "/api/health").status == 401
        moved = browser.ask("GET", f"/?{urlsplit(place.address).query}")
        assert (moved.status, moved.headers["Location"]) == (303, "/")
        assert "; Secure" in moved.headers["Set-Cookie"]
        own = {"Origin": public, "Sec-Fetch-Site": "same-origin"}
        assert b"/static/app.js" in browser.ask("GET", "/").contents
        assert browser.ask("GET", "/static/app.js", **own).status == 200
        linked = browser.ask("GET", "/api/health/", **own)
        assert (linked.status, linked.headers["Location"]) == (307, f"{public}/api/health")
        upload = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            + encode_png(draw(1, SEED)[0])
            + b"\r\n--x--\r\n"
        )
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        found = browser.ask("POST", "/api/match", upload, **kind, **own)
        assert found.status == 200
        assert len(json.loads(found.contents)["matches"]) > 0
        other = {"Origin": "https://evil.example"}
        assert browser.ask("POST", "/api/match?id=1", **other).status == 403


@needs_openssl
def test_tls_of_its_own(path, tmp_path):
    certfile, keyfile = make_certificate(tmp_path)
    with served(path, certfile=certfile, keyfile=keyfile) as place:
        assert place.address == f"https://127.0.0.1:{place[1]}/"
        browser = Browser(place, certfile, f"127.0.0.1:{place[1]}")
        health = browser.ask("GET", "/api/health", Origin=place.address.rstrip("/"))
        assert (health.status, json.loads(health.contents)["status"]) == (200, "ok")
        linked = browser.ask("GET", "/api/health/")
        assert linked.headers["Location"] == f"{place.address}api/health"


@needs_openssl
def test_files_of_tls_are_refused_before_it_serves(path, run, tmp_path):
    certfile, keyfile = make_certificate(tmp_path)
    other, locked = make_certificate(tmp_path, "other", "-passout", "pass:secret")
    text = tmp_path / "notes.txt"
    text.write_text("no PEM")
    missing = tmp_path / "missing.pem"
    for options, code, why in [
        (["--certfile", certfile], 2, "--certfile was given without --keyfile"),
        (["--keyfile", keyfile], 2, "--keyfile was given without --certfile"),
        (["--certfile", missing, "--keyfile", keyfile], 3, "missing.pem' does not exist"),
        (["--certfile", certfile, "--keyfile", missing], 3, "missing.pem' does not exist"),
        (["--certfile", tmp_path, "--keyfile", keyfile], 2, "cannot be read"),
        (["--certfile", text, "--keyfile", keyfile], 2, "not a certificate"),
        (["--certfile", certfile, "--keyfile", text], 2, "not a certificate"),
        (["--certfile", keyfile, "--keyfile", keyfile], 2, "not a certificate"),
        (["--certfile", other, "--keyfile", keyfile], 2, "not that of the certificate"),
        (["--certfile", other, "--keyfile", locked], 2, "has a passphrase"),
    ]:
        refused = run("serve", path, "--port", "0", *options)
        assert (refused.code, refused.out) == (code, "")
        assert why in refused.err
        assert len(refused.err.splitlines()) == 1
        assert len(refused.err) <= 510
