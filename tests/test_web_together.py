"""The server while much is asked at once, and while others change what it serves."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from libraries import draw, fit

from narrows import Library
from narrows.data.images import encode_png
from narrows.web.app import create_app

SEED = 10


@asynccontextmanager
async def asking(path, cache, **options):
    """Ask within one loop, so that requests come while others are worked on."""
    app = create_app(path, cache=cache, **options)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as client,
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
    """A library of files that stay where they are, and their folder."""
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

    answers, counted = asyncio.run(ask())
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
