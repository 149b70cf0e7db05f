"""Inputs that users stumbled over, made anew and replayed against their right values.

Each is a kind: the tests of the parts that are named beside it try its neighbours. The seed of
everything random here is 0; a picture's own number is the seed of its waves.
"""

import gzip
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sklearn
import tifffile
from cli_kit import Result, Run
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet as pq
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from narrows import (
    Autoencoder,
    DenoisingAutoencoder,
    EncoderClassifier,
    VariationalAutoencoder,
    datasets,
    load,
)
from narrows.data.files import read
from narrows.data.images import read_image
from narrows.errors import DataError

pytestmark = pytest.mark.cases

RNG = np.random.default_rng(0)
FEW = ["--n-components", "2", "--max-epochs", "1", "--random-state", "0"]


def picture(number: int, size: int = 48, channels: int = 3) -> NDArray[np.uint8]:
    """Waves of another direction and length in each channel."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size] / size
    planes = [
        127 + 100 * np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-6, 6, (channels, 3))
    ]
    pixels = np.stack(planes, axis=-1).round().astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


GREY = picture(5, channels=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of 48 x 48 pixels, and a model of them."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "photos").mkdir()
    for number in range(12):
        Image.fromarray(picture(number)).save(folder / "photos" / f"p{number:02}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Autoencoder(4, max_epochs=3, random_state=0).fit(folder / "photos")
    model.save(folder / "model")
    return folder


def some_photos(base: Path, name: str, count: int) -> Path:
    """Copy the first of the pictures into a folder of their own."""
    Path(name).mkdir()
    for number in range(count):
        shutil.copy(base / "photos" / f"p{number:02}.png", name)
    return Path(name)


def trained(run: Run, data: str, *options: str, to: str = "m") -> dict[str, Any]:
    done = run("train", data, "-o", to, *FEW, "--overwrite", "--json", *options)
    assert done.code == 0, done.err
    return done.json


def refused(found: Result, code: int, *words: str) -> None:
    """Check that a command said in one line what was wrong, and gave no answer."""
    assert found.code == code, found.err
    assert found.out == ""
    assert found.err.startswith("narrows: error: ")
    assert found.err.count("\n") == 1
    assert len(found.err) <= 520
    for word in words:
        assert word in found.err


SHORT = ("worse_than_mean", "training_collapsed")


def kinds(answer: dict[str, Any]) -> list[str]:
    """Name what a command warned of, but for training that was short on purpose."""
    return [one["kind"] for one in answer["warnings"] if one["kind"] not in SHORT]


# Tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", [load_wine, load_breast_cancer])
def test_01_mixed_units(loader: Any, run: Run) -> None:
    """See test_pca_residual.py, test_report_columns.py and benchmarks/defaults.py."""
    table: pd.DataFrame = loader(as_frame=True).data
    test = np.random.default_rng(0).permutation(len(table)) < len(table) // 5
    table[~test].to_csv("train.csv", index=False)
    table[test].to_csv("test.csv", index=False)
    words = ["train", "train.csv", "--n-components", "2", "--random-state", "0", "--json"]
    answers = [run(*words, "-o", f"m-{s}", "--scaling", s) for s in ("auto", "standard")]
    for answer in answers:
        assert answer.code == 0, answer.err
        assert answer.json["warnings"] == []
        assert answer.err.startswith("chosen: ")
    chosen = answers[0].json["chosen"]["scaling"]
    assert chosen["value"] == "standard"
    assert chosen["reason"].startswith("standard deviations of columns differ")
    assert "scaling" not in answers[1].json["chosen"]
    assert answers[0].json["fingerprint"] == answers[1].json["fingerprint"]

    assert run("reconstruct", "m-auto", "test.csv", "-o", "restored.csv").code == 0
    errors = (pd.read_csv("restored.csv") - table[test].reset_index(drop=True)) ** 2
    shares = errors.mean() / table[~test].var(ddof=0)
    # To their mean in the rows learned from, those held out are as far as this.
    by_mean = ((table[test] - table[~test].mean()) ** 2).mean() / table[~test].var(ddof=0)
    assert (shares < by_mean).all()
    scaler = StandardScaler().fit(table[~test])
    rows = scaler.transform(table[test])
    pca = PCA(2, svd_solver="full").fit(scaler.transform(table[~test]))
    by_pca = ((pca.inverse_transform(pca.transform(rows)) - rows) ** 2).mean()
    assert shares.mean() <= 1.05 * by_pca


ROWS = "".join(f"0.{i},0.2{i},0.3{i},0.4{i}\n" for i in range(1, 31))


@pytest.mark.parametrize("word", ["NA", "?", "-", "null", "#N/A", "", "NaN"])
def test_05_a_gap_in_the_first_row_of_a_table_without_names(word: str, run: Run) -> None:
    """See test_headings.py."""
    Path("h.csv").write_text(f"0.1,0.2,0.3,{word}\n{ROWS}")
    answer = trained(run, "h.csv")
    assert answer["rows"] == 31
    assert [column["gaps"] for column in answer["columns"]] == [0, 0, 0, 1]
    (warning,) = [one for one in answer["warnings"] if one["kind"] == "header_guessed"]
    assert "--header" in warning["message"]


def test_05_a_thousand_in_quotes_in_the_first_row(run: Run) -> None:
    Path("h.csv").write_text(f'0.1,0.2,0.3,"1,000"\n{ROWS}')
    answer = trained(run, "h.csv")
    assert answer["rows"] == 31
    (warning,) = [one for one in answer["warnings"] if one["kind"] == "format_found"]
    assert warning["thousands"] == ","
    with pytest.warns(UserWarning, match="',' as thousands separator"):
        assert read("h.csv").values[0].tolist() == [0.1, 0.2, 0.3, 1000]


HEADERS = [
    "400.5,401.0,401.5,402.0", "2017,2018,2019,2020", "1,2,3,4", '"1","2","3","4"', "0,1,2,3",
]  # fmt: skip


@pytest.mark.parametrize("names", [*HEADERS, "id,401,402,403"])
def test_06_numbers_as_names_of_columns(names: str, run: Run) -> None:
    """See test_headings.py."""
    Path("h.csv").write_text(f"{names}\n{ROWS}")
    answer = trained(run, "h.csv")
    assert (answer["rows"], kinds(answer)) == (30, ["header_guessed"])
    (warning,) = answer["warnings"][:1]
    for words in (names.replace('"', "").replace(",", ", "), "--no-header"):
        assert words in warning["message"]
    assert load("m").feature_names_in_.tolist() == names.replace('"', "").split(",")
    assert run("encode", "m", "h.csv", "-o", "c.csv", "--json").json["rows"] == 30
    said = trained(run, "h.csv", "--header")
    assert (said["rows"], kinds(said)) == (30, [])
    if names in HEADERS:
        data = trained(run, "h.csv", "--no-header")
        assert (data["rows"], kinds(data)) == (31, ["extreme_values"])  # as names are


TABLES: dict[str, tuple[bytes, list[str], list[list[float]], dict[str, Any] | None]] = {
    "semicolons.csv": (
        b"a;b;c\n1,5;2,5;3,5\n2,5;3,5;4,1\n", ["a", "b", "c"],
        [[1.5, 2.5, 3.5], [2.5, 3.5, 4.1]], {"delimiter": ";", "decimal": ","},
    ),
    "points.csv": (
        b"a;b;c\n1.5;2.5;3.5\n2.5;3.5;4.1\n", ["a", "b", "c"],
        [[1.5, 2.5, 3.5], [2.5, 3.5, 4.1]], {"delimiter": ";", "decimal": "."},
    ),
    "tabs.csv": (
        b"a\tb\n1.5\t2.5\n2.5\t3.5\n", ["a", "b"], [[1.5, 2.5], [2.5, 3.5]], {"delimiter": "\t"},
    ),
    "sep.csv": (b"sep=,\na,b,c\n1,2,3\n4,5,7\n", ["a", "b", "c"], [[1, 2, 3], [4, 5, 7]],
                {"delimiter": ","}),
    "comment.csv": (b"# unit: mm\na,b,c\n1,2,3\n4,5,7\n", ["a", "b", "c"], [[1, 2, 3], [4, 5, 7]],
                    {}),
    "spaces.csv": (b"1.0e+00 2.0e+00\n3.0e+00 4.0e+00\n", ["x0", "x1"], [[1, 2], [3, 4]], {}),
    "utf16.csv": ("a,b\n1,2\n3,5\n".encode("utf-16"), ["a", "b"], [[1, 2], [3, 5]],
                  {"encoding": "utf-16"}),
    "latin.csv": ("größe,b\n1,2\n3,5\n".encode("cp1252"), ["größe", "b"], [[1, 2], [3, 5]],
                  {"encoding": "cp1252"}),
    "packed.csv.gz": (gzip.compress(b"a,b\n1,2\n3,5\n"), ["a", "b"], [[1, 2], [3, 5]], None),
    "quoted.csv": (b'"a","b"\n"1.5","2"\n"3","5"\n', ["a", "b"], [[1.5, 2], [3, 5]], None),
    "marked.csv": (b"\xef\xbb\xbfa,b\n1,2\n3,5\n", ["a", "b"], [[1, 2], [3, 5]], None),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_15_tables_of_other_dialects(name: str, run: Run) -> None:
    """See test_text_tables.py and test_cli_tables.py."""
    content, names, rows, found = TABLES[name]
    Path(name).write_bytes(content)
    answer = trained(run, name, "--n-components", "1")
    assert answer["rows"] == 2
    assert load("m").n_features_in_ == len(names)
    assert kinds(answer) == ([] if found is None else ["format_found"])
    if found:
        assert found.items() <= answer["warnings"][0].items()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = read(name)
    assert table.columns == names
    np.testing.assert_array_equal(table.values, rows)


def test_15_a_number_of_two_readings_is_refused(run: Run) -> None:
    Path("j.csv").write_text('a,b\n"1,000",2\n"2,000",5\n')
    words = ("'1,000' may mean 1.000 or 1000", "--decimal ,", "--thousands ,")
    refused(run("train", "j.csv", "-o", "m", *FEW), 3, *words)
    for option, value in (("--decimal", 1), ("--thousands", 1000)):
        trained(run, "j.csv", "--n-components", "1", option, ",")
        run("encode", "m", "j.csv", "-o", "c.npy", option, ",")
        table = pd.read_csv("j.csv", **{option[2:]: ","})
        np.testing.assert_allclose(np.load("c.npy"), load("m").transform(table), rtol=1e-6)
        assert table.loc[0, "a"] == value


def test_32_parquet_of_pictures(base: Path, run: Run) -> None:
    """See test_parquet_sources.py."""
    files = sorted((base / "photos").iterdir())[:8]
    pictures = [{"bytes": file.read_bytes(), "path": f"{i}.png"} for i, file in enumerate(files)]
    pq.write_table(pa.table({"image": pictures, "label": list(range(8))}), "hf.parquet")
    answer = trained(run, "hf.parquet")
    assert (answer["rows"], answer["sample_shape"]) == (8, [48, 48, 3])
    assert kinds(answer) == ["columns_left_out"]
    assert "'label'" in answer["warnings"][0]["message"]
    with pytest.warns(UserWarning, match="left out: 'label'"):
        rows = read("hf.parquet")
    np.testing.assert_array_equal(rows.values, [picture(number) for number in range(8)])


def test_32_equal_names_and_partitions(run: Run) -> None:
    columns = [pa.array([1.0, 2.0]), pa.array([3.0, 4.0])]
    pq.write_table(pa.Table.from_arrays(columns, names=["a", "a"]), "dup.parquet")
    refused(run("train", "dup.parquet", "-o", "m", *FEW), 3, "'a' is the name of columns 1, 2")
    assert not Path("m").exists()
    for year, values in ((2020, [1.0, 2.0, 4.0]), (2021, [7.0, 5.0])):
        Path("part", f"year={year}").mkdir(parents=True)
        pq.write_table(pa.table({"a": values}), f"part/year={year}/x.parquet")
    answer = trained(run, "part", "--n-components", "1")
    assert (answer["rows"], answer["sample_shape"]) == (5, [2])
    (warning,) = answer["warnings"]
    assert (warning["kind"], warning["taken"]) == ("partitions", ["year"])
    assert load("m").feature_names_in_.tolist() == ["a", "year"]


# Pictures -----------------------------------------------------------------------------------------


def test_02_cameras_that_do_not_fill_sixteen_bits(run: Run) -> None:
    """See test_depths.py, for 10, 12 and 14 bits, colours and PNG."""
    Path("cam").mkdir()
    for number in range(30):
        values = 100 + 2 * picture(number, channels=1).astype(np.uint16)
        tifffile.imwrite(f"cam/c{number:02}.tif", values)
    stored = tifffile.imread("cam/c00.tif")
    assert len(np.unique(stored)) == 201
    np.testing.assert_array_equal(read_image("cam/c00.tif", (48, 48)), stored)
    words = ["--model", "denoising", "--max-epochs", "40", "--n-components", "8"]
    answer = trained(run, "cam", *words)
    assert answer["warnings"] == []
    assert answer["chosen"]["scaling"]["value"] == "global"
    assert run("denoise", "m", "cam", "-o", "clean").code == 0
    (first, *others) = sorted(Path("clean").iterdir())
    assert len(others) == 29
    with Image.open(first) as image:
        denoised = np.asarray(image)
    assert denoised.dtype == np.uint16
    assert len(np.unique(denoised)) > 100
    # In the units of the file, far nearer to it than its mean is.
    assert ((denoised - stored.astype(float)) ** 2).mean() < 0.5 * stored.var()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_03_white_is_zero(kind: type, run: Run) -> None:
    """What is stored as 0 is white: the picture is the largest value less what is stored."""
    white = np.iinfo(kind).max
    for name in ("black", "white"):
        Path(name).mkdir()
        for number in range(3):
            shown = picture(number, channels=1).astype(kind) * (white // 255)
            values = white - shown if name == "white" else shown
            tifffile.imwrite(f"{name}/{number}.tif", values, photometric=f"minis{name}")
    np.testing.assert_array_equal(read("white").values, read("black").values)
    stored = tifffile.imread("white/0.tif")
    np.testing.assert_array_equal(read_image("white/0.tif", (48, 48)), white - stored)
    trained(run, "black")
    for name in ("black", "white"):
        assert run("encode", "m", name, "-o", f"{name}.npy").code == 0
    np.testing.assert_array_equal(np.load("white.npy"), np.load("black.npy"))


def mixed(base: Path) -> None:
    """Make a folder of 5 pictures and 8 files that only look like some."""
    some_photos(base, "mix", 5)
    for number in range(1, 7):
        Path("mix", f"IMG_{number}.HEIC").write_bytes(RNG.bytes(999))
    Path("mix/a.jxl").write_bytes(RNG.bytes(99))
    Path("mix/b.CR2").write_bytes(RNG.bytes(99))


def test_07_photos_of_a_phone_that_are_damaged(base: Path, run: Run) -> None:
    """See test_folders.py and test_pages.py, which reads photos of these kinds."""
    pytest.importorskip("pillow_heif")
    pytest.importorskip("pillow_jxl")
    mixed(base)
    told = run("train", "mix", "-o", "m", *FEW)
    assert told.code == 3
    said = told.err.splitlines()
    assert len(said) == 2
    assert "1 file of other kinds left out: 1 .CR2" in said[0]
    assert "IMG_1.HEIC' is not a readable picture" in said[1]
    assert "HEIF" in said[1]  # among the formats that are read
    assert not Path("m").exists()
    answer = run("index", base / "model", "mix", "-o", "l.lance", "--skip-unreadable", "--json")
    assert (answer.json["added"], answer.json["left_out"]["kinds"]) == (5, {".CR2": 1})
    skipped = [Path(one["path"]).name for one in answer.json["skipped"]]
    assert sorted(skipped) == [*(f"IMG_{number}.HEIC" for number in range(1, 7)), "a.jxl"]
    assert kinds(answer.json) == ["files_left_out"]
    refused(run("match", "l.lance", "mix/IMG_1.HEIC"), 3, "IMG_1.HEIC' is not a readable picture")


def test_07_photos_of_a_phone_where_their_packages_are_missing(base: Path, run: Run) -> None:
    mixed(base)
    without = (
        "import sys; sys.modules.update(pillow_heif=None, pillow_jxl=None)\n"
        "from narrows.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", without, "train", "mix", "-o", "m", *FEW, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["rows"] == 5
    assert answer["left_out"]["files"] == 8
    assert answer["left_out"]["kinds"] == {".HEIC": 6, ".CR2": 1, ".jxl": 1}
    assert "8 files of other kinds left out: 6 .HEIC, 1 .CR2, 1 .jxl" in done.stderr
    assert ".HEIC, .jxl are read after pip install 'narrows[photos]'" in done.stderr


def test_08_folders_of_systems(base: Path, run: Run) -> None:
    """See test_folders.py, for arrays and sound, and for --exclude."""
    some_photos(base, "nas", 6)
    for place in ("@eaDir/p00.png", "@eaDir/p01.png", "#recycle", "$RECYCLE.BIN", "lost+found"):
        Path("nas", place).mkdir(parents=True)
    for number in range(2):
        thumbnail = Image.fromarray(picture(number)).resize((40, 40))
        thumbnail.save(f"nas/@eaDir/p0{number}.png/SYNOPHOTO_THUMB_M.jpg")
    shutil.copy(base / "photos/p10.png", "nas/#recycle")
    shutil.copy(base / "photos/p11.png", "nas/$RECYCLE.BIN/$RABC.png")
    answer = run("index", base / "model", "nas", "-o", "l.lance", "--json")
    assert (answer.code, answer.json["added"], answer.json["warnings"]) == (0, 6, [])
    assert answer.json["left_out"]["system"] == 4  # folders, which are not entered
    assert answer.err == ""
    assert run("duplicates", "l.lance", "--json").json["groups"] == []


def test_18_channels_that_stand_first(run: Run) -> None:
    """See test_axes.py."""
    import torch

    for shape in ((40, 3, 32, 32), (40, 3, 64, 64), (40, 1, 28, 28)):
        X = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))
        model = Autoencoder(2, max_epochs=1, random_state=0)
        with pytest.raises(DataError, match=r"height, width, channels.*permute\(0, 2, 3, 1\)"):
            model.fit(X)
        assert not hasattr(model, "sample_shape_")
        model.fit(X.permute(0, 2, 3, 1))
        assert model.sample_shape_ == (*shape[2:], shape[1])
        np.save("x.npy", X.numpy())
        words = (f"shape {shape}", "np.moveaxis(X, 1, -1)")
        refused(run("train", "x.npy", "-o", "m", *FEW), 3, *words)


def test_19_a_photo_of_another_size_than_the_model_s(base: Path, run: Run) -> None:
    """See test_sizes.py, also for the decibels."""
    photo = np.tile(picture(5, 64), (5, 7, 1))[:300, :400]
    Image.fromarray(photo).save("photo.png")
    words = ["--model", "denoising", "--corruption", "gaussian"]
    trained(run, str(base / "photos"), *words)
    told = ("300 x 400", "48 x 48", "--resize", "--architecture fully_convolutional")
    refused(run("denoise", "m", "photo.png", "-o", "out"), 3, *told)
    assert not Path("out").exists()
    done = run("denoise", "m", "photo.png", "-o", "out", "--resize", "--json")
    assert (done.json["resized"]["largest"], done.json["resized"]["to"]) == ([300, 400], [48, 48])
    keeping = ["--architecture", "fully_convolutional", "--hidden-layer-sizes", "4"]
    trained(run, str(base / "photos"), *words, *keeping)
    assert run("denoise", "m", "photo.png", "-o", "kept").code == 0
    with Image.open("kept/photo.png") as image:
        assert image.size == (400, 300)


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.float32) / 255, GREY.astype(np.int16) * 20 - 1000,
        GREY.astype(np.uint32) * 1000, GREY / 255.0, GREY.astype(np.float16),
        np.stack([GREY] * 5, axis=-1),
    ],
    ids=["f32", "i16", "u32", "f64", "f16", "ch5"],
)  # fmt: skip
def test_20_measured_values_in_tiff(values: NDArray[Any], run: Run) -> None:
    """See test_depths.py and test_axes.py."""
    Path("tiffs").mkdir()
    for number in range(3):
        options = {"planarconfig": "contig"} if values.ndim == 3 else {}
        turned = np.roll(values, 9 * number, axis=0)
        tifffile.imwrite(f"tiffs/{number}.tif", turned, photometric="minisblack", **options)
    rows = read("tiffs").values
    assert rows.dtype == values.dtype
    np.testing.assert_array_equal(rows[1], np.roll(values, 9, axis=0))
    answer = trained(run, "tiffs", "--max-epochs", "20")
    assert (answer["rows"], kinds(answer)) == (3, [])
    assert answer["sample_shape"] == list(values.shape)
    assert run("reconstruct", "m", "tiffs", "-o", "restored").code == 0
    restored = tifffile.imread("restored/0.tif")
    assert (restored.dtype, restored.shape) == (values.dtype, values.shape)
    # In the units of the file.
    difference = restored.astype(float) - values.astype(float)
    assert (difference**2).mean() < values.astype(float).var()


def test_21_a_panorama(base: Path, run: Run) -> None:
    """See test_pages.py and test_images.py."""
    some_photos(base, "big", 4)
    Image.new("L", (12000, 8000), 128).save("big/pano.jpg")
    answer = run("index", base / "model", "big", "-o", "l.lance", "--json")
    assert (answer.code, answer.json["added"], answer.json["skipped"]) == (0, 5, [])
    assert kinds(answer.json) == ["pictures_resized"]
    assert answer.json["resized"]["largest"] == [8000, 12000]
    told = run("match", "l.lance", "big/pano.jpg", "-k", "1", "--json").json
    assert told["queries"][0]["matches"][0]["path"] == "big/pano.jpg"
    small = ["--max-pixels", "3000"]
    words = ("pano.jpg", "more than the 3000 that are safe", "--max-pixels")
    refused(run("index", base / "model", "big", "-o", "o.lance", *small), 3, *words)
    assert not Path("o.lance").exists()
    skipped = run(
        "index", base / "model", "big", "-o", "o.lance", *small, "--skip-unreadable", "--json"
    )
    assert (skipped.code, skipped.json["added"], kinds(skipped.json)) == (0, 4, [])
    assert skipped.json["skipped"][0]["path"] == "big/pano.jpg"


def test_30_files_of_zero_bytes_and_web_pages(base: Path, run: Run) -> None:
    """See test_folders.py and test_files.py."""
    some_photos(base, "z", 3)
    Path("z/empty.jpg").touch()
    Path("z/page.jpg").write_text("<html>404</html>")
    words = ("z/empty.jpg", "it is empty (0 bytes)", "--skip-unreadable")
    refused(run("index", base / "model", "z", "-o", "l.lance"), 3, *words)
    assert not Path("l.lance").exists()
    answer = run("index", base / "model", "z", "-o", "l.lance", "--skip-unreadable", "--json")
    assert (answer.code, answer.json["added"]) == (0, 3)
    assert answer.json["skipped"] == [
        {"path": "z/empty.jpg", "reason": "it is empty (0 bytes)"},
        {"path": "z/page.jpg", "reason": "it is a web page (HTML)"},
    ]
    for name in ("t.csv", "a.npy", "q.parquet"):
        Path(name).touch()
        refused(run("train", name, "-o", "m", *FEW), 3, f"'{name}'", "it is empty (0 bytes)")


# Sound and arrays ---------------------------------------------------------------------------------


def test_09_hidden_files_beside_sound_and_arrays(run: Run) -> None:
    """See test_folders.py."""
    soundfile = pytest.importorskip("soundfile")
    junk = bytes([0, 5, 22, 7, 0, 2, 0, 0]) + b"Mac OS X        " + bytes(4000)
    t = np.arange(16000) / 16000
    for folder in ("a", "b", "c/.Trashes", "n"):
        Path(folder).mkdir(parents=True)
    for name, pitch in (("x", 2000), ("y", 3000)):
        soundfile.write(f"a/{name}.wav", 0.4 * np.sin(t * pitch), 16000)
        np.save(f"b/{name}.npy", RNG.random((20, 8)))
        Path("n", f"{name.upper()}.NPY").write_bytes(Path("b", f"{name}.npy").read_bytes())
    Path("a/._x.wav").write_bytes(junk)
    Path("b/._x.npy").write_bytes(junk)
    soundfile.write("c/x.wav", 0.4 * np.sin(t * 2000), 16000)
    soundfile.write("c/.Trashes/old.wav", 0.4 * np.sin(t * 900), 16000)
    window = ["--window", "256"]
    for folder, rows, options in (("a", 248, window), ("b", 40, []), ("c", 124, window)):
        answer = trained(run, folder, *options)
        assert (answer["rows"], answer["skipped"], kinds(answer)) == (rows, [], [])
        assert answer["left_out"]["system"] == 1  # a file, or a folder that is not entered
    answer = trained(run, "n")  # endings in upper case
    assert (answer["rows"], answer["warnings"], "left_out" in answer) == (40, [], False)


def test_30_sound_of_zero_bytes(run: Run) -> None:
    pytest.importorskip("soundfile")
    Path("w.wav").touch()
    found = run("train", "w.wav", "-o", "m", "--window", "64", *FEW)
    refused(found, 3, "'w.wav'", "it is empty (0 bytes)")


# Models and Python --------------------------------------------------------------------------------


def test_16_codes_that_say_nothing(run: Run) -> None:
    """See test_outcome.py."""
    np.save("d.npy", datasets.load("digits").X_train)
    sparse = ["--model", "sparse", "--sparsity", "l1", "--sparsity-weight", "100"]
    answer = trained(run, "d.npy", *sparse, "--n-components", "256", "--max-epochs", "6")
    (warning,) = answer["warnings"]
    assert (warning["kind"], warning["dead_units"]) == ("dead_units", 256)
    assert warning["message"].startswith("all 256 units of the code are dead")
    variational = ["--model", "variational", "--kl-weight", "1000", "--max-epochs", "5"]
    answer = trained(run, "d.npy", *variational, "--n-components", "8")
    (warning,) = answer["warnings"]
    assert (warning["kind"], warning["active_units"]) == ("posterior_collapse", 0)


def test_training_says_what_it_chose_and_a_line_for_each_tenth_of_the_run(run: Run) -> None:
    """See test_rescue.py for what else a run tells."""
    pd.DataFrame(RNG.normal(size=(60, 4)) * [1, 10, 100, 1000]).to_csv("t.csv", index=False)
    found = run("train", "t.csv", "-o", "m", *FEW, "--max-epochs", "50", "--architecture", "dense",
                "--header")  # fmt: skip
    assert found.code == 0
    (chosen,) = (line for line in found.err.splitlines() if line.startswith("chosen: "))
    for words in ("hidden_layer_sizes 256,64 (4 features)", "scaling standard (standard dev",
                  "loss squared_error", "batch_size 32 (60 rows)", "0 rows held out",
                  "device cpu"):  # fmt: skip
        assert words in chosen
    assert "architecture" not in chosen  # which was said by the caller
    told = [line.split()[1] for line in found.err.splitlines() if line.startswith("epoch ")]
    assert told == ["1/50", *(f"{epoch}/50" for epoch in range(5, 51, 5))]


def test_26_weights_of_rows_and_classes() -> None:
    """See test_weights.py."""
    rng = np.random.default_rng(0)
    X, weights = rng.random((60, 4)), rng.integers(0, 3, 60)
    y = (X[:, 0] > 0.7).astype(int)
    model = Autoencoder(2, max_epochs=2, random_state=0)
    # A row of no weight is as one that is not there; equal weights are none.
    weighted = model.fit(X, sample_weight=weights > 0).transform(X)
    np.testing.assert_allclose(weighted, model.fit(X[weights > 0]).transform(X), rtol=1e-5)
    np.testing.assert_array_equal(
        model.fit(X, sample_weight=np.ones(60)).transform(X), model.fit(X).transform(X)
    )
    encoder = model.fit(X)
    same: dict[str, Any] = {"encoder": encoder, "max_epochs": 20, "random_state": 0}
    balanced = EncoderClassifier(class_weight="balanced", **same).fit(X, y)
    by_rows = EncoderClassifier(**same).fit(X, y, sample_weight=60 / 2 / np.bincount(y)[y])
    plain = EncoderClassifier(**same).fit(X, y)
    chances = [found.predict_proba(X) for found in (balanced, by_rows, plain)]
    np.testing.assert_allclose(chances[0], chances[1], rtol=1e-4)
    assert np.abs(chances[0] - chances[2]).max() > 0.05
    with sklearn.config_context(enable_metadata_routing=True):
        last = LogisticRegression().set_fit_request(sample_weight=True)
        piped = Pipeline([("codes", model), ("last", last)]).fit(X, y, sample_weight=weights)
        codes = model.fit(X).transform(X)
        truth = LogisticRegression().fit(codes, y, sample_weight=weights)
    np.testing.assert_allclose(piped.predict_proba(X), truth.predict_proba(codes), rtol=1e-6)


def test_31_clean_rows_beside_noisy_ones() -> None:
    """See test_traps.py."""
    X = datasets.load("digits").X_train / 255.0
    noisy = X + np.random.default_rng(0).normal(0, 0.3, X.shape)
    for kind in (Autoencoder, VariationalAutoencoder):
        model = kind(32, max_epochs=15, random_state=0)
        with pytest.raises(DataError, match=r"DenoisingAutoencoder\(\).fit\(noisy, clean\)"):
            model.fit(noisy, X)
        assert not hasattr(model, "encoder_")
    learned = DenoisingAutoencoder(32, max_epochs=15, random_state=0).fit(noisy, X)
    # The noise has 0.09; a fifth of it is left.
    assert ((learned.reconstruct(noisy) - X) ** 2).mean() < 0.018
