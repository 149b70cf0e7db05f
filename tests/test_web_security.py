"""Access to the server by host, origin, token and size of requests, and requests of any kind."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import zlib

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from libraries import draw, fit
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from narrows import Library
from narrows.data.depths import encode_png
from narrows.errors import ParameterError
from narrows.web import serve
from narrows.web.app import create_app

SEED = 9


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    X = draw(20, SEED)
    path = tmp_path_factory.mktemp("web") / "pictures.lance"
    metadata = {"label": [f"kind {i % 3}" for i in range(20)]}
    return Library.build(path, X, model=fit(X), metadata=metadata)[0].path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def client(path, cache):
    app = create_app(path, cache=cache)
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:99", "[::1]:8765"])
def test_own_names_are_answered(client, host):
    assert client.get("/api/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[", "10.0.0.1"],
)
def test_other_names_are_refused(client, host):
    """After DNS rebinding, a page still sends its own host name."""
    answer = client.get("/api/health", headers={"Host": host})
    assert answer.status_code == 403
    assert "address it printed" in answer.json()["error"]


def test_a_name_is_the_same_in_capitals(path, cache):
    app = create_app(path, host="Studio.Example", cache=cache)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for name in ("Studio.Example", "studio.example:8765"):
            assert client.get("/api/health", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8765"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_only_the_own_page_sends(client, headers, status):
    answer = client.post("/api/match", params={"id": 1}, headers=headers)
    assert answer.status_code == status


OWN = "http://127.0.0.1:8765"
NAVIGATED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
PICTURED = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", **PICTURED},
    {"Sec-Fetch-Site": "cross-site", **NAVIGATED},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "http://evil.example"},
    {"Sec-Fetch-Site": "same-site", **PICTURED},
    {"Sec-Fetch-Site": "same-site", "Referer": "http://127.0.0.1:3000/"},
    {"Sec-Fetch-Site": "cross-site", "Referer": f"{OWN}/"},
    {"Sec-Fetch-Site": "cross-origin"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Referer": "http://evil.example/page?http://127.0.0.1:8765/"},
    {"Referer": "http://127.0.0.1:8765@evil.example/"},
    {"Referer": "http://127.0.0.1:87650/"},
    {"Referer": "http://[bad"},
]
WORKED_AT = [
    "/api/items?where=length(repeat(path,20000000))>0", "/api/items", "/api/items/1",
    "/api/items/1/picture", "/api/items/1/thumbnail", "/api/items/1/reconstruction", "/api/info",
    "/api/health", "/api/latent", "/api/map", "/api/map/ids", "/api/map/legend", "/api/report",
    "/api/metrics", "/api/openapi.json", "/api/training", "/report", "/static/app.js", "/nowhere",
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_other_pages_ask_for_nothing(client, headers):
    for address in WORKED_AT:
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = client.request(method, address, headers=headers)
            assert answer.status_code == 403, address
        assert "another page" in client.get(address, headers=headers).json()["error"]
    assert client.post("/api/match", params={"id": 1}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none", **NAVIGATED},
        {"Sec-Fetch-Site": "same-origin", **PICTURED, "Referer": f"{OWN}/"},
        {"Sec-Fetch-Site": "same-origin", "Origin": OWN},
        {"Origin": "https://127.0.0.1:8765"},  # behind a proxy that speaks TLS
        {"Referer": f"{OWN}/#/match"},
        {"Referer": ""},
    ],
    ids=str,
)
def test_the_own_page_and_programs_ask_for_anything(client, headers):
    for address in ("/", "/api/items", "/api/items/1/picture", "/static/app.js"):
        assert client.get(address, headers=headers).status_code == 200
    assert client.post("/api/match", params={"id": 1}, headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_links_on_other_pages_lead_to_the_page_alone(client, site):
    link = {"Sec-Fetch-Site": site, "Referer": "http://evil.example/", **NAVIGATED}
    for address in ("/", "/?token=a"):
        assert client.get(address, headers=link).status_code == 200
        assert client.head(address, headers=link).status_code == 200
        assert client.post(address, headers=link).status_code == 403
        for other in ({"Sec-Fetch-Dest": "iframe"}, PICTURED, {"Origin": "http://evil.example"}):
            assert client.get(address, headers={**link, **other}).status_code == 403
    assert client.get("/", headers={"Referer": "http://evil.example/"}).status_code == 200
    for address in WORKED_AT:
        assert client.get(address, headers=link).status_code == 403


def test_attacks_by_filters_are_answered_at_once(client):
    """Each of these reached the SQL engine, where the first took gigabytes of memory."""
    for where in ("length(repeat(path,20000000))>0", "(" * 5000, "id = 1; DROP TABLE t", "1 = 1"):
        answer = client.get("/api/items", params={"where": where})
        assert answer.status_code == 400
        assert len(answer.json()["error"]) <= 500
        assert answer.elapsed.total_seconds() < 1
    found = client.get("/api/items", params={"where": "`label` = 'kind 1' AND \"id\" < 9"}).json()
    assert [item["id"] for item in found["items"]] == [1, 4, 7]


def test_every_answer_says_what_a_browser_may_do(client):
    for address in ("/", "/api/health", "/nowhere", "/static/app.js"):
        headers = client.get(address).headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "address",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd",
     "/api/items/..%2f..%2fetc%2fpasswd/picture", "/static/%00", "/report/../library.json"],
)  # fmt: skip
def test_no_path_leaves_the_page(client, address):
    answer = client.get(address)
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text
    assert "import" not in answer.text


class TestToken:
    TOKEN = "a-token-of-some-length"  # noqa: S105 (of a test)

    @pytest.fixture
    def guarded(self, path, cache):
        app = create_app(path, host="0.0.0.0", token=self.TOKEN, cache=cache)  # noqa: S104
        with TestClient(app, base_url="http://192.168.1.5:8765") as client:
            yield client

    def test_it_is_asked_for_everywhere(self, guarded):
        for address in ("/", "/api/info", "/static/app.js", "/api/items/1/picture"):
            assert guarded.get(address).status_code == 401
            wrong = guarded.get(address, headers={"Authorization": "Bearer a-token"})
            assert wrong.status_code == 401
            assert self.TOKEN not in wrong.text
        assert guarded.get("/?token=ä").status_code == 401

    def test_it_moves_from_the_address_into_a_cookie(self, guarded):
        answer = guarded.get(f"/api/items?limit=2&token={self.TOKEN}", follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/api/items?limit=2")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert guarded.get("/api/info").status_code == 200

    @pytest.mark.parametrize("asked", ["//evil.example/", "///evil.example", "/\\evil.example"])
    def test_it_leads_to_no_other_host(self, guarded, asked):
        scope = {
            "type": "http", "method": "GET", "path": asked, "raw_path": asked.encode(),
            "query_string": f"token={self.TOKEN}".encode(), "root_path": "",
            "headers": [(b"host", b"192.168.1.5:8765")], "server": ("192.168.1.5", 8765),
        }  # fmt: skip
        said = []

        async def ask():
            async def send(message):
                said.append(message)

            await guarded.app(scope, None, send)

        guarded.portal.call(ask)
        assert dict(said[0]["headers"])[b"location"] == b"/" + asked.lstrip("/\\").encode()

    def test_servers_on_other_ports_have_cookies_of_their_own(self, guarded):
        """A browser sends the cookies of one port's server to all ports of the host."""
        names = []
        for port in (8765, 8766):
            base = f"http://192.168.1.5:{port}"
            answer = guarded.get(f"{base}/?token={self.TOKEN}", follow_redirects=False)
            names.append(answer.headers["Set-Cookie"].partition("=")[0])
        assert names[0] != names[1]

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_a_bearer_is_let_in(self, guarded, scheme):
        headers = {"Authorization": f"{scheme} {self.TOKEN}"}
        assert guarded.get("/api/info", headers=headers).status_code == 200
        for other in (f"Basic {self.TOKEN}", self.TOKEN):
            assert guarded.get("/api/info", headers={"Authorization": other}).status_code == 401

    def test_a_name_that_is_not_the_machines_is_refused(self, guarded):
        headers = {"Authorization": f"Bearer {self.TOKEN}", "Host": "evil.example"}
        assert guarded.get("/api/info", headers=headers).status_code == 403


def test_bodies_are_bounded(client):
    """Bodies without a Content-Length are bounded as well."""
    said = client.post(
        "/api/match", content=b"", headers={"Content-Length": str(2**40), "Content-Type": "a/b"}
    )
    assert said.status_code == 413

    def parts():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(65):
            yield bytes(2**20)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/api/match", content=parts(), headers=kind)
    assert answer.status_code == 413
    assert "at most" in answer.json()["error"]


def chunk(kind, data):
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def test_pictures_are_bounded_in_pixels(client):
    """A few hundred bytes that unpack to 40 000 x 40 000 pixels."""
    head = (40_000).to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    answer = client.post("/api/match", files={"file": ("a.png", bomb, "image/png")})
    assert answer.status_code == 422
    assert "40000 x 40000 pixels would be unpacked" in answer.json()["error"]


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e999", "NaN", "1000001"])
def test_numbers_are_bounded(client, number):
    kind = {"Content-Type": "application/json"}
    body = f'{{"codes": [[0, 0, 0, {number}]]}}'
    answer = client.post("/api/decode", content=body, headers=kind)
    assert answer.status_code == 400
    assert "between -1e+06 and 1e+06" in answer.json()["error"]


def malformed(generator):
    """A picture, and a body, that may be truncated, changed or shuffled."""
    png = bytearray(encode_png(draw(1, SEED)[0]))
    for place in generator.integers(0, len(png), generator.integers(0, 12)):
        png[place] = generator.integers(256)
    contents = bytes(png[: generator.integers(len(png) + 1)])
    if generator.random() < 0.2:
        contents = generator.bytes(200)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + contents + b"\r\n--b--\r\n"
    )
    if generator.random() < 0.5:
        broken = bytearray(body)
        for place in generator.integers(0, len(body), generator.integers(1, 6)):
            broken[place] = generator.integers(256)
        body = bytes(broken[: generator.integers(1, len(broken) + 1)])
    return body


# The parser leaves temporary files of a broken body to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_five_hundred_malformed_uploads(client):
    generator = np.random.default_rng(SEED)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    statuses = set()
    for number in range(500):
        address = ("/api/match", "/api/encode", "/api/denoise", "/api/map")[number % 4]
        answer = client.post(address, content=malformed(generator), headers=kind)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        assert answer.status_code == 200 or list(answer.json()) == ["error"]
    assert {200, 400, 422} <= statuses


@pytest.fixture(scope="module")
def described(path, cache):
    return schemathesis.openapi.from_asgi(
        "/api/openapi.json", create_app(path, host="testserver", cache=cache)
    )


@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_the_description_allows_and_forbids(described, mode):
    """No request leads to a status 500, or to an answer that the description does not have."""
    asked = []
    for result in described.get_all_operations():
        operation = result.ok()

        @seed(SEED)
        @settings(max_examples=20, database=None, deadline=None, suppress_health_check=HealthCheck)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            # Input that fits the description may still be no picture, no filter, or an unknown id.
            checks = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
            asked.append(case.call_and_validate(excluded_checks=checks).status_code)

        try:
            ask()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # nothing that is said here can be wrong
    assert len(asked) > 200
    assert max(asked) < 500


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "narrows", "serve", *map(str, arguments), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_serves_until_it_is_interrupted(path):
    process = started(path)
    try:
        address = json.loads(process.stdout.readline())["address"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(f"{address}api/health") as answer:  # noqa: S310 (our own)
            assert json.load(answer)["status"] == "ok"
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert "Traceback" not in said


def test_another_address_has_a_token(path):
    process = started(path, "--host", "0.0.0.0")  # noqa: S104
    try:
        address = json.loads(process.stdout.readline())["address"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
        asked = address.replace("/?", "/api/health?")
        with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(asked) as found:
            assert json.load(found)["status"] == "ok"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_the_command_gives_its_options_on(path, run, monkeypatch):
    """Run the command in this process until it waits for requests."""
    served = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, **_: served.append(server))
    monkeypatch.setattr("click.launch", served.append)
    answer = run("serve", path, "--port", "0", "--json", "--open", "--training", path)
    address = json.loads(answer.out)["address"]
    assert answer.code == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    assert served[0] == address
    assert served[1].config.host == "127.0.0.1"
    refused = run("serve", path, "--training", "nowhere.csv")
    assert (refused.code, "'nowhere.csv' does not exist" in refused.err) == (3, True)


def test_a_port_that_is_taken_is_named(path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=f"port {port} of 127.0.0.1 cannot.*--port 0"):
            serve(path, port=port)
