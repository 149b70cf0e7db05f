"""Encoders that were trained elsewhere: ONNX files and torch modules against torch's results."""

import pickle
import re
from pathlib import Path

import numpy as np
import onnx
import onnx_kit
import pytest
import torch
from onnx import TensorProto, helper
from onnx_kit import PIXELS, SIDE, WIDTH, expected
from PIL import Image
from torch import nn

from narrows import PictureEncoder, load
from narrows.data.image_codec import decode
from narrows.data.reading import Reading
from narrows.errors import (
    DataError,
    FormatError,
    LibraryError,
    MissingDependencyError,
    MissingFileError,
    NarrowsError,
    NarrowsWarning,
    ParameterError,
    UnreadableFileError,
)

X = np.random.default_rng(onnx_kit.SEED).integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def near(made, true):
    return np.allclose(made, true, rtol=1e-4, atol=1e-5 * np.abs(true).max())


def test_a_graph_gives_the_codes_that_torch_gives(tmp_path):
    file = onnx_kit.save(tmp_path / "m.onnx")
    with pytest.warns(NarrowsWarning, match=r"chosen are whole pictures at 16 x 16, rgb"):
        encoder = PictureEncoder.from_onnx(file)
    assert (encoder.n_components, encoder.sample_shape_) == (WIDTH, (SIDE, SIDE, 3))
    codes = encoder.transform(X)
    assert codes.dtype == np.float32
    assert near(codes, expected(X, MEAN, DEVIATION))
    own = PictureEncoder.from_onnx(file, scale=1, mean=(120, 110, 100), deviation=60)
    assert near(own.transform(X), expected(X, (120.0, 110.0, 100.0), 60.0, 1.0))
    assert own.fingerprint_ != encoder.fingerprint_
    assert own.network_sha256_ == encoder.network_sha256_


def test_a_module_gives_the_codes_of_its_graph(tmp_path):
    graph = PictureEncoder.from_onnx(onnx_kit.save(tmp_path / "m.onnx"), **PIXELS)
    module = PictureEncoder.from_module(onnx_kit.module(), size=SIDE, **PIXELS)
    assert near(module.transform(X), graph.transform(X))
    assert module.fingerprint_ != graph.fingerprint_
    again = PictureEncoder.from_module(onnx_kit.module(), size=(SIDE, SIDE), **PIXELS)
    assert again.fingerprint_ == module.fingerprint_


def test_colors_channels_and_fixed_batches(tmp_path):
    bgr = PictureEncoder.from_onnx(onnx_kit.save(tmp_path / "m.onnx"), colors="bgr", **PIXELS)
    assert near(bgr.transform(X), expected(X[..., ::-1].copy()))
    by_seven = onnx_kit.save(tmp_path / "fixed.onnx", (7, 3, SIDE, SIDE))
    assert near(PictureEncoder.from_onnx(by_seven, **PIXELS).transform(X), expected(X))
    turned = onnx_kit.graph(("n", SIDE, SIDE, 3))
    turned.graph.node[0].input[0] = "moved"
    move = helper.make_node("Transpose", ["pictures"], ["moved"], perm=[0, 3, 1, 2])
    turned.graph.node.insert(0, move)
    onnx.save(turned, tmp_path / "last.onnx")
    assert near(
        PictureEncoder.from_onnx(tmp_path / "last.onnx", **PIXELS).transform(X), expected(X)
    )
    any_size = onnx_kit.save(tmp_path / "any.onnx", ("n", "c", "h", "w"))
    assert near(PictureEncoder.from_onnx(any_size, size=SIDE, **PIXELS).transform(X), expected(X))
    grey = nn.Flatten().eval()
    encoder = PictureEncoder.from_module(grey, size=2, colors="grey", channels="none")
    assert encoder.transform(np.array([[[0, 51], [255, 0]]])).tolist() == [
        [0.0, pytest.approx(0.2), 1.0, 0.0]
    ]


def test_codes_have_length_one_where_asked(tmp_path):
    file = onnx_kit.save(tmp_path / "m.onnx")
    codes = PictureEncoder.from_onnx(file, unit_length=True, **PIXELS).transform(X)
    true = expected(X)
    assert near(codes, true / np.linalg.norm(true, axis=1, keepdims=True))
    black = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    made = PictureEncoder.from_onnx(file, unit_length=True, **PIXELS).transform(black)
    assert made.tolist() == [[0.0] * WIDTH]


@pytest.mark.parametrize(("suffix", "turned"), [(".png", 1), (".jpg", 1), (".jpg", 6), (".tif", 1)])
def test_the_middle_of_pictures_keeps_their_proportions(tmp_path, suffix, turned):
    """Thirds of red, green and blue: the largest square in the middle is green alone."""
    stripes = np.zeros((300, 900, 3), np.uint8)
    for third in range(3):
        stripes[:, 300 * third : 300 * third + 300, third] = 255
    image = Image.fromarray(stripes)
    if turned == 6:
        image = image.transpose(Image.Transpose.ROTATE_90)
    file = tmp_path / f"stripes{suffix}"
    exif = Image.Exif()
    exif[0x0112] = turned
    image.save(file, exif=exif, **({"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}))
    for crop, green in ((1.0, True), (0.5, True), (None, False)):
        row = decode(file, (8, 8, 3), Reading(crop=crop)).astype(int)
        wrong = np.abs(row - (0, 255, 0)).max(axis=2)
        assert (wrong[:, 1:-1].max() < 40) == green
        assert wrong[:, 3:5].max() < 40


def test_the_middle_of_deep_pictures_keeps_their_proportions(tmp_path):
    from narrows.data.depths import encode_png

    deep = np.zeros((30, 90), np.uint16)
    deep[:, 30:60] = 40000
    row = decode(encode_png(deep), (6, 6), Reading(crop=1.0))
    assert (row == 40000).all()


def test_an_encoder_is_saved_and_loaded(tmp_path):
    file = onnx_kit.save(tmp_path / "m.onnx")
    encoder = PictureEncoder.from_onnx(file, crop=0.875, unit_length=True, **PIXELS)
    again = load(encoder.save(tmp_path / "encoder"))
    file.unlink()
    assert isinstance(again, PictureEncoder)
    assert again.describe() == encoder.describe()
    assert (again.transform(X) == encoder.transform(X)).all()
    module = PictureEncoder.from_module(onnx_kit.module(), size=SIDE, **PIXELS)
    absent = load(module.save(tmp_path / "module"))
    assert (absent.fingerprint_, absent.can_encode) == (module.fingerprint_, False)
    with pytest.raises(LibraryError, match=r"torch module .*Library\.open\(path, encoder="):
        absent.transform(X)


def test_what_is_altered_on_the_disk_is_refused(tmp_path):
    encoder = PictureEncoder.from_onnx(onnx_kit.save(tmp_path / "m.onnx"), **PIXELS)
    folder = encoder.save(tmp_path / "encoder")
    manifest = folder / "narrows.json"
    text = manifest.read_text()
    for old, new in (
        ('"scale": 0.00392', '"scale": 0.00391'),
        ('"colors": "rgb"', '"colors": "cmyk"'),
        ('"unit_length": false', '"unit_length": 0'),
        ('"network": "onnx"', '"network": "pickle"'),
        ('"n_components": 5', '"n_components": -5'),
    ):
        assert old in text
        manifest.write_text(text.replace(old, new))
        with pytest.raises(FormatError, match=r"encoder"):
            load(folder)
    manifest.write_text(text)
    (network,) = folder.glob("network-*.onnx")
    network.write_bytes(network.read_bytes()[:-1])
    with pytest.raises(FormatError, match="damaged"):
        load(folder)


def test_an_encoder_can_be_sent_to_other_processes(tmp_path):
    encoder = PictureEncoder.from_onnx(onnx_kit.save(tmp_path / "m.onnx"), **PIXELS)
    codes = encoder.transform(X)
    sent = pickle.loads(pickle.dumps(encoder))  # noqa: S301, as these bytes are the test's own
    assert (sent.transform(X) == codes).all()


def external(tmp_path):
    model = onnx_kit.graph(weights=np.ones((WIDTH, 3, 3, 3), np.float32))
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="beside.bin", size_threshold=0)
    return path


def foreign(tmp_path):
    node = helper.make_node("Steal", ["codes"], ["stolen"], domain="evil.ops")
    opsets = (("", 17), ("evil.ops", 1))
    return onnx_kit.save(tmp_path / "f.onnx", nodes=[node], outputs=["stolen"], opsets=opsets)


def text(tmp_path):
    path = tmp_path / "t.onnx"
    path.write_text("no graph at all")
    return path


def outside(tmp_path):
    """Return a graph whose weights are said to be in a file outside of its folder."""
    path = external(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"beside.bin", b"../own.bin"))
    return path


def truncated(tmp_path):
    path = onnx_kit.save(tmp_path / "cut.onnx")
    contents = path.read_bytes()
    path.write_bytes(contents[: 2 * len(contents) // 3])
    return path


def made(**options):
    return lambda folder: onnx_kit.save(folder / "m.onnx", **options)


GRAPHS = {
    "none": (lambda folder: folder / "m.onnx", {}, MissingFileError, "there is no encoder"),
    "folder": (lambda folder: folder, {}, UnreadableFileError, "name an ONNX file"),
    "text": (text, {}, UnreadableFileError, "is no ONNX file"),
    "external": (external, {}, UnreadableFileError, "'w' in another file, which is not read"),
    "outside": (outside, {}, UnreadableFileError, "'w' in another file, which is not read"),
    "truncated": (truncated, {}, UnreadableFileError, "is no ONNX file"),
    "foreign": (foreign, {}, UnreadableFileError, r"other libraries \(evil\.ops\.Steal\)"),
    "two outputs": (
        made(outputs=["codes", "means"]),
        {},
        ParameterError,
        r"2 outputs \('codes', 'means'\).*--output-name codes,",
    ),
    "another output": (
        made(),
        {"output": "logits"},
        ParameterError,
        r"output='logits' is none of the outputs of .* \('codes'\)",
    ),
    "two inputs": (made(inputs=["pictures", "texts"]), {}, ParameterError, "2 inputs"),
    "integers": (made(kind=TensorProto.INT64), {}, ParameterError, "is int64, and float32 is"),
    "rank": (made(shape=("n", 768)), {}, ParameterError, "has 2 axes, and pictures have 4"),
    "any size": (made(shape=("n", 3, "h", "w")), {}, ParameterError, "--image-size 224, size=224"),
    "other size": (made(), {"size": 32}, ParameterError, r"takes pictures of shape \(3, 16, 16\)"),
    "other colors": (made(), {"colors": "grey"}, ParameterError, "leave out size, colors"),
    "other channels": (made(), {"channels": "last"}, ParameterError, "has 16 channels"),
    "no channels": (made(), {"channels": "none"}, ParameterError, "inputs of 3 axes"),
    "channels": (made(shape=("n", 4, 16, 16)), {}, ParameterError, "has 4 channels"),
    "maps": (made(outputs=["maps"]), {}, ParameterError, r"the shape \(32, 5, 7, 7\)"),
    "too small": (made(shape=("n", 3, "h", "w")), {"size": 2}, DataError, "ONNX Runtime cannot"),
    "NaN": (
        made(nodes=[helper.make_node("Log", ["codes"], ["log"])], outputs=["log"]),
        {"mean": 1},
        DataError,
        "NaN or infinity for picture 0",
    ),
    "size": (made(), {"size": (16, 16, 3)}, ParameterError, r"size=\(16, 16, 3\) is not allowed"),
    "crop": (made(), {"crop": 1.5}, ParameterError, "crop=1.5 is not allowed"),
    "colors": (made(), {"colors": "cmyk"}, ParameterError, "colors='cmyk' is not allowed"),
    "mean": (made(), {"mean": (1, 2)}, ParameterError, r"mean=\[1.0, 2.0\] is not allowed"),
    "scale": (made(), {"scale": 0}, ParameterError, "numbers above 0 are allowed"),
    "words": (made(), {"mean": "high"}, ParameterError, "numbers are allowed"),
}


@pytest.mark.filterwarnings("ignore:.*no graph tells")
@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_no_encoder_is_refused_in_one_line(tmp_path, name):
    make, options, kind, message = GRAPHS[name]
    with pytest.raises(NarrowsError, match=message) as caught:
        PictureEncoder.from_onnx(make(tmp_path), **{**PIXELS, **options})
    assert isinstance(caught.value, kind)
    assert len(str(caught.value)) <= 480


@pytest.mark.parametrize(
    "name", ["truncated", "external", "two outputs", "any size", "rank", "maps", "NaN"]
)
def test_the_command_line_refuses_it_and_writes_nothing(run, tmp_path, name):
    make, _, kind, message = GRAPHS[name]
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save("photos/a.png")
    mean = "1" if name == "NaN" else "0"
    refused = run(
        "index", "photos", "--encoder", make(tmp_path), "-o", "l.lance",
        "--mean", mean, "--deviation", "1",
    )  # fmt: skip
    assert refused.code == (2 if kind is ParameterError else 3)
    assert re.search(message.replace("picture 0", ""), refused.err)
    (line,) = [line for line in refused.err.splitlines() if "error: " in line]
    assert len(line) <= 500
    assert not Path("l.lance").exists()


def test_one_of_several_outputs_is_chosen(tmp_path):
    file = onnx_kit.save(tmp_path / "m.onnx", outputs=["codes", "means"])
    codes = PictureEncoder.from_onnx(file, output="codes", **PIXELS).transform(X)
    means = PictureEncoder.from_onnx(file, output="means", **PIXELS).transform(X)  # (n, K, 1, 1)
    assert near(codes, expected(X))
    assert (means == codes).all()


def test_nothing_beside_an_onnx_file_is_read(tmp_path, monkeypatch):
    """Also where the file with the weights lies where ONNX Runtime would look for it."""
    file = external(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert Path("beside.bin").exists()
    with pytest.raises(UnreadableFileError, match="in another file"):
        PictureEncoder.from_onnx(file.name, **PIXELS)


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    file = onnx_kit.save(tmp_path / "m.onnx")
    monkeypatch.setattr("narrows.models.onnx_network.find_spec", {}.get)
    with pytest.raises(MissingDependencyError, match=r"pip install 'narrows\[onnx\]'"):
        PictureEncoder.from_onnx(file)


class Two(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x


class DividesByZero(nn.Module):
    def forward(self, x):
        codes = x.mean((2, 3))
        return codes / (codes < 0.9)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("a path", "module is a str; give a torch.nn.Module"),
        (nn.Flatten(), r"in training mode.*eval\(\)"),
        (Two().eval(), "the module gives a tuple"),
        (nn.Conv2d(1, 2, 3).eval(), r"the module fails with pictures of shape \(3, 16, 16\)"),
        (nn.Identity().eval(), r"the shape \(32, 3, 16, 16\)"),
    ],
)
def test_what_is_no_module_of_codes_is_refused(module, message):
    with pytest.raises(NarrowsError, match=message) as caught:
        PictureEncoder.from_module(module, size=SIDE, **PIXELS)
    assert len(str(caught.value)) <= 480


def test_rows_that_are_no_pixels_are_refused():
    encoder = PictureEncoder.from_module(onnx_kit.module(), size=SIDE, **PIXELS)
    for rows, message in (
        (X / 255, r"values from 0 to 1; pixels from 0 to 255"),
        (X - 300.0, "values from -300 to -45"),
        (X[:, :8], "pictures of shape"),
    ):
        with pytest.raises(DataError, match=message):
            encoder.transform(rows)
    assert (encoder.transform(X.astype(np.float64)) == encoder.transform(X)).all()


def test_an_undefined_code_names_its_picture():
    encoder = PictureEncoder.from_module(DividesByZero().eval(), size=SIDE, **PIXELS)
    rows = np.full((60, SIDE, SIDE, 3), 100, np.uint8)
    rows[47] = 255
    with pytest.raises(DataError, match="NaN or infinity for picture 47, counted from 0") as caught:
        encoder.transform(rows)
    assert caught.value.row == 47
    assert np.isfinite(encoder.transform(np.delete(rows, 47, 0))).all()


def test_training_mode_of_a_part_is_not_changed():
    module = onnx_kit.module()
    PictureEncoder.from_module(module, size=SIDE, **PIXELS).transform(X)
    assert not module.training
    assert torch.equal(module[0].weight, torch.from_numpy(onnx_kit.WEIGHTS))
