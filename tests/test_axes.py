"""Which axis is which: what counts as a picture, wherever rows are shown, and channels first.

The seed of everything random here is 0.
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_kit import TINY, Run
from PIL import Image

from narrows import (
    Autoencoder,
    DenoisingAutoencoder,
    EncoderClassifier,
    Library,
    load,
    plots,
    signals,
)
from narrows.data.axes import are_pictures, channels_first, is_picture_shape
from narrows.data.depths import encode_png, fits_png
from narrows.data.files import check_destination, read, write
from narrows.data.images import read_image
from narrows.errors import DataError, LibraryError, NarrowsWarning, ParameterError
from narrows.evaluation import make_report
from narrows.evaluation.row_errors import compare_with_clean
from narrows.web.snapshot import Snapshot

pytestmark = pytest.mark.cases

RNG = np.random.default_rng(0)
STEREO = RNG.normal(size=(4000, 2))

# Rows, and whether they are pictures; what they are learned from is in `learned`.
KINDS = {
    "grey": True,
    "grey with an axis": True,
    "colours": True,
    "opacity": True,
    "two channels": False,
    "five channels": False,
    "table": False,
    "mono": False,
    "stereo": False,
    "stereo array": False,
    "twelve leads": False,
    "convolved signal": False,
}
OTHER_CHANNELS = ("two channels", "five channels")


def learned(kind: str) -> tuple[Any, Autoencoder]:
    shapes = {
        "grey": (40, 12, 10),
        "grey with an axis": (40, 12, 10, 1),
        "colours": (40, 12, 10, 3),
        "opacity": (40, 12, 10, 4),
        "two channels": (40, 12, 10, 2),
        "five channels": (40, 12, 10, 5),
        "table": (40, 12),
        "stereo array": (40, 64, 2),
        "twelve leads": (40, 128, 12),
        "convolved signal": (40, 40, 20),
    }
    X: Any
    if kind in shapes:
        X = RNG.integers(0, 256, shapes[kind], np.uint8)
    else:
        X = signals.Windows(STEREO[:, 0] if kind == "mono" else STEREO, 16 if kind == "mono" else 9)
    own = {"architecture": "convolutional_1d"} if kind == "convolved signal" else {}
    return X, Autoencoder(2, max_epochs=1, random_state=0, **own).fit(X)


@pytest.mark.parametrize("kind", KINDS)
def test_one_predicate_decides_wherever_rows_are_shown(kind: str, tmp_path: Path) -> None:
    pictures = KINDS[kind]
    X, model = learned(kind)
    rows = np.asarray(X)
    again = load(model.save(tmp_path / "model"))  # what it is, is kept
    encoder, decoder = again.split()
    for owner in (model.spec_, again.spec_, encoder.spec, decoder.spec):
        assert owner.shows_pictures == pictures
    assert Snapshot("it", None, again, "1").shows_pictures == pictures

    report = make_report(again, rows, random_state=0)
    shown = {part.name: bool(part.pictures) for part in report.parts}
    # Signals are shown as curves.
    assert shown.get("restored", False) == (
        pictures or kind in ("mono", "stereo", "convolved signal")
    )

    library, _ = Library.build(tmp_path / "library", rows, model=again)
    if pictures:
        with Image.open(BytesIO(library.thumbnails([0])[0])) as small:
            assert small.size == (10, 12)
        assert library.match(rows[0], k=1, rerank="ssim")[0].id == 0
    else:
        with pytest.raises(LibraryError, match="are no pictures"):
            library.thumbnails([0])
        with pytest.raises(LibraryError, match=r"rows of shape .* are none"):
            library.match(rows[0], k=1, rerank="ssim")

    place = {"overwrite": False, "sample_shape": model.sample_shape_}
    if pictures:
        check_destination(tmp_path / "folder", **place, pictures=model.spec_.shows_pictures)
        write(tmp_path / "folder", rows)
        assert len(read(tmp_path / "folder").values) == 40
    else:
        # Rows of other channels are written as TIFF files.
        name = "file.png" if kind in OTHER_CHANNELS else "folder"
        with pytest.raises(ParameterError, match="would hold pictures"):
            check_destination(tmp_path / name, **place, pictures=model.spec_.shows_pictures)
    found = compare_with_clean(rows, rows // 2, 255, pictures=model.spec_.shows_pictures)
    assert (found.ssim is not None) == pictures


@pytest.mark.parametrize("kind", OTHER_CHANNELS)
def test_rows_of_other_channels_are_files_of_as_many(kind: str, tmp_path: Path) -> None:
    X, model = learned(kind)
    write(tmp_path / "folder", X)
    np.testing.assert_array_equal(model.transform(tmp_path / "folder"), model.transform(X))
    Image.fromarray(RNG.integers(0, 256, (12, 10), np.uint8)).save(tmp_path / "a.png")
    for use in (model.transform, lambda file: Library.build(tmp_path / "l", [file], model=model)):
        with pytest.raises(DataError, match=r"grey or in colour, where rows have \d channels"):
            use(tmp_path / "a.png")


@pytest.mark.parametrize(
    "kind",
    [kind for kind, pictures in KINDS.items() if not pictures and kind not in OTHER_CHANNELS],
)
def test_picture_files_are_no_rows_of_a_table_or_a_signal(kind: str, tmp_path: Path) -> None:
    _, model = learned(kind)
    Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"pictures|no rows"):
        model.transform(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"is a picture, and the library's model"):
        Library.build(tmp_path / "library", [tmp_path / "a.png"], model=model)


@pytest.mark.parametrize(
    ("shape", "one", "rows"),
    [
        ((28, 28), True, True),
        ((28, 28, 1), True, True),
        ((28, 28, 3), True, True),
        ((28, 28, 4), True, True),
        ((28, 28, 2), False, False),
        ((28, 28, 5), False, False),
        ((784,), False, False),
        ((2, 2, 2, 3), False, False),
        ((), False, False),
        ((8, 4), True, True),
        ((4, 3, 3), True, True),
        # Of one array nobody knows better; of many rows their shape tells.
        ((1000, 2), True, False),
        ((2, 1000), True, False),
        ((128, 9), True, False),
        ((64, 1), True, False),
        ((16, 2), True, False),
        ((12, 1), True, True),
        ((24, 4), True, True),
    ],
)
def test_shapes_of_pictures(shape: tuple[int, ...], one: bool, rows: bool) -> None:
    assert is_picture_shape(shape) == fits_png(np.zeros(shape, np.uint8)) == one
    assert are_pictures(shape) == rows


def test_opacity_comes_from_files_and_goes_back_to_them(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (20, 9, 9, 4), np.uint8)
    pixels[:, :3, :, 3] = 0
    write(tmp_path / "pictures", pixels)
    file = tmp_path / "pictures" / "00.png"
    np.testing.assert_array_equal(read_image(file, (9, 9, 4)), pixels[0])
    on_white = read_image(file, (9, 9, 3))
    assert (on_white[:3] == 255).all()
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(pixels)
    assert model.transform(tmp_path / "pictures").shape == (20, 2)
    # A plot lays them on white, as the file's reader does.
    ax = plots.pictures({"one": pixels[:1]}, limits=(0, 255))
    drawn = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(drawn[:9, :9, :3], on_white, atol=1)


def test_opacity_does_not_hide_in_thumbnails(tmp_path: Path) -> None:
    large = np.zeros((3, 200, 150, 4), np.uint8)  # black, and transparent
    large[:, 100:, :, 3] = 255
    large += np.arange(3, dtype=np.uint8)[:, None, None, None] // 2
    model = Autoencoder(2, hidden_layer_sizes=(), max_epochs=1, random_state=0).fit(large)
    library, _ = Library.build(tmp_path / "library", large, model=model)
    with Image.open(BytesIO(library.thumbnails([0])[0])) as small:
        grey = np.asarray(small.convert("L"))
    assert grey[:40].min() > 245
    assert grey[-40:].max() < 10


# Channels first -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((3, 32, 32), True),
        ((1, 28, 28), True),
        ((4, 16, 20), True),
        ((2, 16, 20), True),
        ((3, 5, 7), True),
        ((32, 32, 3), False),
        ((28, 28, 1), False),
        ((3, 5, 3), False),
        ((1, 2, 4), False),
        ((3, 3, 3), False),
        ((1, 1, 512), False),
        ((7, 7, 512), False),
        ((28, 28), False),
        ((3, 28), False),
    ],
)
def test_which_rows_have_their_channels_first(shape: tuple[int, ...], first: bool) -> None:
    assert channels_first(shape) == first


@pytest.mark.parametrize("shape", [(40, 3, 32, 32), (40, 1, 28, 28), (40, 4, 9, 7)])
def test_channels_first_are_refused_with_the_call_that_mends_them(shape: tuple[int, ...]) -> None:
    tensor = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    model = Autoencoder(2, max_epochs=1, random_state=0)
    with pytest.raises(DataError, match=rf"axis 1 \({shape[1]}\).*height") as caught:
        model.fit(tensor)
    assert "X.permute(0, 2, 3, 1)" in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.raises(DataError, match=r"np\.moveaxis\(X, 1, -1\)"):
        model.fit(tensor.numpy())
    with pytest.raises(DataError, match=r"np\.moveaxis\(X, 1, -1\)"):
        model.partial_fit(tensor.numpy())
    with pytest.raises(DataError, match=r"np\.moveaxis"):
        DenoisingAutoencoder(2).fit(tensor.numpy(), tensor.numpy())
    with pytest.raises(DataError, match=r"np\.moveaxis"):
        EncoderClassifier(None, from_scratch=True).fit(tensor.numpy(), np.arange(40) % 2)
    # What the messages say does it.
    moved = (*shape[2:], shape[1])
    assert model.fit(tensor.permute(0, 2, 3, 1)).sample_shape_ == moved
    assert model.fit(np.moveaxis(tensor.numpy(), 1, -1)).sample_shape_ == moved
    with pytest.raises(DataError, match=r"axis 1: give X\.permute\(0, 2, 3, 1\)"):
        model.transform(tensor)
    with pytest.raises(DataError, match=r"axis 1: give np\.moveaxis\(X, 1, -1\)"):
        model.reconstruct(tensor.numpy())
    with pytest.raises(DataError, match=r"axis 1: give np\.moveaxis\(X, 1, -1\)"):
        model.partial_fit(tensor.numpy())
    with pytest.raises(DataError, match=r"axis 1: give np\.moveaxis\(X, 1, -1\)"):
        model.split()[0].transform(tensor.numpy())


def test_small_pictures_are_learned_from_as_ever() -> None:
    for shape in ((20, 3, 5, 3), (20, 1, 4, 1), (20, 2, 2, 4), (20, 4, 4), (20, 3, 7)):
        model = Autoencoder(2, max_epochs=1, random_state=0).fit(RNG.random(shape))
        assert model.sample_shape_ == shape[1:]


def test_many_channels_first_are_taken_as_they_are_and_that_is_said() -> None:
    with pytest.warns(NarrowsWarning, match="13 x 16 pixels of 16 channels.*np.moveaxis") as caught:
        Autoencoder(2, max_epochs=1, random_state=0).fit(RNG.random((20, 13, 16, 16)))
    assert caught[0].message.kind == "channels_last"


def test_a_model_that_takes_any_size_sees_channels_first_too() -> None:
    model = Autoencoder(
        2, architecture="fully_convolutional", hidden_layer_sizes=(4,), max_epochs=1, random_state=0
    ).fit(RNG.random((20, 12, 12, 3)))
    with pytest.raises(DataError, match=r"give np\.moveaxis\(X, 1, -1\)"):
        model.transform(RNG.random((2, 3, 30, 20)))
    assert model.reconstruct(RNG.random((2, 30, 20, 3))).shape == (2, 30, 20, 3)


def test_grey_models_name_what_to_do_with_an_axis_of_one_channel() -> None:
    X = RNG.random((20, 12, 10))
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(X)
    with pytest.raises(DataError, match=r"give X\[:, 0\]"):
        model.transform(X[:, None])
    with pytest.raises(DataError, match=r"give X\[\.\.\., 0\]"):
        model.transform(X[..., None])
    with pytest.raises(DataError, match=r"give np\.moveaxis\(X, 1, -1\)"):
        model.transform(X.transpose(0, 2, 1))
    with pytest.raises(DataError, match=r"a single row: give X\[None\]"):
        model.transform(X[0])


def test_a_single_picture_with_its_channels_first_is_named(tmp_path: Path) -> None:
    X = RNG.integers(0, 256, (20, 12, 10, 3), np.uint8)
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(X)
    library, _ = Library.build(tmp_path / "library", X, model=model)
    assert library.match(X[3], k=1)[0].id == 3
    single = X[3].transpose(2, 0, 1)
    for use in (model.transform, model.partial_fit, lambda x: library.match(x, k=1)):
        with pytest.raises(DataError, match=r"one picture.*np\.moveaxis\(X, 0, -1\)\[None\]"):
            use(single)
    with pytest.raises(DataError, match=r"axis 1: give np\.moveaxis\(X, 1, -1\)"):
        library.match(np.moveaxis(X, -1, 1), k=1)
    with pytest.raises(DataError, match=r"axis 1: give np\.moveaxis\(X, 1, -1\)"):
        library.add(np.moveaxis(X, -1, 1))
    assert library.match(np.moveaxis(single, 0, -1)[None], k=1)[0][0].id == 3


def test_files_of_arrays_with_channels_first_are_refused(run: Run, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    X = RNG.random((20, 3, 12, 12), dtype=np.float32)
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", X=X)
    write(tmp_path / "x.lance", X)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(X)
    parquet.write_table(pa.table({"rows": tensors}), tmp_path / "x.parquet")
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "x.npy", X)
    for name in ("x.npy", "x.npz", "x.lance", "x.parquet", "folder"):
        refused = run("train", name, "-o", "model", *TINY)
        assert refused.code == 3, name
        assert "axis 1 (3) would be taken for the height" in refused.err
        assert "save np.moveaxis(X, 1, -1)" in refused.err or "give np.moveaxis" in refused.err
        assert refused.err.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_plots_name_the_call_too() -> None:
    with pytest.raises(DataError, match=r"np\.moveaxis\(X, 1, -1\)"):
        plots.pictures({"one": RNG.random((2, 3, 8, 8))})


def test_channels_of_signals_that_stand_first_are_named() -> None:
    with pytest.raises(DataError, match=r"2 channels of 4000 samples, give its transpose"):
        signals.Windows(STEREO.T, 64)
    for architecture in ("convolutional_1d", "auto"):
        model = Autoencoder(2, architecture=architecture, max_epochs=1)
        for lines, length in ((2, 64), (1, 300), (3, 200)):
            X = RNG.normal(size=(20, lines, length))
            with pytest.raises(DataError, match=r"taken for time.*np\.moveaxis\(X, 1, -1\)"):
                model.fit(X)
            with pytest.raises(DataError, match=r"taken for time.*X\.permute\(0, 2, 1\)"):
                model.fit(torch.from_numpy(X))


def test_windows_of_many_channels_are_no_pictures_to_convolve() -> None:
    windows = signals.Windows(RNG.normal(size=(400, 40)), 36)
    model = Autoencoder(2, hidden_layer_sizes="auto", max_epochs=1, random_state=0).fit(windows)
    assert (model.spec_.architecture, model.spec_.shows_pictures) == ("pca_residual", False)


def test_the_fingerprint_of_other_models_is_as_it_was() -> None:
    X = RNG.random((20, 12, 10))
    known = json.dumps(Autoencoder(2, max_epochs=1).fit(X).spec_.as_json())
    assert "signal" not in known
    assert "rate" not in known
    assert encode_png(np.zeros((2, 2, 4), np.uint8))[1:4] == b"PNG"
