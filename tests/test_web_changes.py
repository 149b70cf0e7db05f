"""The server while others change, replace or remove what it serves."""

import shutil

import numpy as np
import pytest
from libraries import draw, fit
from starlette.testclient import TestClient

from narrows import Autoencoder, Library
from narrows.data.images import encode_png
from narrows.errors import DataError, LibraryError
from narrows.web.app import create_app

SEED = 11


@pytest.fixture(scope="module")
def model():
    return fit(draw(30, SEED))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(cache):
    """Serve what is at a path until the test ends."""
    started = []

    def start(path, **options):
        client = TestClient(create_app(path, cache=cache, **options), base_url="http://localhost")
        started.append(client)
        return client.__enter__()

    yield start
    for client in started:
        client.__exit__(None, None, None)


def refused(answer, status, words):
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]


@pytest.mark.parametrize("kind", ["picture", "thumbnail", "reconstruction"])
def test_pictures_of_a_replaced_library_are_shown_anew(model, tmp_path, start, kind):
    """Of the same model, and with the same ids."""
    path = tmp_path / "pictures.lance"
    Library.build(path, draw(5, SEED), model=model)
    other = Library.build(tmp_path / "other.lance", draw(5, SEED + 1), model=model)[0]
    client = start(path)
    before = client.get(f"/api/items/3/{kind}")
    tag = {"If-None-Match": before.headers["ETag"]}
    assert client.get(f"/api/items/3/{kind}", headers=tag).status_code == 304
    assert "no-cache" in before.headers["Cache-Control"]
    shutil.rmtree(path)
    refused(client.get(f"/api/items/3/{kind}", headers=tag), 404, "there is no library")
    shutil.copytree(other.path, path)
    after = client.get(f"/api/items/3/{kind}", headers=tag)
    assert after.status_code == 200
    assert after.content != before.content
    assert after.content == start(other.path).get(f"/api/items/3/{kind}").content


def test_a_library_of_another_shape_in_its_place(model, tmp_path, start):
    """First pictures, then rows of a table, which nobody can look at."""
    path = tmp_path / "pictures.lance"
    Library.build(path, draw(5, SEED), model=model)
    rows = np.random.default_rng(SEED).random((20, 7))
    tables = Autoencoder(2, hidden_layer_sizes=(4,), max_epochs=2, random_state=0).fit(rows)
    client = start(path)
    assert client.get("/api/info").json()["model"]["shows_pictures"] is True
    Library.build(path, rows, model=tables, overwrite=True)
    info = client.get("/api/info").json()
    assert info["model"]["shows_pictures"] is False
    assert info["model"]["can_denoise"] is False
    found = client.post("/api/match", params={"id": 1, "k": 3}).json()
    assert [found["query"][name] for name in ("picture", "reconstruction")] == [None, None]
    for match in found["matches"]:
        assert {match["picture"], match["thumbnail"], match["reconstruction"]} == {None}
    for kind in ("picture", "thumbnail", "reconstruction"):
        refused(client.get(f"/api/items/1/{kind}"), 422, "no pictures")
    picture = {"file": encode_png(draw(1)[0])}
    refused(client.post("/api/match", files=picture), 422, "no pictures")
    assert client.post("/api/sample", json={"n": 2}).json()["pictures"] == [None, None]


def test_answers_about_the_map_name_the_library_that_they_are_of(model, tmp_path, start):
    library = Library.build(tmp_path / "own.lance", draw(5, SEED), model=model)[0]
    client = start(library.path)

    def versions():
        answers = [client.get(f"/api/map{part}") for part in ("", "/ids", "/legend")]
        answers.append(client.post("/api/map", params={"id": 2}))
        return {answer.headers["X-Map-Version"] for answer in answers}

    before = versions()
    library.add(draw(2, SEED + 1))
    after = versions()
    assert len(before) == len(after) == 1
    assert before != after


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_pictures_have_their_final_map_at_once(model, tmp_path, start, count, caplog):
    path = Library.build(tmp_path / "own.lance", draw(count, SEED), model=model)[0].path
    client = start(path)
    client.app.state.map()._final.result(60)
    answer = client.get("/api/map")
    assert answer.headers["X-Map-State"] == "final"
    x, y = np.frombuffer(answer.content[: 8 * count], "<f4").reshape(2, count)
    assert (x.min(), x.max()) == ((0, 0) if count == 1 else (-1, 1))
    assert np.abs(y).max() < 1e-6
    assert not caplog.records


def test_a_map_that_fails_is_told_of(model, tmp_path, start, monkeypatch, caplog):
    def failing(*_, **__):
        raise DataError("these codes make no map")

    monkeypatch.setattr("narrows.evaluation.project", failing)
    path = Library.build(tmp_path / "own.lance", draw(9, SEED + 2), model=model)[0].path
    client = start(path)
    client.app.state.map()._final.exception(60)
    answer = client.get("/api/map")
    assert answer.headers["X-Map-State"] == "final"
    assert len(answer.content) == 9 * 9
    assert "these codes make no map" in caplog.text


def test_colours_that_failed_are_tried_again(model, tmp_path, start):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, picture in enumerate(draw(5, SEED)):
        (folder / f"{number}.png").write_bytes(encode_png(picture))
    library = Library.build(tmp_path / "own.lance", folder, model=model, store="references")[0]
    client = start(library.path)
    (folder / "3.png").rename(folder / "gone")

    def ask():
        while (answer := client.get("/api/map", params={"color": "error"})).status_code == 202:
            client.app.state.map()._errors.exception(60)
        return answer

    refused(ask(), 404, "'3.png' is not there any more")
    (folder / "gone").rename(folder / "3.png")
    assert ask().status_code == 200


def test_outdated_maps_are_not_computed_to_their_end(model, tmp_path, start, monkeypatch):
    library = Library.build(tmp_path / "own.lance", draw(5, SEED), model=model)[0]
    client = start(library.path)
    before = client.app.state.map()
    before._final.result(60)
    read = []
    original = Library.read

    def changing(self, ids):
        """Before the first block of pictures is measured, others come."""
        if not read:
            library.add(draw(1, SEED + 3))
            client.get("/api/map")
        read.append(len(ids))
        return original(self, ids)

    monkeypatch.setattr("narrows.web.maps._BLOCK", 1)
    monkeypatch.setattr(Library, "read", changing)
    assert client.get("/api/map", params={"color": "error"}).status_code == 202
    assert isinstance(before._errors.exception(60), LibraryError)
    assert len(read) == 1


def test_the_report_is_made_again_for_a_changed_library(model, tmp_path, start):
    library = Library.build(tmp_path / "own.lance", draw(30, SEED), model=model)[0]
    client = start(library.path)

    def wait():
        client.portal.call(client.app.state.report.wait)
        return client.get("/api/report").json(), client.get("/report").text

    assert client.get("/api/report").status_code == 202
    state, first = wait()
    assert (state["state"], state["current"]) == ("ready", True)
    before = state["version"]
    library.add(draw(12, SEED + 1))
    # The old one is shown until the new one is there.
    assert client.get("/api/report").json()["current"] is False
    assert client.get("/report").text == first
    state, second = wait()
    assert state["current"] is True
    assert "42" in second
    assert second != first
    assert state["version"] != before
