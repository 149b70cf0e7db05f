"""The server with many concurrent requests, and while others change its library."""

import asyncio
import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO

import httpx2
import numpy as np
import pytest
from libraries import draw, fit
from PIL import Image

from narrows import Autoencoder, Decoder, Encoder, Library
from narrows.data.depths import encode_png
from narrows.data.reading import reading
from narrows.web import snapshot
from narrows.web.app import create_app
from narrows.web.batching import Batcher, Views, Worker

SEED = 10


def loop_of_its_own(ask):
    """Run a coroutine, even if other tests have left the browser's loop running in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(ask())).result()


@asynccontextmanager
async def asking(path, cache=None, **options):
    """Send requests within one event loop, so that they arrive while others are processed."""
    app = create_app(path, cache=cache, **options) if cache is not None else path
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as client,
    ):
        yield client


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model():
    return fit(draw(30, SEED))


@pytest.fixture
def referring(tmp_path, model):
    """A library that refers to files, and their folder."""
    folder = tmp_path / "o'brien's photos"
    folder.mkdir()
    for number, picture in enumerate(draw(10, SEED)):
        (folder / f"{number}.png").write_bytes(encode_png(picture))
    path = tmp_path / "references.lance"
    return Library.build(path, folder, model=model, store="references")[0], folder


def test_one_that_fails_spoils_nobody_elses_request(referring, cache):
    library, folder = referring
    (folder / "4.png").unlink()
    gone = library.find("path LIKE '%4.png'")[0]
    ids = [gone if turn % 5 == 0 else turn % 4 for turn in range(40)]

    async def ask():
        async with asking(library.path, cache) as client:
            answers = await asyncio.gather(
                *(client.post("/api/match", params={"id": int(one)}) for one in ids)
            )
            return answers, (await client.get("/api/metrics")).text

    answers, counted = loop_of_its_own(ask)
    assert [answer.status_code == 404 for answer in answers] == [one == gone for one in ids]
    batches = int(counted.partition("narrows_batch_size_count ")[2].split()[0])
    assert batches < len(ids)  # some were worked on together
    said = answers[0].json()["error"]
    assert said.startswith("'4.png' is not there any more")
    assert "brien" not in said
    assert str(library.path.parent) not in said
    np.testing.assert_array_equal(
        [match["id"] for match in answers[1].json()["matches"]],
        [match.id for match in library.match(ids=1, k=12)],
    )


def test_networks_work_in_one_thread(library, cache, monkeypatch):
    """All requests run torch in one thread, whose number of threads is set."""
    threads = set()
    for half, name in ((Encoder, "transform"), (Decoder, "inverse_transform")):
        original = getattr(half, name)

        def noting(self, given, *others, original=original):
            threads.add(threading.current_thread())
            return original(self, given, *others)

        monkeypatch.setattr(half, name, noting)
    for name in ("transform", "inverse_transform", "reconstruct"):
        original = getattr(Autoencoder, name)

        def noting(self, given, *others, original=original):
            threads.add(threading.current_thread())
            return original(self, given, *others)

        monkeypatch.setattr(Autoencoder, name, noting)
    picture = {"file": encode_png(draw(1, SEED)[0])}

    async def ask():
        async with asking(library.path, cache) as client:
            answers = await asyncio.gather(
                client.post("/api/match", files=picture),
                client.post("/api/match", params={"id": 3}),
                client.post("/api/encode", files=picture),
                client.post("/api/reconstruct", files=picture),
                client.post("/api/denoise", files=picture),
                client.post("/api/map", files=picture),
                client.post("/api/decode", json={"codes": [[0, 1, 2, 3]]}),
                client.post("/api/sample", json={"n": 40}),
                client.get("/api/items/3/reconstruction"),
            )
            return [answer.status_code for answer in answers]

    assert loop_of_its_own(ask) == [200] * 9
    assert len(threads) == 1


@pytest.fixture(scope="module")
def library(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("web") / "pictures.lance"
    return Library.build(path, draw(30, SEED), model=model)[0]


def test_many_codes_hold_up_no_single_one(library, cache, monkeypatch):
    """A single code is decoded while other requests decode hundreds."""
    decoded = []
    original = snapshot.Snapshot.decode

    def noting(self, codes):
        decoded.append(len(codes))
        return original(self, codes)

    monkeypatch.setattr(snapshot.Snapshot, "decode", noting)
    many, one = {"codes": 200 * [[0, 1, 2, 3]]}, {"codes": [[0, 1, 2, 3]]}

    async def ask():
        async with asking(library.path, cache) as client:
            waiting = [asyncio.create_task(client.post("/api/decode", json=many)) for _ in range(6)]
            while not decoded:
                await asyncio.sleep(0)
            before = len(decoded)
            await client.post("/api/decode", json=one)
            place = decoded.index(1)
            answers = await asyncio.gather(*waiting)
            return place - before, [len(answer.json()["pictures"]) for answer in answers]

    waited, counts = loop_of_its_own(ask)
    assert counts == 6 * [200]
    assert max(decoded) < 200
    assert sum(decoded) == 6 * 200 + 1
    assert waited < len(decoded) / 2


def png_of(width, height):
    """A black picture in two colours: a few kilobytes, however large."""
    file = BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_large_uploads_are_decoded_one_by_one(library, cache, monkeypatch):
    """All large pictures together take the memory of one."""
    decoded, now, most, lock = [], set(), [], threading.Lock()
    original = snapshot.Target.decode

    def noting(target, contents, notes):
        with lock:
            now.add(object_ := object())
            most.append(len(now))
        try:
            return original(target, contents, notes)
        finally:
            decoded.append(len(contents))
            with lock:
                now.remove(object_)

    monkeypatch.setattr(snapshot.Target, "decode", noting)
    large = {"file": png_of(4200, 4100)}

    async def ask():
        async with asking(library.path, cache) as client:
            requests = [
                client.post(f"/api/{name}", files=large)
                for name in 2 * ("match", "encode", "denoise", "map")
            ]
            return [answer.status_code for answer in await asyncio.gather(*requests)]

    assert loop_of_its_own(ask) == [200] * 8
    assert len(decoded) == 8
    assert max(most) == 1


def test_pixels_are_counted_whatever_pillow_warns_of(library, cache, monkeypatch):
    """Python's warning filters are shared by all threads, and another may change them."""
    monkeypatch.setattr("PIL.Image.warnings.warn", lambda *_: None)

    async def ask():
        # The option --max-pixels of narrows serve.
        with reading(max_pixels=10_000):
            app = create_app(library.path, cache=cache)
        async with asking(app) as client:
            return await client.post("/api/match", files={"file": png_of(101, 100)})

    answer = loop_of_its_own(ask)
    assert answer.status_code == 422
    assert (
        "101 x 100 pixels would be unpacked, more than the 10000 that are safe"
        in answer.json()["error"]
    )


def test_bodies_are_bounded_all_together(library, cache, monkeypatch):
    monkeypatch.setattr("narrows.web.security.MOST_AT_ONCE", 300_000)
    kind = {"Content-Type": "multipart/form-data; boundary=x"}

    async def ask():
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly():
            yield b"--x\r\n" + HEAD + bytes(200_000)
            begun.set()
            await go_on.wait()
            yield b"\r\n--x--\r\n"

        async with asking(library.path, cache) as client:
            first = asyncio.create_task(client.post("/api/encode", content=slowly(), headers=kind))
            await begun.wait()
            second = await client.post("/api/encode", files={"file": bytes(200_000)})
            go_on.set()
            await first
            third = await client.post("/api/encode", files={"file": bytes(200_000)})
            return second, third

    second, third = loop_of_its_own(ask)
    assert second.status_code == 503
    assert "try again later" in second.json()["error"]
    assert third.status_code == 422  # no picture, but taken


HEAD = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'


def test_json_is_bounded_by_what_can_be_asked(library, cache):
    async def ask():
        async with asking(library.path, cache) as client:
            kind = {"Content-Type": "application/json"}
            return [
                await client.post(f"/api/{name}", content=b" " * 2**20, headers=kind)
                for name in ("decode", "sample")
            ]

    for answer in loop_of_its_own(ask):
        assert answer.status_code == 413
        assert "JSON is too large" in answer.json()["error"]


def test_thumbnails_are_read_together_and_kept(library, cache, monkeypatch):
    asked = []
    original = Library.thumbnails

    def noting(self, ids):
        asked.append(list(ids))
        return original(self, ids)

    monkeypatch.setattr(Library, "thumbnails", noting)
    addresses = [f"/api/items/{number}/thumbnail" for number in range(12)]

    async def ask():
        async with asking(library.path, cache) as client:
            first = await asyncio.gather(*map(client.get, addresses))
            reads = len(asked)
            again = await asyncio.gather(*map(client.get, addresses))
            return first, reads, again

    first, reads, again = loop_of_its_own(ask)
    assert sorted(number for ids in asked for number in ids) == list(range(12))
    assert len(asked) == reads < 12
    truth = [encode_png(item.thumbnail) for item in library.items(range(12))]
    assert [answer.content for answer in first] == truth
    assert [answer.content for answer in again] == truth


def test_no_more_pictures_are_kept_than_fit(library, monkeypatch):
    size = len(library.thumbnails([0])[0])
    asked = []
    original = Library.thumbnails
    monkeypatch.setattr(
        Library, "thumbnails", lambda self, ids: asked.extend(ids) or original(self, ids)
    )

    async def ask():
        inference = Worker("inference")
        views = Views(inference, most_bytes=4 * size)
        shown = snapshot.Snapshot("a", library, library.model, "1")
        for number in (0, 1, 2, 3, 4, 5, 5, 4, 0):
            await views(shown, number, "thumbnail")
        views.close()
        inference.close()

    loop_of_its_own(ask)
    # The least recently used view has been dropped.
    assert asked[:6] == [0, 1, 2, 3, 4, 5]
    assert asked[6:] == [0]


def test_larger_pictures_and_colours(tmp_path, cache):
    """Pictures that are too large to be read or written without another thread."""
    generator = np.random.default_rng(SEED)
    X = generator.integers(0, 256, (12, 40, 36, 3), np.uint8)
    model = Autoencoder(3, hidden_layer_sizes=(8,), max_epochs=2, random_state=0).fit(X)
    library = Library.build(tmp_path / "colours.lance", X, model=model)[0]
    photo = encode_png(generator.integers(0, 256, (160, 240, 3), np.uint8))
    (tmp_path / "photo.png").write_bytes(photo)

    async def ask():
        async with asking(library.path, cache) as client:
            found = await client.post("/api/match", files={"file": photo}, params={"k": 5})
            return found.json()

    found = loop_of_its_own(ask)
    truth = library.match(tmp_path / "photo.png", k=5)
    assert [one["id"] for one in found["matches"]] == [match.id for match in truth]
    assert found["query"]["picture"].startswith("data:image/png;base64,")
    file = BytesIO(base64.b64decode(found["query"]["reconstruction"].partition(",")[2]))
    with Image.open(file) as image:
        assert (image.size, image.mode) == ((36, 40), "RGB")


def test_no_more_than_sixty_four_are_worked_on_together():
    """Later items get their turn, and a cancelled request does not affect others."""
    sizes = []

    async def ask():
        worker = Worker("squares")
        square = Batcher(lambda _, items: [item**2 for item in items], worker, sizes.append)
        waiting = [asyncio.create_task(square("key", number)) for number in range(150)]
        await asyncio.sleep(0)
        waiting[70].cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        worker.close()
        return found

    found = loop_of_its_own(ask)
    assert isinstance(found.pop(70), asyncio.CancelledError)
    assert found == [number**2 for number in range(150) if number != 70]
    assert sum(sizes) == 150
    assert max(sizes) == 64
