"""How fast the server answers, alone and under load.

    python -m benchmarks.web [--pictures 70000] [--clients 50] [--seconds 60]

A library of random 28 x 28 pictures under a small network, served in a process of its own, asked
over loopback by this process with as many threads as clients. Times are by the clock, both share
the processors.

opening: the first map (its preview), its legend and its ids, asked for right after starting.
single: match of an uploaded picture, its matches' thumbnails with it, and decoding one code.
load: so many clients that ask for matches without a pause, beside one such client: errors, the
99th percentile, rates, and the server's memory from the first tenth to the end.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.measuring import SEED, compared, pictures, row, table
from narrows import Autoencoder, Library
from narrows.data.depths import encode_png

BOUNDARY = "boundary-of-narrows"


def build(folder, count):
    X = pictures(count).reshape(-1, 28, 28)
    model = Autoencoder(32, max_epochs=1, random_state=SEED, early_stopping=False).fit(X[:2000])
    labels = [f"kind {i % 10}" for i in range(count)]
    return Library.build(folder / "pictures.lance", X, model=model, metadata={"label": labels})[0]


class Client:
    """A browser's connection: kept open, one request at a time."""

    def __init__(self, address):
        place = urlsplit(address)
        self._connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)

    def ask(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        start = time.perf_counter()
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        contents = answer.read()
        return answer.status, contents, time.perf_counter() - start

    def match(self, body):
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.ask("POST", "/api/match?k=12", body, Content_Type=kind)


def upload(picture):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return head.encode() + encode_png(picture) + f"\r\n--{BOUNDARY}--\r\n".encode()


def memory(process, kind="VmRSS"):
    """Return the MiB of memory of a kind, as Linux counts them, that a process has."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    return float("nan")


def load(address, bodies, clients, seconds, process):
    """Ask without a pause; return the times, the errors, and memory early and late."""
    until, times, errors = time.monotonic() + seconds, [], []

    def asking(number):
        client, turn = Client(address), number
        while time.monotonic() < until:
            try:
                status, _, taken = client.match(bodies[turn % len(bodies)])
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                return
            times.append(taken)
            if status != 200:
                errors.append(status)
            turn += 1

    threads = [threading.Thread(target=asking, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 10)
    early = memory(process)
    for thread in threads:
        thread.join()
    return np.array(times), errors, early, memory(process)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=70_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder), given.pictures)
        command = [sys.executable, "-m", "narrows", "serve", str(library.path)]
        process = subprocess.Popen(
            [*command, "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": folder},
        )
        try:
            measure(json.loads(process.stdout.readline())["address"], library, given, process)
        finally:
            process.terminate()
            process.wait()


def measure(address, library, given, process):
    client = Client(address)
    start = time.perf_counter()
    for path in ("/", "/static/app.js", "/api/info", "/api/map?color=label", "/api/map/ids"):
        assert client.ask("GET", path)[0] == 200
    opening = time.perf_counter() - start
    while client.ask("GET", "/api/map")[0] != 200 or not final(client):
        time.sleep(1)  # the final map takes the processors meanwhile
    bodies = [upload(x) for x in pictures(64).reshape(-1, 28, 28)]
    singles, shown, decoded = [], [], []
    code = json.dumps({"codes": library.codes[:1].tolist()})
    kinds = {"Content_Type": "application/json", "Accept": "image/png"}
    for body in bodies:
        _, answer, taken = client.match(body)
        singles.append(taken)
        start = time.perf_counter()
        for one in json.loads(answer)["matches"]:
            client.ask("GET", one["thumbnail"])
        shown.append(taken + time.perf_counter() - start)
        decoded.append(client.ask("POST", "/api/decode", code, **kinds)[2])
    alone, *_ = load(address, bodies, 1, given.seconds / 6, process)
    times, errors, early, late = load(address, bodies, given.clients, given.seconds, process)
    p99 = float(np.percentile(times, 99))
    single = float(np.median(singles))
    rates = len(alone) / (given.seconds / 6), len(times) / given.seconds
    table("what", "measured")
    row("match, one request, median", f"{1000 * single:.1f} ms")
    row(
        "match under load, median and 99th percentile",
        f"{1000 * np.median(times):.0f} ms, {1000 * p99:.0f} ms",
    )
    row("matches a second, one client", f"{rates[0]:.0f}")
    row(f"matches a second, {given.clients} clients", f"{rates[1]:.0f}")
    row("memory early and at the end", f"{early:.0f} MiB, {late:.0f} MiB")
    table("what", "measured", "goal", "met")
    compared("seconds to page and first map", opening, 2, at_most=True)
    compared("ms from upload to all pictures", 1000 * np.median(shown), 300, at_most=True)
    compared(
        "ms to decode a code, 95th percentile", 1000 * np.percentile(decoded, 95), 50, at_most=True
    )
    compared("errors under load", len(errors), 0, at_most=True)
    compared("99th percentile / single request", p99 / single, 10, at_most=True)
    compared(f"rate of {given.clients} clients / one client", rates[1] / rates[0], 3)
    compared("memory at the end / early", late / early, 1.05, at_most=True)


def final(client):
    return json.loads(client.ask("GET", "/api/map/legend")[1])["state"] == "final"


if __name__ == "__main__":
    main()
