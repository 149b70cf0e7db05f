"""Libraries whose codes an encoder makes that was trained elsewhere."""

import json

import numpy as np
import onnx_kit
import pytest
from onnx import helper
from onnx_kit import PIXELS, SIDE, WIDTH, expected
from PIL import Image
from starlette.testclient import TestClient

from narrows import Autoencoder, Library, PictureEncoder
from narrows.data.depths import encode_png
from narrows.errors import (
    DataError,
    FormatError,
    LibraryError,
    NarrowsError,
    ParameterError,
    WrongModelError,
)
from narrows.library.duplicates import find
from narrows.web.app import create_app

X = np.random.default_rng(onnx_kit.SEED).integers(0, 256, (30, SIDE, SIDE, 3), np.uint8)
TRUE = expected(X)
PLAIN = ["--mean", "0", "--deviation", "1"]


def nearest(code, k):
    return np.argsort(np.linalg.norm(TRUE - code, axis=1), kind="stable")[:k].tolist()


def photos(folder, count=12):
    """Pictures of other sizes, larger than the encoder's and in other proportions."""
    folder.mkdir()
    for number in range(count):
        row = X[number].repeat(4, axis=0).repeat(8, axis=1)
        Image.fromarray(row).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def file(tmp_path):
    return onnx_kit.save(tmp_path / "m.onnx")


def test_codes_are_the_networks_and_the_library_needs_no_other_file(tmp_path, file):
    encoder = PictureEncoder.from_onnx(file, **PIXELS)
    library = Library.create(tmp_path / "l.lance", encoder=encoder)
    assert library.add(X[:20]).count == 20
    file.unlink()
    opened = Library.open(library.path)
    assert opened.add(X[10:]).present == 10
    assert np.allclose(opened.codes, TRUE, rtol=1e-4, atol=1e-5)
    for number in (0, 17, 29):
        found = [match.id for match in opened.match(X[number], k=4)]
        assert found == nearest(TRUE[number], 4)
    by_angle = opened.match(X[:1], k=1, metric="cosine")[0][0]
    assert by_angle.id == 0
    assert opened.match(X[3], k=1, rerank="pixels")[0].distance == 0
    assert opened.verify().ok
    assert len(find(opened).groups) == 0
    with pytest.raises(LibraryError, match="codes cannot be decoded"):
        opened.match(X[3], rerank="pixels", rerank_on="decoded")


def test_files_are_prepared_for_the_network_and_found_again(tmp_path, file):
    folder = photos(tmp_path / "photos")
    for crop in (None, 1.0):
        encoder = PictureEncoder.from_onnx(file, crop=crop, **PIXELS)
        library, _ = Library.build(tmp_path / f"{crop}.lance", folder, encoder=encoder)
        boxes = {None: None, 1.0: (32, 0, 96, 64)}
        rows = [
            Image.open(name).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC, box=boxes[crop], reducing_gap=2.0
            )
            for name in sorted(folder.iterdir())
        ]
        assert np.allclose(library.codes, expected(np.stack(rows)), rtol=1e-4, atol=1e-5)
        assert library.match(folder / "07.png", k=1)[0].distance < 1e-5
        assert library.verify().ok


def test_a_module_is_given_again(tmp_path):
    encoder = PictureEncoder.from_module(onnx_kit.module(), size=SIDE, **PIXELS)
    library, _ = Library.build(tmp_path / "l.lance", X, encoder=encoder)
    assert library.match(X[4], k=1)[0].id == 4
    assert library.verify().ok
    alone = Library.open(library.path)
    assert [match.id for match in alone.match(ids=4, k=3)] == nearest(TRUE[4], 4)[1:]
    assert alone.items([3])[0].picture.tolist() == X[3].tolist()
    for use in (lambda: alone.match(X[4]), lambda: alone.add(255 - X), alone.verify):
        with pytest.raises(LibraryError, match=r"torch module .*Library\.open\(path, encoder="):
            use()
    again = Library.open(library.path, encoder=encoder)
    assert again.match(X[4], k=1)[0].id == 4
    assert again.refresh().match(X[4], k=1)[0].id == 4


def test_another_encoder_is_refused(tmp_path, file):
    own = PictureEncoder.from_onnx(file, **PIXELS)
    library, _ = Library.build(tmp_path / "l.lance", X, encoder=own)
    other_file = onnx_kit.save(tmp_path / "o.onnx", weights=2 * onnx_kit.WEIGHTS)
    other = PictureEncoder.from_onnx(other_file, **PIXELS)
    brighter = PictureEncoder.from_onnx(file, scale=1, **PIXELS)
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(X)
    learned, _ = Library.build(tmp_path / "m.lance", X, model=model)
    assert Library.open(library.path, encoder=own).path == library.path
    for path, given, message in (
        (library.path, {"encoder": other}, f"network {own.network_sha256_[:12]}, the one given"),
        (library.path, {"encoder": brighter}, "same network .* pixels times 0.003922"),
        (library.path, {"model": model}, "were made by model"),
        (learned.path, {"encoder": own}, "and an encoder is given"),
    ):
        with pytest.raises(WrongModelError, match=message) as caught:
            Library.open(path, **given)
        assert len(str(caught.value)) <= 480
    with pytest.raises(ParameterError, match="encoder is a str"):
        Library.open(library.path, encoder=str(file))


def test_a_model_or_an_encoder_is_given(tmp_path, file):
    encoder = PictureEncoder.from_onnx(file, **PIXELS)
    for given, message in (
        ({}, "neither a model nor an encoder"),
        ({"encoder": encoder, "model": encoder}, "a model and an encoder given"),
        ({"encoder": onnx_kit.module()}, "encoder is a Sequential"),
    ):
        with pytest.raises(ParameterError, match=message):
            Library.create(tmp_path / "l.lance", **given)
    assert not (tmp_path / "l.lance").exists()


def test_libraries_move_between_models_and_encoders(tmp_path, file):
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(X)
    library, _ = Library.build(tmp_path / "l.lance", X, model=model)
    assert library.reencode(PictureEncoder.from_onnx(file, **PIXELS)) == len(X)
    assert np.allclose(Library.open(library.path).codes, TRUE, rtol=1e-4, atol=1e-5)
    module = PictureEncoder.from_module(onnx_kit.module(), size=SIDE, **PIXELS)
    library.reencode(module)
    assert library.match(X[4], k=1)[0].id == 4
    library.reencode(model)
    assert library.codes.shape == (len(X), 2)


def test_an_undefined_code_names_its_file(tmp_path):
    """One over the largest pixels of a black picture is infinite."""
    nodes = [
        helper.make_node("GlobalMaxPool", ["pictures"], ["largest"]),
        helper.make_node("Reciprocal", ["largest"], ["inverse"]),
    ]
    file = onnx_kit.save(tmp_path / "m.onnx", nodes=nodes, outputs=["inverse"])
    encoder = PictureEncoder.from_onnx(file, **PIXELS)
    folder = photos(tmp_path / "photos")
    Image.new("RGB", (20, 20)).save(folder / "05.png")
    with pytest.raises(DataError, match=r"NaN or infinity for '.*05\.png'; nothing was added"):
        Library.build(tmp_path / "l.lance", folder, encoder=encoder)
    assert not (tmp_path / "l.lance").exists()
    rows = X.copy()
    rows[7] = 0
    with pytest.raises(DataError, match="for picture 7, counted from 0; nothing was added"):
        Library.build(tmp_path / "l.lance", rows, encoder=encoder)


def test_a_damaged_copy_is_told(tmp_path, file):
    encoder = PictureEncoder.from_onnx(file, **PIXELS)
    library, _ = Library.build(tmp_path / "l.lance", X, encoder=encoder)
    (network,) = (library.path / "model").glob("network-*.onnx")
    contents = network.read_bytes()
    network.write_bytes(contents[:-1])
    with pytest.raises(FormatError, match="is damaged"):
        Library.open(library.path).match(X[0])
    given = Library.open(library.path, encoder=encoder)
    assert given.match(X[0], k=1)[0].id == 0
    network.write_bytes(bytes([contents[0] ^ 1]) + contents[1:])
    given.verify(repair=True)
    assert network.read_bytes() == contents
    assert Library.open(library.path).match(X[0], k=1)[0].id == 0


def test_the_command_line_builds_adds_matches_and_tells(run, tmp_path, file):
    photos(tmp_path / "photos")
    made = run("index", "photos", "--encoder", "m.onnx", *PLAIN, "-o", "l.lance", "--json")
    assert made.code == 0, made.err
    assert made.json["added"] == 12
    assert made.json["encoder"]["preprocessing"]["mean"] == [0, 0, 0]
    file.rename(tmp_path / "moved.onnx")
    again = photos(tmp_path / "more", 14)
    added = run("index", "more", "-o", "l.lance", "--add", "--json")
    assert (added.json["added"], added.json["present"]) == (2, 12)
    found = run("match", "l.lance", str(again / "13.png"), "-k", "1", "--json").json
    assert found["queries"][0]["matches"][0]["id"] == 13
    assert run("match", "l.lance", "--id", "3").code == 0
    assert run("verify", "l.lance", "--json").json["ok"]
    described = run("info", "l.lance", "--json").json
    assert (described["network"], described["n_components"]) == ("onnx", WIDTH)
    assert described["network_sha256"] == made.json["encoder"]["network_sha256"]
    guessed = run("index", "photos", "--encoder", "moved.onnx", "-o", "g.lance")
    assert "no graph tells how its pictures are prepared" in guessed.err
    refused = run("index", "photos", "--encoder", "moved.onnx", "-o", "l.lance", "--add")
    assert refused.code == 4
    assert "the same network from pictures that are prepared in another way" in refused.err
    moved = run("reencode", "l.lance", "--encoder", "moved.onnx", *PLAIN, "--unit-length", "--json")
    assert moved.json["rows"] == 14
    codes = Library.open(tmp_path / "l.lance").codes
    assert np.allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-6)


def test_the_middle_of_queries_is_taken_on_the_command_line_too(run, tmp_path, file):
    photos(tmp_path / "photos")
    crop = ["--crop", "0.5", "--image-size", "16"]
    made = run("index", "photos", "--encoder", "m.onnx", *PLAIN, *crop, "-o", "l.lance")
    assert made.code == 0, made.err
    for number in (0, 8):
        found = run("match", "l.lance", f"photos/{number:02}.png", "-k", "1", "--json").json
        (match,) = found["queries"][0]["matches"]
        assert match["id"] == number
        assert match["distance"] < 1e-5


def test_such_a_library_is_served(tmp_path, file):
    encoder = PictureEncoder.from_onnx(file, **PIXELS)
    library, _ = Library.build(tmp_path / "l.lance", X, encoder=encoder)
    with TestClient(create_app(library.path), base_url="http://127.0.0.1") as client:
        model = client.get("/api/info").json()["model"]
        assert (model["model"], model["can_decode"]) == ("PictureEncoder", False)
        found = client.post("/api/match?k=4", files={"file": ("a.png", encode_png(X[5]))}).json()
    assert [match["id"] for match in found["matches"]] == nearest(TRUE[5], 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "photos", "--encoder", "m.onnx"], "leave one out"),
        (["a", "b", "photos"], "3 paths were given"),
        (["photos", "--crop", "0.5"], "--crop says how pictures are prepared for an encoder"),
        (["photos", "--unit-length"], "--unit-length says how"),
        (["photos", "--encoder", "photos"], "name an ONNX file"),
        (["photos", "--encoder", "m.onnx", "--crop", "2"], "crop=2.0 is not allowed"),
        (["photos", "--encoder", "m.onnx", "--mean", "high"], "is not of the form"),
        (["photos", "--encoder", "m.onnx", "--output-name", "x"], r"outputs of 'm.onnx' ('codes')"),
    ],
)
def test_the_command_line_refuses_in_one_line(run, tmp_path, file, arguments, message):
    photos(tmp_path / "photos", 2)
    refused = run("index", *arguments, "-o", "l.lance")
    assert refused.code in (2, 3)
    assert message in refused.err
    assert max(map(len, refused.err.splitlines())) <= 500
    assert not (tmp_path / "l.lance").exists()


def test_the_manifest_of_a_stranger_is_checked(tmp_path, file):
    encoder = PictureEncoder.from_onnx(file, **PIXELS)
    library, _ = Library.build(tmp_path / "l.lance", X, encoder=encoder)
    manifest = library.path / "model" / "narrows.json"
    facts = json.loads(manifest.read_text())
    facts["files"]["network.onnx"]["file"] = "../../secret.onnx"
    manifest.write_text(json.dumps(facts))
    with pytest.raises(NarrowsError, match="do not name files"):
        Library.open(library.path).match(X[0])
