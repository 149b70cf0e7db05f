"""The server while others change, replace or remove its library."""

import os
import shutil
from datetime import date

import numpy as np
import pytest
from libraries import draw, fit
from starlette.testclient import TestClient

from narrows import Autoencoder, Library
from narrows.data.depths import encode_png
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
    """Serve the library at a path until the test ends."""
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
    """The other library has the same model and the same ids."""
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
    """The library of pictures is replaced by one of a table, whose rows have no views."""
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
        """Add pictures before the first block is measured."""
        if not read:
            library.add(draw(1, SEED + 3))
            client.get("/api/map")
        read.append(len(ids))
        return original(self, ids)

    monkeypatch.setattr("narrows.web.background._BLOCK", 1)
    monkeypatch.setattr(Library, "read", changing)
    assert client.get("/api/map", params={"color": "error"}).status_code == 202
    assert isinstance(before._errors.exception(60), LibraryError)
    assert len(read) == 1


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """Make reports by a script, which fails or waits while certain files exist."""
    script, broken, pipe = (tmp_path / name for name in ("report.sh", "broken", "pipe"))
    script.write_text(
        "#!/bin/sh\n"
        f'if [ -e "{broken}" ]; then echo "\'/srv/photos/3.png\' is not there" >&2; exit 1; fi\n'
        f'if [ -e "{pipe}" ]; then cat "{pipe}"; fi\n'
        'mkdir "$4" && cp "$3/library.json" "$4/index.html"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    return broken, pipe


def test_the_report_is_made_again_for_a_changed_library(model, tmp_path, start, reports):
    library = Library.build(tmp_path / "own.lance", draw(30, SEED), model=model)[0]
    manifest = library.path / "library.json"
    client = start(library.path)

    def wait():
        client.portal.call(client.app.state.report.wait)
        return client.get("/api/report").json()

    assert client.get("/api/report").status_code == 202
    first = wait()
    assert (first["state"], first["current"]) == ("ready", True)
    shown = client.get("/report").text
    assert shown == manifest.read_text()
    library.add(draw(12, SEED + 1))
    os.mkfifo(reports[1])
    # The old report is shown until the new one is ready.
    assert client.get("/api/report").json() == {**first, "current": False}
    assert client.get("/report").text == shown
    reports[1].write_text("go on")
    second = wait()
    assert second["current"] is True
    assert second["version"] != first["version"]
    assert client.get("/report").text == manifest.read_text() != shown


def test_a_report_that_failed_is_tried_again(model, tmp_path, start, reports):
    library = Library.build(tmp_path / "own.lance", draw(20, SEED), model=model)[0]
    client = start(library.path)
    reports[0].touch()
    assert client.get("/api/report").status_code == 202
    client.portal.call(client.app.state.report.wait)
    refused(client.get("/api/report"), 422, "there is no report: '3.png' is not there")
    reports[0].unlink()
    assert client.get("/api/report").status_code == 202
    client.portal.call(client.app.state.report.wait)
    assert client.get("/api/report").json()["current"] is True


def test_a_library_of_an_encoder_alone(model, tmp_path, start):
    X = draw(9, SEED)
    library = Library.build(tmp_path / "own.lance", X, model=model.split()[0])[0]
    client = start(library.path)
    info = client.get("/api/info").json()["model"]
    assert (info["can_decode"], info["can_sample"], info["n_components"]) == (False, False, 4)
    found = client.post("/api/match", params={"id": 2, "k": 3}).json()
    assert [one["id"] for one in found["matches"]] == [m.id for m in library.match(ids=2, k=3)]
    assert {found["query"]["reconstruction"], found["query"]["error"]} == {None}
    assert client.get("/api/items/2/thumbnail").status_code == 200
    for answer in (
        client.get("/api/items/2/reconstruction"),
        client.get("/api/map", params={"color": "error"}),
        client.post("/api/decode", json={"codes": [[0, 0, 0, 0]]}),
        client.post("/api/sample", json={"n": 2}),
        client.post("/api/denoise", params={"id": 1}),
        client.get("/api/report"),
    ):
        refused(answer, 422, "an encoder alone")


def test_what_columns_can_colour(model, tmp_path, start):
    count = 300
    dates = [None if i == 3 else date(2020, 1, 1 + i % 2) for i in range(count)]
    metadata = {
        "day": dates,
        "name": [f"picture {i}" for i in range(count)],
        "size": [float("nan") if i == 5 else i / 2 for i in range(count)],
        "nothing": [float("nan")] * count,
    }
    X = draw(count, SEED)
    path = Library.build(tmp_path / "own.lance", X, model=model, metadata=metadata)[0].path
    client = start(path)

    def ask(color):
        return client.get("/api/map", params={"color": color}), client.get(
            "/api/map/legend", params={"color": color}
        )

    points, legend = ask("day")
    assert legend.json()["labels"] == ["2020-01-01", "2020-01-02"]
    assert list(points.content[8 * count :][:5]) == [0, 1, 0, 255, 0]
    points, legend = ask("size")
    assert (legend.json()["kind"], points.content[8 * count + 5]) == ("range", 255)
    refused(ask("name")[0], 400, "300 different values")
    refused(ask("nothing")[0], 422, "nothing to colour by")
    item = client.get("/api/items/5").json()["metadata"]
    assert (item["day"], item["size"]) == ("2020-01-02", None)


def test_writing_says_what_is_missing(model, tmp_path, start):
    path = Library.build(tmp_path / "own.lance", draw(1, SEED), model=model)[0].path
    client = start(path, writable=True)
    refused(client.patch("/api/items/0", json={"label": 1}), 400, "no metadata")
    refused(client.patch("/api/items/0", json={"metadata": {}}), 400, "nothing to change")
    refused(client.patch("/api/items/0", content="{}"), 415, "send JSON")
    huge = client.patch("/api/items/0", json={"metadata": {"n": 10**30}})
    assert huge.status_code in (400, 422)
    refused(client.post("/api/sample", json={}), 422, "too few pictures")
    refused(client.get("/api/items/0/face"), 404, "ask for picture, thumbnail, reconstruction")
    described = client.get("/api/openapi.json").json()["paths"]
    assert {"patch", "delete", "get"} <= described["/api/items/{id}"].keys()
    assert "201" in described["/api/items"]["post"]["responses"]
    assert "304" in described["/api/items/{id}/picture"]["get"]["responses"]
    assert "401" in described["/api/info"]["get"]["responses"]
