"""Whatever a user names is read as rows or refused in one line, and what is written reads back."""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from narrows.data import lazy_rows
from narrows.data.depths import encode_png
from narrows.data.files import read, write
from narrows.data.formats import FileOptions
from narrows.data.names import RowNames, picture_paths
from narrows.errors import (
    DataError,
    MissingFileError,
    NarrowsError,
    NarrowsWarning,
    OutputError,
    OutputExistsError,
    ParameterError,
    UnreadableFileError,
)

# Seed 0 throughout.
FLOATS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
# What people call their files, and what attackers do.
NAMES = st.lists(
    st.one_of(
        st.sampled_from(["a.jpg", "a.png", "A.PNG", "a", "a/b", "a.png/b", "../x", "/etc/x", ""]),
        st.sampled_from(["..", ".", "...png", "..png", "a-2.jpg", "\\..\\x", "C:\\x", "é", "é"]),
        st.text("ab./\\-2\0\n", max_size=8),
        st.text(max_size=8),
    ),
    max_size=12,
)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """Be a user without rights where only root would have them; gives a folder they can enter."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "tsv", "parquet", "NPY", "Npz"])
@pytest.mark.parametrize("values", [FLOATS, FLOATS[:, 0], FLOATS > 0])
def test_arrays_and_tables_read_back(tmp_path: Path, ending: str, values: NDArray[Any]) -> None:
    path = tmp_path / f"rows.{ending}"
    assert write(path, values) == path
    rows = read(path)
    expected = values if ending.lower().startswith("np") else values.reshape(7, -1)
    np.testing.assert_array_equal(rows.values.astype(values.dtype), expected)
    assert rows.names == ["0", "1", "2", "3", "4", "5", "6"]
    assert rows.columns == (
        None if ending.lower().startswith("np") else [f"x{i}" for i in range(expected.shape[1])]
    )
    assert (rows.pictures, rows.skipped) == (False, [])
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


@settings(max_examples=30)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.float16, np.float64, np.bool_]),
        hnp.array_shapes(max_dims=4, max_side=3),
    )
)
def test_npy_and_npz_keep_every_shape_and_type(
    tmp_path_factory: pytest.TempPathFactory, values: NDArray[Any]
) -> None:
    for ending in ("npy", "npz"):
        path = write(tmp_path_factory.mktemp("rows") / f"rows.{ending}", values)
        rows = read(path)
        assert rows.values.dtype == values.dtype
        np.testing.assert_array_equal(rows.values, values)


def test_large_npy_is_mapped_and_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read(write(tmp_path / "rows.npy", FLOATS))
    assert not isinstance(rows.values, np.memmap)
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    rows = read(write(tmp_path / "large.npy", FLOATS))
    assert isinstance(rows.values, np.memmap)
    np.save(tmp_path / "big.npy", FLOATS.astype(">f8"))
    assert read(tmp_path / "big.npy").values.dtype.isnative


@pytest.mark.cases
def test_npz_is_chosen_from_and_keeps_names(tmp_path: Path) -> None:
    names = ["x/a.jpg", "b.png", "ü.gif"]
    assert read(write(tmp_path / "a.npz", PICTURES, names=names)).names == names
    np.savez(tmp_path / "one.npz", codes=FLOATS)
    np.testing.assert_array_equal(read(tmp_path / "one.npz").values, FLOATS)
    np.savez(tmp_path / "two.npz", y=FLOATS[:, 0], data=FLOATS)
    with pytest.warns(NarrowsWarning, match=r"holds y \(7\), data \(7 x 3\), of which data was"):
        np.testing.assert_array_equal(read(tmp_path / "two.npz").values, FLOATS)
    np.savez(tmp_path / "none.npz", y=FLOATS, z=FLOATS[:, :2], one=5.0)
    listed = r"y \(7 x 3\), z \(7 x 2\), one \(a single value\)"
    with pytest.raises(DataError, match=rf"holds the arrays {listed}; say which .*--array NAME"):
        read(tmp_path / "none.npz")
    values = read(tmp_path / "none.npz", options=FileOptions(array="z")).values
    np.testing.assert_array_equal(values, FLOATS[:, :2])
    with pytest.raises(ParameterError, match=rf"array='x': .* holds {listed}; name one"):
        read(tmp_path / "none.npz", options=FileOptions(array="x"))
    np.savez(tmp_path / "many.npz", *[FLOATS] * 20)  # arr_0 and so on
    with pytest.warns(NarrowsWarning, match=r"\.\.\. \(20 in all\), of which arr_0 was taken"):
        read(tmp_path / "many.npz")


def test_idx_is_known_by_its_content_or_its_name(tmp_path: Path) -> None:
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4])
    for name in ("t10k-images-idx3-ubyte", "labels.idx", "without-an-ending", "other.bin"):
        (tmp_path / name).write_bytes(content)
        assert read(tmp_path / name).values.tolist() == [[1, 2], [3, 4]]
    (tmp_path / "train.idx3-ubyte").write_bytes(b"\0\0\x0dnonsense")
    with pytest.raises(UnreadableFileError, match="is not a readable IDX file"):
        read(tmp_path / "train.idx3-ubyte")


def objects(path: Path) -> None:
    np.save(path, np.array([{}, []], dtype=object), allow_pickle=True)


def objects_in_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, X=np.array([{}, []], dtype=object))


def cut(path: Path) -> None:
    write(path, FLOATS)
    path.write_bytes(path.read_bytes()[:-20])


def foreign(path: Path) -> None:
    path.write_bytes(b"something else altogether")


def text(path: Path) -> None:
    np.save(path, np.array(["red", "blue"]))


def single(path: Path) -> None:
    np.save(path, np.array(3.5))


def no_rows(path: Path) -> None:
    np.save(path, np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("name", "make", "error", "message"),
    [
        ("a.npy", objects, DataError, "holds Python objects.* could run code"),
        ("a.npz", objects_in_archive, DataError, "holds Python objects.* could run code"),
        ("a.npy", cut, UnreadableFileError, r"not a readable \.npy file: .*cut short"),
        ("a.npz", cut, UnreadableFileError, r"not a readable \.npz file"),
        ("a.npy", foreign, UnreadableFileError, "does not begin as a .npy file does"),
        ("a.npz", foreign, UnreadableFileError, "not the archive that such a file is"),
        ("a.npy", text, DataError, "values of type <U4; only numbers"),
        ("a.npy", single, DataError, "holds a single number"),
        ("a.npy", no_rows, DataError, r"holds no values: its shape is \(0, 3\)"),
        ("a.csv", foreign, DataError, "holds no rows"),
        ("a.parquet", foreign, UnreadableFileError, "not a readable Parquet table"),
        ("a.png", foreign, UnreadableFileError, "not a readable picture.*--skip-unreadable"),
        ("a.xyz", foreign, DataError, r"of no kind that can be read; give \.npy, .*folder of pict"),
        ("a", foreign, DataError, r"of no kind that can be read"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, name: str, make: Any, error: type[Exception], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(error, match=message) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"'{tmp_path / name}'")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
@given(st.data())
def test_damaged_files_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    ending = data.draw(st.sampled_from(["npy", "npz", "csv", "parquet"]))
    path = write(tmp_path_factory.mktemp("damaged") / f"rows.{ending}", FLOATS)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert read(path).values.size > 0
    except NarrowsError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent' does not exist; give \.npy"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no pictures"):
        read(tmp_path)


def test_no_permission_is_said_in_one_line(nobody: Path) -> None:
    for name in ("a.npy", "a.npz", "a.csv", "a.parquet", "a-idx1-ubyte", "a.png"):
        (nobody / name).touch(mode=0)
        with pytest.raises(UnreadableFileError, match=f"{name}' cannot.*Permission denied; allow"):
            read(nobody / name)
    (nobody / "closed").mkdir(mode=0)
    for path in (nobody / "closed", nobody / "closed" / "a.npy"):
        with pytest.raises(UnreadableFileError, match="cannot be read: Permission denied"):
            read(path)
        with pytest.raises(OutputError, match=r"'.*closed/a\.npy' .*ermission"):
            write(nobody / "closed" / "a.npy", FLOATS)
    (nobody / "closed").chmod(stat.S_IRWXU)


def test_folders_of_pictures_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write(folder, PICTURES, names=["one.jpg", "deep/er/two", "deep/three.PNG"])
    rows = read(folder)
    assert rows.names == ["deep/er/two.png", "deep/three.png", "one.png"]
    np.testing.assert_array_equal(rows.values, PICTURES[[1, 2, 0]])
    assert rows.pictures
    assert read(folder, sample_shape=(2, 2, 3)).values.shape == (3, 2, 2, 3)
    assert read(folder, image_size=(6, 7), color=True).values.shape == (3, 6, 7, 3)
    single = read(folder / "one.png")
    assert (single.names, single.pictures) == (["one.png"], True)
    (folder / "bad.png").write_bytes(b"bad")
    with pytest.raises(UnreadableFileError, match=r"bad\.png'"):
        read(folder)
    rows = read(folder, skip_unreadable=True)
    assert len(rows.values) == 3
    assert [path for path, _ in rows.skipped] == [str(folder / "bad.png")]


@pytest.mark.parametrize("shape", [(12, 2, 2), (12, 2, 2, 1), (12, 2, 2, 3), (12, 2, 2, 4)])
def test_pictures_without_names_are_numbered_in_order(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    pixels = np.full(shape, 255, np.uint8)
    pixels.reshape(12, -1)[:, 0] = np.arange(12) * 20
    write(tmp_path / "pictures", pixels)
    rows = read(tmp_path / "pictures")
    assert rows.names[0] == "00.png"
    assert rows.names[-1] == "11.png"
    np.testing.assert_array_equal(rows.values.reshape(12, -1)[:, 0], pixels.reshape(12, -1)[:, 0])


def test_one_picture_goes_into_one_file(tmp_path: Path) -> None:
    write(tmp_path / "one.png", PICTURES[:1])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.png")), PICTURES[0])
    with pytest.raises(DataError, match=r"3 pictures do not go into '.*all\.png'; name a folder"):
        write(tmp_path / "all.png", PICTURES)
    assert not (tmp_path / "all.png").exists()


@settings(max_examples=50)
@given(NAMES)
@example(["a", "a.png", "a-2", "A"])
@example(["a/b", "a.png/c", "a"])
@example(["..png", "...png", "/", "", ".."])
def test_names_stay_in_the_folder_and_apart(names: list[str]) -> None:
    paths = picture_paths(names)
    assert len(paths) == len(names)
    assert picture_paths(names) == paths
    for path in paths:
        assert not path.is_absolute()
        assert not {"..", ".", ""} & set(path.parts)
        assert not {"\0", "\n", "\\"} & set(str(path))
        assert path.suffix == ".png"
    files = {str(path).casefold() for path in paths}
    assert len(files) == len(paths)
    folders = {str(above).casefold() for path in paths for above in path.parents}
    assert not files & folders


def test_colliding_names_are_told_apart_in_order() -> None:
    names = ["a.jpg", "a.png", "a-2.bmp", "a", "b/a.jpg", "B/A.png", "v1.2"]
    expected = ["a.png", "a-2.png", "a-2-2.png", "a-3.png", "b/a.png", "B/A-2.png", "v1.2.png"]
    assert picture_paths(names) == [PurePosixPath(path) for path in expected]


def test_names_never_lead_out(tmp_path: Path) -> None:
    write(tmp_path / "in", PICTURES, names=["../a", "/b", ""])
    found = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    assert [str(path) for path in found] == ["in/a.png", "in/b.png", "in/unnamed.png"]


@pytest.mark.parametrize("name", ["rows.npy", "rows.npz", "rows.csv", "rows.parquet", "rows.png"])
def test_existing_outputs_are_replaced_only_on_request(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("mine")
    values = PICTURES[:1] if name.endswith("png") else FLOATS
    with pytest.raises(OutputExistsError, match=r"exists already; .*--overwrite, overwrite=True"):
        write(path, values)
    assert path.read_text() == "mine"
    write(path, values, overwrite=True)
    assert len(read(path).values) == len(values)


def test_existing_folders_keep_what_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "a.png").write_bytes(encode_png(PICTURES[2]))
    with pytest.raises(OutputExistsError):
        write(folder, PICTURES[:2], names=["a", "b"])
    write(folder, PICTURES[:2], names=["a", "b"], overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    np.testing.assert_array_equal(read(folder).values, PICTURES[:2])


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("out", FLOATS, DataError, r"no pictures for '.*out', .*\.npy, \.npz, \.csv"),
        ("out.png", PICTURES[:1].astype(float), DataError, r"float64 .* PNG has 8 or 16 bits"),
        ("out", PICTURES[:0], DataError, r"values of shape \(0, 5, 4\)"),
        ("out.csv", PICTURES, DataError, r"are no table.*\.npy or \.npz"),
        ("out.npy", np.array(["red"]), DataError, "type <U3 are not written; give numbers"),
        ("out.jpg", PICTURES, ParameterError, r"ends in \.jpg, which is not written; name"),
        ("absent/out.npy", FLOATS, OutputError, "there is no folder '.*absent'; create it"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, name: str, values: NDArray[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write(tmp_path / name, values)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ParameterError, match="names has 1 names for 7 rows"):
        write(tmp_path / "out.npz", FLOATS, names=["a"])


@pytest.mark.cases
def test_a_folder_of_arrays_and_pictures_is_refused_by_the_names_of_both(tmp_path):
    np.save(tmp_path / "rows.npy", FLOATS)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "dark.png").write_bytes(encode_png(PICTURES[0]))
    with pytest.raises(DataError, match=r"'rows\.npy'\) and pictures \('more/dark\.png'\)"):
        read(tmp_path)


def test_rows_without_names_are_called_by_numbers_that_take_no_memory(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((10**6, 1), np.uint8))
    names = read(tmp_path / "rows.npy").names
    assert isinstance(names, RowNames)
    assert (len(names), names[-1], names[7:9]) == (10**6, "999999", ["7", "8"])
    assert read(tmp_path / "rows.npy").names == names
    assert names != names[:3]
    assert RowNames(["a", "b"], "x[", "]") == ["x[a]", "x[b]"]


@pytest.mark.parametrize("chosen", [{"image_size": 8}, {"color": True}])
def test_only_pictures_are_brought_to_a_size_or_kind(tmp_path, chosen):
    file = write(tmp_path / "rows.npy", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ParameterError, match="only picture files"):
        read(file, **chosen)


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (12, 8, 3)])
def test_arrays_that_may_be_one_picture_each_are_said(tmp_path: Path, shape: Any) -> None:
    stack = np.random.default_rng(0).random((3, *shape))
    for number, array in enumerate(stack):
        np.save(tmp_path / f"{number}.npy", array)
    said = rf"3 files of {shape[0]} rows .*one array of shape {re.escape(str(stack.shape))}"
    with pytest.warns(NarrowsWarning, match=said) as told:
        rows = read(tmp_path)
    assert [one.message.kind for one in told] == ["rows_from_arrays"]
    np.testing.assert_array_equal(rows.values, np.concatenate(stack))
    read(tmp_path, sample_shape=shape[1:])  # a model that learned from such rows has settled it


@pytest.mark.parametrize("shapes", [[(8, 8)], [(500, 6)] * 2, [(8, 8), (9, 8)], [(100, 8)] * 3])
def test_arrays_of_rows_are_put_together_in_silence(tmp_path: Path, shapes: Any) -> None:
    for number, shape in enumerate(shapes):
        np.save(tmp_path / f"{number}.npy", np.ones(shape))
    assert read(tmp_path).values.shape[1:] == shapes[0][1:]


def test_an_archive_without_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz")
    for options in (FileOptions(), FileOptions(array="X")):
        with pytest.raises(DataError, match=r"none\.npz' holds no arrays; save it again"):
            read(tmp_path / "none.npz", options=options)
