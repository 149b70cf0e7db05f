"""The server's answers, against the Python API."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from libraries import draw, fit
from PIL import Image
from starlette.testclient import TestClient

from narrows import Autoencoder, Library, VariationalAutoencoder
from narrows.data.depths import encode_png
from narrows.errors import OutputError
from narrows.evaluation import project
from narrows.training.progress import logged, on_epoch
from narrows.web import background
from narrows.web.app import create_app
from narrows.web.routes import read_runs

SEED = 8
COUNT = 60


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    X = draw(COUNT, SEED)
    path = tmp_path_factory.mktemp("web") / "pictures.lance"
    metadata = {"label": [f"kind {i % 3}" for i in range(COUNT)], "year": range(1900, 1960)}
    return Library.build(path, X, model=fit(X), metadata=metadata)[0]


@pytest.fixture(scope="module")
def client(library, tmp_path_factory):
    app = create_app(library.path, cache=tmp_path_factory.mktemp("cache"))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def file_of(pixels):
    return {"file": ("a.png", encode_png(pixels), "image/png")}


def pixels_of(uri):
    assert uri.startswith("data:image/png;base64,")
    return opened(base64.b64decode(uri.partition(",")[2]))


def opened(contents):
    with Image.open(BytesIO(contents)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def refused(answer, status, words):
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    said = answer.json()["error"]
    assert words in said
    assert "\n" not in said


def test_what_is_served(client, library):
    info = client.get("/api/info").json()
    assert info["library"]["count"] == COUNT
    assert info["library"]["columns"] == library.columns
    assert info["model"]["fingerprint"] == library.model.fingerprint_
    assert info["model"]["n_components"] == 4
    assert info["writable"] is False
    assert client.get("/api/health").json()["status"] == "ok"


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("rerank", ["none", "pixels"])
def test_a_file_is_matched_as_in_python(client, library, metric, rerank):
    query = draw(1, SEED + 1)[0]
    options = {"k": 7, "metric": metric, "where": "year > 1910"}
    found = client.post(
        "/api/match", params={**options, "rerank": rerank}, files=file_of(query)
    ).json()
    truth = library.match(query, **options, rerank=None if rerank == "none" else rerank)
    assert [one["id"] for one in found["matches"]] == [match.id for match in truth]
    np.testing.assert_allclose(
        [one["distance"] for one in found["matches"]], [m.distance for m in truth], rtol=1e-4
    )
    assert found["matches"][0]["metadata"] == truth[0].metadata
    restored = library.model.reconstruct(query[None])[0]
    assert found["query"]["id"] is None
    np.testing.assert_array_equal(pixels_of(found["query"]["picture"]), query)
    np.testing.assert_allclose(
        pixels_of(found["query"]["reconstruction"]), np.clip(np.rint(restored), 0, 255), atol=1
    )
    assert found["query"]["error"] == pytest.approx(
        library.model.reconstruction_error(query[None])[0], rel=1e-4
    )


def test_a_picture_of_the_library_is_matched_among_the_others(client, library):
    found = client.post("/api/match", params={"id": 5, "k": 4}).json()
    truth = library.match(ids=5, k=4)
    assert [one["id"] for one in found["matches"]] == [match.id for match in truth]
    assert found["query"]["id"] == 5
    assert 0 < found["seconds"] < 60
    assert found["query"]["picture"] == "/api/items/5/picture"


def test_items_are_listed_filtered_and_shown(client, library):
    page = client.get("/api/items", params={"where": "label = 'kind 1'", "limit": 3}).json()
    ids = library.find("label = 'kind 1'")
    assert page["total"] == len(ids)
    assert [one["id"] for one in page["items"]] == ids[:3].tolist()
    more = client.get("/api/items", params={"offset": COUNT - 2}).json()
    assert [one["id"] for one in more["items"]] == [COUNT - 2, COUNT - 1]
    chosen = client.get("/api/items", params={"ids": "9,3"}).json()
    assert [one["id"] for one in chosen["items"]] == [9, 3]
    one = client.get("/api/items/9").json()
    np.testing.assert_allclose(one["code"], library.items([9])[0].code, rtol=1e-6)
    for kind, truth in (
        ("picture", library.read([9])[0]),
        ("thumbnail", library.read([9])[0]),
        ("reconstruction", library.model.scaling_.to_pixels(library.items([9])[0].decoded)),
    ):
        answer = client.get(one[kind])
        np.testing.assert_array_equal(opened(answer.content), truth)
        again = client.get(one[kind], headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_codes_go_out_and_come_back(client, library):
    X = draw(3, SEED + 2)
    files = [("file", (f"{i}.png", encode_png(x), "image/png")) for i, x in enumerate(X)]
    codes = client.post("/api/encode", files=files).json()["codes"]
    np.testing.assert_allclose(codes, library.model.transform(X), rtol=1e-4, atol=1e-5)
    truth = library.model.scaling_.to_pixels(
        library.model.inverse_transform(np.array(codes, np.float32))
    )
    pictures = client.post("/api/decode", json={"codes": codes}).json()["pictures"]
    for shown, expected in zip(pictures, truth, strict=True):
        np.testing.assert_allclose(pixels_of(shown), expected, atol=1)
    one = client.post("/api/decode", json={"codes": codes[:1]}, headers={"Accept": "image/png"})
    np.testing.assert_allclose(opened(one.content), truth[0], atol=1)


def test_damage_is_done_and_restored(client, library):
    picture = draw(1, SEED + 3)[0]
    found = client.post("/api/denoise", files=file_of(picture)).json()
    assert found["error_damaged"] == 0
    assert found["error_restored"] == pytest.approx(
        library.model.reconstruction_error(picture[None])[0], rel=1e-4
    )
    masked = client.post(
        "/api/denoise", params={"corruption": "masking", "amount": 1}, files=file_of(picture)
    ).json()
    shift = library.model.scaling_.to_pixels(library.model.scaling_.shift.numpy())
    np.testing.assert_allclose(pixels_of(masked["damaged"]), np.broadcast_to(shift, (6, 5)))
    same = [
        client.post(
            "/api/denoise",
            params={"id": 4, "corruption": "salt_and_pepper", "amount": 0.5, "seed": seed},
        ).json()["damaged"]
        for seed in (1, 1, 2)
    ]
    assert same[0] == same[1] != same[2]
    assert set(np.unique(pixels_of(same[0]))) <= {0, 255, *np.unique(library.read([4]))}


def test_restoring_says_which_size_a_picture_had(client, tmp_path_factory):
    large = np.kron(draw(1, SEED + 3)[0], np.ones((7, 9), np.uint8))
    for address in ("/api/denoise", "/api/reconstruct"):
        found = client.post(address, files=file_of(large)).json()
        assert (found["given_size"], found["size"]) == ([42, 45], [6, 5])
        own = client.post(address, params={"id": 4}).json()
        assert own["given_size"] == own["size"] == [6, 5]
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.png").write_bytes(encode_png(large))
    library, _ = Library.build(folder / "l", folder / "a.png", model=fit(draw(COUNT, SEED)))
    assert library.sizes([0]) == [(42, 45)]
    with TestClient(create_app(library.path), base_url="http://127.0.0.1") as other:
        found = other.post("/api/denoise", params={"id": 0}).json()
        assert (found["given_size"], found["size"]) == ([42, 45], [6, 5])


def test_units_are_ordered_by_their_variance(client, library):
    latent = client.get("/api/latent").json()
    variance = library.codes.var(axis=0)
    assert [unit["index"] for unit in latent["units"]] == np.argsort(-variance).tolist()
    assert sum(unit["share"] for unit in latent["units"]) == pytest.approx(1)
    np.testing.assert_allclose(latent["mean_code"], library.codes.mean(axis=0), rtol=1e-5)
    drawn = client.post("/api/sample", json={"n": 5, "seed": 3}).json()
    assert np.shape(drawn["codes"]) == (5, 4)
    assert pixels_of(drawn["pictures"][4]).shape == (6, 5)
    assert client.post("/api/sample", json={"n": 5, "seed": 3}).json() == drawn


def points(answer):
    values = np.frombuffer(answer.content[: 8 * COUNT], "<f4").reshape(2, COUNT).T
    return values, np.frombuffer(answer.content[8 * COUNT :], np.uint8)


def wait_for_the_map(client):
    client.app.state.map()._final.result(60)
    answer = client.get("/api/map", params={"color": "label"})
    assert answer.headers["X-Map-State"] == "final"
    return answer


def test_the_map_has_every_picture_at_its_place(client, library):
    places, colours = points(wait_for_the_map(client))
    truth = project(library.codes, random_state=0).points
    centred = truth - (truth.max(axis=0) + truth.min(axis=0)) / 2
    np.testing.assert_allclose(places, centred / np.abs(centred).max(), atol=1e-5)
    assert np.abs(places).max() == pytest.approx(1)
    assert colours.tolist() == [i % 3 for i in range(COUNT)]
    legend = client.get("/api/map/legend", params={"color": "label"}).json()
    assert (legend["kind"], legend["labels"]) == ("categories", ["kind 0", "kind 1", "kind 2"])
    ids = np.frombuffer(client.get("/api/map/ids").content, "<u4")
    np.testing.assert_array_equal(ids, library.ids)
    by_year = client.get("/api/map", params={"color": "year"})
    assert np.all(np.diff(points(by_year)[1].astype(int)) >= 0)
    place = client.post("/api/map", params={"id": 11}).json()
    np.testing.assert_allclose([place["x"], place["y"]], places[11], atol=1e-3)
    query = client.post("/api/map", files=file_of(library.read([11])[0])).json()
    np.testing.assert_allclose([query["x"], query["y"]], places[11], atol=1e-3)


def test_the_map_by_error(client, library):
    while (answer := client.get("/api/map", params={"color": "error"})).status_code == 202:
        client.app.state.map()._errors.result(60)
    errors = library.model.reconstruction_error(library.read(library.ids))
    shown = points(answer)[1]
    assert shown[np.argmin(errors)] == 0
    assert shown[np.argmax(errors)] == 254
    legend = client.get("/api/map/legend", params={"color": "error"}).json()
    np.testing.assert_allclose([legend["min"], legend["max"]], np.percentile(errors, [1, 99]))


def test_runs_of_training(library, tmp_path):
    log = tmp_path / "logs" / "run.csv"
    log.parent.mkdir()
    log.write_text("epoch,loss\n1,2.5\n2,nan\n3,1.")
    with TestClient(
        create_app(library.path, training=[log.parent], cache=tmp_path), base_url="http://localhost"
    ) as client:
        answer = client.get("/api/training")
        run = answer.json()["runs"][0]
        assert run["name"] == "run"
        assert (run["columns"], run["rows"]) == (["epoch", "loss"], [[1, 2.5], [2, None]])
        assert run["live"] is True
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert client.get("/api/training", headers=tag).status_code == 304
        log.write_text("epoch,loss\n1,2.5\n2,nan\n3,1.5\n")
        assert client.get("/api/training", headers=tag).json()["runs"][0]["rows"][2] == [3, 1.5]


def test_the_report_is_made_when_it_is_asked_for(client):
    assert client.get("/report").status_code == 404
    assert client.get("/api/report").status_code == 202
    client.portal.call(client.app.state.report.wait)
    said = client.get("/api/report").json()
    assert (said["state"], said["url"], said["current"]) == ("ready", "/report", True)
    page = client.get("/report")
    assert "pictures.lance" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert policy.endswith("sandbox")
    assert "script" not in policy


def test_the_report_is_of_the_librarys_pictures(library, tmp_path, monkeypatch):
    """The program that the server starts in another process, run in this one."""
    lowered = []
    monkeypatch.setattr("os.nice", lowered.append)
    monkeypatch.setattr("sys.argv", ["report", str(library.path), str(tmp_path / "report")])
    background.main()
    assert lowered == [19]
    said = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert said["figures"]["n_rows"] == COUNT
    monkeypatch.setattr("sys.argv", ["report", str(library.path), str(tmp_path / "report")])
    with pytest.raises(SystemExit, match="exists"):
        background.main()


def test_training_is_logged_line_by_line(tmp_path, pictures):
    log, seen = tmp_path / "run.csv", []
    with logged(log), on_epoch(lambda _: seen.append(log.read_text("utf-8"))):
        model = Autoencoder(3, max_epochs=3, random_state=SEED).fit(pictures)
    # Each line is written at the end of its epoch, or of the next at the latest.
    assert [len(text.splitlines()) for text in seen] == [2, 3, 4]
    run = read_runs([log])[0][0]
    assert run["columns"] == model.history_.columns
    rows = run["rows"]
    np.testing.assert_allclose([row[1] for row in rows], model.history_["loss"], rtol=1e-8)
    with pytest.raises(OutputError, match="cannot be written"), logged(tmp_path):
        pytest.fail("nothing is trained without its log")


def test_a_writable_library(library, model, tmp_path):
    X = draw(5, SEED + 4)
    path = Library.build(
        tmp_path / "own.lance", X[:4], model=model, metadata={"label": list("abcd")}
    )[0].path
    with TestClient(
        create_app(path, writable=True, cache=tmp_path), base_url="http://localhost"
    ) as client:
        added = client.post("/api/items", files=file_of(X[4]))
        assert (added.status_code, added.json()) == (201, {"count": 1, "total": 5})
        changed = client.patch("/api/items/2", json={"metadata": {"label": "z"}})
        assert changed.json()["metadata"] == {"label": "z"}
        assert client.delete("/api/items/0").status_code == 204
        refused(client.get("/api/items/0"), 404, "0")
        named = client.patch("/api/items/2", json={"metadata": {"a\0": 1}})
        refused(named, 400, "'a\\x00' with a NUL")
        ids = np.frombuffer(client.get("/api/map/ids").content, "<u4")
        assert ids.tolist() == [1, 2, 3, 4]
    assert Library.open(path).items([2])[0].metadata == {"label": "z"}


def test_what_others_do_to_the_library_is_seen(model, tmp_path):
    X = draw(6, SEED + 5)
    library = Library.build(tmp_path / "own.lance", X[:3], model=model)[0]
    with TestClient(
        create_app(library.path, cache=tmp_path), base_url="http://localhost"
    ) as client:
        library.add(X[3:])
        assert client.get("/api/items").json()["total"] == 6
        assert len(client.get("/api/map/ids").content) == 4 * 6
        other = fit(X, seed=1)
        library.reencode(other)
        shown = client.get("/api/items/2").json()
        np.testing.assert_allclose(shown["code"], other.transform(X[2:3])[0], rtol=1e-4, atol=1e-5)
        assert client.get("/api/info").json()["model"]["fingerprint"] == other.fingerprint_


def test_an_empty_library_says_so(model, tmp_path):
    path = Library.create(tmp_path / "own.lance", model=model).path
    with TestClient(
        create_app(path, writable=True, cache=tmp_path), base_url="http://localhost"
    ) as client:
        assert client.get("/api/items").json() == {"total": 0, "items": []}
        for answer in (
            client.get("/api/map"),
            client.get("/api/latent"),
            client.post("/api/match", files=file_of(draw(1)[0])),
        ):
            refused(answer, 422, "is empty")
        assert client.post("/api/items", files=file_of(draw(1)[0])).status_code == 201
        assert len(client.get("/api/map").content) == 9


def test_a_library_to_be_read_is_not_written(client, library):
    for answer in (
        client.post("/api/items", files=file_of(draw(1)[0])),
        client.patch("/api/items/2", json={"metadata": {"label": "z"}}),
        client.delete("/api/items/2"),
    ):
        refused(answer, 403, "--writable")
    assert len(library.refresh()) == COUNT


def test_a_model_alone(tmp_path, pictures):
    model = VariationalAutoencoder(3, hidden_layer_sizes=(8,), max_epochs=2, random_state=SEED)
    path = model.fit(pictures).save(tmp_path / "model")
    with TestClient(create_app(path), base_url="http://localhost") as client:
        assert client.get("/api/info").json()["library"] is None
        units = client.get("/api/latent").json()["units"]
        np.testing.assert_allclose([unit["std"] for unit in units], 1, atol=0.05)
        assert np.shape(client.post("/api/sample", json={"n": 2}).json()["codes"]) == (2, 3)
        for answer in (
            client.post("/api/match", files=file_of(pictures[0])),
            client.get("/api/items"),
            client.get("/api/map"),
            client.get("/api/report"),
        ):
            refused(answer, 422, "serve a library")


def test_bad_questions_get_one_line(client):
    picture = file_of(draw(1)[0])
    refused(client.post("/api/match", params={"k": 0}, files=picture), 400, "from 1 to 100")
    refused(client.post("/api/match", params={"kk": 1}, files=picture), 400, "known are")
    refused(client.post("/api/match", params={"where": "a ="}, files=picture), 400, "label")
    refused(client.post("/api/match", params={"id": 9999}), 400, "9999 in 'pictures.lance'")
    for name in ("match", "denoise", "reconstruct", "map"):
        both = client.post(f"/api/{name}", params={"id": 1}, files=picture)
        refused(both, 400, "one of the two")
    refused(client.get("/api/items/9999"), 404, "9999 in 'pictures.lance'")
    refused(client.post("/api/match", json={}), 415, "multipart")
    refused(client.post("/api/match", files={"other": b"x"}), 400, "'file'")
    refused(client.post("/api/match", files={"file": b"no picture"}), 422, "cannot be read")
    refused(client.get("/api/items/x"), 404, "whole numbers")
    refused(client.get("/api/items/7/../../secret"), 404, "")
    refused(client.post("/api/decode", json={"codes": [[1, 2]]}), 400, "list of 4 numbers")
    refused(
        client.post("/api/decode", content="{", headers={"Content-Type": "application/json"}),
        400,
        "no JSON",
    )
    refused(client.post("/api/sample", json={"n": True}), 400, "from 1 to 64")
    refused(client.get("/api/map", params={"color": "shape"}), 400, "label, year")
    refused(client.get("/nowhere"), 404, "")
    refused(client.delete("/api/health"), 405, "")


def test_monitoring_counts(client):
    client.get("/api/health")
    text = client.get("/api/metrics").text
    line = 'narrows_requests_total{method="GET",route="/api/health",status="200"} '
    assert int(text.partition(line)[2].split()[0]) >= 1
    assert f"narrows_pictures {COUNT}\n" in text
    assert "narrows_batch_size_count" in text
    refused(client.get("/api/metrics", params={"seconds": 1}), 400, "known are: none")
    for method in ("MADE-UP", "UP-TOO"):
        client.request(method, "/api/health")
    text = client.get("/api/metrics").text
    line = 'narrows_requests_total{method="other",route="/api/health",status="405"} '
    assert f"{line}2\n" in text
    assert "UP" not in text


def test_the_description_names_every_address(client):
    described = client.get("/api/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    served = {
        (route.path, method.lower())
        for route in client.app.routes
        for method in getattr(route, "methods", None) or ()
        if route.path.startswith("/api/") and method != "HEAD"
    }
    writing = {
        ("/api/items", "post"), ("/api/items/{id}", "patch"), ("/api/items/{id}", "delete")
    }  # fmt: skip
    named = {
        (path.replace(f"/{kind}", "/{kind}") if "{id}/" in path else path, method)
        for path, methods in described["paths"].items()
        for method in methods
        for kind in [path.rsplit("/", 1)[-1]]
    }
    assert named == served - writing
    assert json.dumps(described)
