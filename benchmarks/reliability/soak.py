"""Memory and open handles of `narrows serve` under constant load.

A writable library of 5 000 pictures is served by a process of its own. Eight clients match, encode,
decode, restore and denoise pictures, page through the items, fetch thumbnails, the map and metrics,
add pictures and remove them again, send bad requests and close connections half-way. The process's
private anonymous memory (mapped files belong to the system's cache) and its open handles are
measured each second. They are flat if the median of the last tenth is at most 3 % and 8 MiB above
the median of the tenth that follows the first third, with at most 4 more handles. A quick round is
too short to judge the memory, which grows for some minutes until each thread has allocated its own.
"""

import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measuring import pictures
from benchmarks.reliability.outcome import SEED, Outcome
from benchmarks.web import BOUNDARY, Client, build, memory, upload

CLIENTS = 8
PICTURES = 5_000


def check(quick):
    seconds = 20 if quick else 1800
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder), 500 if quick else PICTURES)
        command = [sys.executable, "-m", "narrows", "serve", str(library.path), "--writable"]
        with subprocess.Popen(
            [*command, "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": folder},
        ) as process:
            try:
                address = json.loads(process.stdout.readline())["address"]
                return soak(address, process, seconds, library.codes[:1].tolist(), quick=quick)
            finally:
                process.terminate()


def soak(address, process, seconds, code, *, quick):
    until = time.monotonic() + seconds
    counts, failures = [0] * CLIENTS, []

    def asking(number):
        user = User(address, number, code)
        while time.monotonic() < until and len(failures) < 20:
            try:
                problem = user.act()
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                user = User(address, number + CLIENTS, code)
            if problem:
                failures.append(problem)
            counts[number] += 1

    threads = [threading.Thread(target=asking, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    held, handles = [], []
    while time.monotonic() < until and process.poll() is None:
        held.append(memory(process, "RssAnon"))
        handles.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        threads[0].join(1)
    for thread in threads:
        thread.join()
    if process.poll() is not None:
        failures.append(f"the server ended with {process.returncode}")
        return Outcome(sum(counts), "the server ended", failures)
    early, late = (statistics.median(part) for part in parts(held))
    opened, open_late = (statistics.median(part) for part in parts(handles))
    if not quick and late > early * 1.03 + 8:
        failures.append(f"memory grew from {early:.0f} to {late:.0f} MiB")
    if open_late > opened + 4:
        failures.append(f"open handles grew from {opened:.0f} to {open_late:.0f}")
    facts = (
        f"{CLIENTS} clients for {seconds / 60:.1f} minutes; memory {early:.0f} MiB after a third, "
        f"{late:.0f} MiB at the end; handles {opened:.0f} and {open_late:.0f}"
    )
    return Outcome(sum(counts), facts, failures)


def parts(values):
    """Return the tenth that follows the first third, and the last tenth."""
    third, tenth = len(values) // 3, max(1, len(values) // 10)
    return values[third : third + tenth], values[-tenth:]


class User:
    """One client, which does one thing after another in a seeded order."""

    def __init__(self, address, seed, code):
        self._place = urlsplit(address)
        self._client = Client(address)
        self._choose = random.Random(f"{SEED} {seed}")  # noqa: S311 (no secrets)
        self._bodies = [upload(x) for x in pictures(16).reshape(-1, 28, 28)]
        self._code = json.dumps({"codes": code})
        self._added = []

    def act(self):
        """Send a random request; return what is wrong with the answer, or None."""
        kinds = [self.match, self.picture, self.decode, self.page, self.small, self.wrong]
        rare = [self.add, self.remove, self.leave]
        return self._choose.choice(kinds * 4 + rare)()

    def _ask(self, expected, method, path, body=None, **headers):
        status, contents, _ = self._client.ask(method, path, body, **headers)
        wrong = f"{method} {path}: {status}, {contents[:200]!r}"
        return (None if status in expected else wrong), contents

    def _send(self, expected, path):
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        body = self._choose.choice(self._bodies)
        return self._ask(expected, "POST", path, body, Content_Type=kind)

    def match(self):
        where = self._choose.choice(["", "&where=label%20%3D%20%27kind%203%27", "&rerank=pixels"])
        return self._send((200,), f"/api/match?k=12{where}")[0]

    def picture(self):
        what = self._choose.choice(["encode", "reconstruct", "denoise?corruption=gaussian"])
        return self._send((200,), f"/api/{what}")[0]

    def decode(self):
        kinds = {"Content_Type": "application/json", "Accept": "image/png"}
        return self._ask((200,), "POST", "/api/decode", self._code, **kinds)[0]

    def page(self):
        number = self._choose.randrange(500)
        what = self._choose.choice(
            [f"/api/items?where=id%20%3E%20{number}", f"/api/items/{number}"]
        )
        return self._ask((200, 404), "GET", f"/api/{what}")[0]

    def small(self):
        number = self._choose.randrange(500)
        kind = self._choose.choice(["picture", "thumbnail", "reconstruction"])
        what = self._choose.choice(
            [
                f"/api/items/{number}/{kind}",
                "/api/health",
                "/api/metrics",
                "/api/latent",
                "/api/map",
            ]
        )
        return self._ask((200, 202, 404), "GET", what)[0]

    def wrong(self):
        what = self._choose.choice(
            ["/api/items?where=nothing%20%3D%201", "/api/items/x", "/api/nothing", "/api/match"]
        )
        return self._ask((400, 404, 405, 422), "GET", what)[0]

    def add(self):
        problem, contents = self._send((200, 201, 409), "/api/items")
        if problem is None:
            self._added += json.loads(contents).get("ids", [])
        return problem

    def remove(self):
        if not self._added:
            return None
        return self._ask((200, 204, 404), "DELETE", f"/api/items/{self._added.pop()}")[0]

    def leave(self):
        """Send half a request and close the connection."""
        with socket.create_connection((self._place.hostname, self._place.port), 30) as connection:
            connection.sendall(
                b"POST /api/match HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nx"
            )
