"""Parquet as others write it: pictures in structures, partitions, and columns of one name."""

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cli_kit import TINY, Run, pictures
from PIL import Image
from pyarrow import dataset
from pyarrow import parquet as pq

from narrows import Autoencoder, Library
from narrows.data import images
from narrows.data.files import read
from narrows.errors import DataError, NarrowsWarning, UnreadableFileError

pytestmark = pytest.mark.cases

PICTURES = pictures(20)
HUGGING_FACE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def png(pixels: Any, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def structures(names: list[str | None]) -> list[dict[str, Any]]:
    return [
        {"bytes": png(pixels), "path": name} for pixels, name in zip(PICTURES, names, strict=False)
    ]


NAMES = [f"{number}.png" for number in range(20)]


def save(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return path


def left_behind() -> list[str]:
    return [name for name in os.listdir(tempfile.gettempdir()) if "hf.parquet" in name]  # noqa: PTH208


def test_pictures_in_structures_are_read_as_pictures(tmp_path: Path) -> None:
    path = save(tmp_path / "hf.parquet", image=structures(NAMES), label=[0, 1] * 10)
    with pytest.warns(NarrowsWarning, match="column 'image' are read; left out: 'label'") as caught:
        rows = read(path)
    assert [one.message.kind for one in caught] == ["columns_left_out"]
    assert rows.pictures
    assert rows.names == NAMES
    np.testing.assert_array_equal(rows.values, PICTURES)
    assert left_behind() == []
    with pytest.warns(NarrowsWarning, match="left out"):
        small = read(path, image_size=(6, 5), color=True)
    assert small.values.shape == (20, 6, 5, 3)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([None] * 20, [str(number) for number in range(20)]),
        (["a/b.png", "a", *NAMES[2:]], ["a/b.png", "1-a", *NAMES[2:]]),
        (["x.png"] * 20, ["x.png", *(f"{number}-x.png" for number in range(1, 20))]),
        (["../../x.png", "/etc/y.png", *NAMES[2:]], ["x.png", "etc/y.png", *NAMES[2:]]),
    ],
)
def test_names_of_pictures_stay_within_a_folder(
    tmp_path: Path, names: list[str | None], expected: list[str]
) -> None:
    rows = read(save(tmp_path / "hf.parquet", image=structures(names)))
    assert rows.names == expected
    np.testing.assert_array_equal(rows.values, PICTURES)


def test_pictures_may_be_bytes_alone_and_in_several_files(tmp_path: Path) -> None:
    contents = [png(pixels) for pixels in PICTURES]
    save(tmp_path / "data" / "train-00000.parquet", image=contents[:13])
    save(tmp_path / "data" / "train-00001.parquet", image=contents[13:])
    rows = read(tmp_path / "data")
    np.testing.assert_array_equal(rows.values, PICTURES)
    save(tmp_path / "data" / "train-00002.parquet", picture=contents[:2])
    with pytest.raises(DataError, match=r"train-00002.parquet' has no column 'image'"):
        read(tmp_path / "data")


def test_pictures_that_memory_does_not_hold_stay_in_files_as_long_as_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "hf.parquet", image=structures(NAMES))
    monkeypatch.setattr(images, "fits", lambda _: False)
    with pytest.warns(UserWarning, match="decoded anew whenever they are needed"):
        values = read(path).values.reshaped((20, 120))
    assert len(left_behind()) == 1
    np.testing.assert_array_equal(values[:], PICTURES.reshape(20, 120))
    del values
    assert left_behind() == []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pa.array([{"bytes": None, "path": "a.png"}] * 3, HUGGING_FACE),
            r"only the path 'a\.png' in row 0",
        ),
        ([{"bytes": png(PICTURES[0]), "path": "a"}, None], "nothing in row 1"),
        ([{"bytes": b"what is this", "path": "a.png"}], r"hf\.parquet: a\.png' is not a readable"),
        ([{"bytes": b"RIFF....WAVE", "path": "a.wav"}], r"such as 'a\.wav', that are no pictures"),
        (
            [b"what is this"],
            "'image' of binary, where numbers are allowed|has bytes of type binary",
        ),
    ],
)
def test_what_holds_no_pictures_is_refused(tmp_path: Path, column: Any, message: str) -> None:
    path = save(tmp_path / "hf.parquet", image=column)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert left_behind() == []


def test_two_columns_of_pictures_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "hf.parquet", image=structures(NAMES), mask=structures(NAMES))
    with pytest.raises(DataError, match=r"several columns of pictures \('image', 'mask'\)"):
        read(path)


def test_pictures_that_cannot_be_read_are_left_out_if_so_wished(tmp_path: Path) -> None:
    column = structures(NAMES)
    column[3]["bytes"] = column[3]["bytes"][:40]
    path = save(tmp_path / "hf.parquet", image=column)
    with pytest.raises(
        UnreadableFileError, match=r"hf\.parquet: 3\.png' is not a readable"
    ) as told:
        read(path)
    assert told.value.path == path
    assert told.value.reason
    assert str(told.value.reason) in str(told.value)
    rows = read(path, skip_unreadable=True)
    assert rows.names == [*NAMES[:3], *NAMES[4:]]
    assert rows.skipped == [(f"{path}: 3.png", told.value.reason)]


def test_models_and_libraries_take_them(tmp_path: Path) -> None:
    path = save(tmp_path / "hf.parquet", image=structures(NAMES))
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(path)
    assert model.sample_shape_ == (12, 10)
    np.testing.assert_array_equal(model.transform(path), model.transform(PICTURES))
    library, added = Library.build(tmp_path / "lib.lance", path, model=model)
    assert added.count == 20
    assert library.match(PICTURES[4], k=1)[0].id == 4


def test_labels_may_be_a_column_of_the_same_file(run: Run) -> None:
    save(Path("hf.parquet"), image=structures(NAMES), label=[3, 4] * 10)
    assert run("train", "hf.parquet", "-o", "model", *TINY).code == 0
    found = run("evaluate-matching", "model", "hf.parquet", "--labels", "hf.parquet", "--json")
    assert found.code == 0, found.err
    assert found.json["methods"][0]["n_queries"] == 20
    save(Path("parts/1.parquet"), image=structures(NAMES)[:7], label=[3] * 7)
    save(Path("parts/2.parquet"), image=structures(NAMES)[7:], label=[4] * 13)
    found = run("evaluate-matching", "model", "parts", "--labels", "parts", "--json")
    assert found.code == 0, found.err
    assert run("evaluate-matching", "model", "hf.parquet", "--labels", "parts").code == 0


def test_columns_of_one_name_are_refused_in_one_line(tmp_path: Path, run: Run) -> None:
    equal = pa.Table.from_arrays([pa.array([1.0, 2.0])] * 3, names=["a", "b", "a"])
    pq.write_table(equal, "equal.parquet")
    (tmp_path / "parts").mkdir()
    pq.write_table(equal, tmp_path / "parts" / "a.parquet")
    for path in ("equal.parquet", "parts"):
        refused = run("train", path, "-o", "model")
        assert refused.code == 3
        assert "'a' is the name of columns 1, 3; name each differently" in refused.err
        assert refused.err.count("\n") == 1


@pytest.mark.parametrize("small", [True, False])
def test_partitions_are_columns_as_for_every_other_reader(
    tmp_path: Path, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
    frame["year"] = np.repeat([2019, 2020, 2021], 20)
    frame["code"] = np.tile([0.5, 1.5], 30)
    pq.write_to_dataset(
        pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "t", ["year", "code"]
    )
    truth = dataset.dataset(tmp_path / "t", partitioning="hive").to_table().to_pandas()
    if not small:
        monkeypatch.setattr("narrows.data.parquet.fits", lambda _: False)
    with pytest.warns(NarrowsWarning, match="partitioned: year, code taken from the names of its"):
        rows = read(tmp_path / "t")
    assert rows.columns == ["a", "b", "c", "year", "code"]
    truth = truth.astype(float).sort_values(list("abc"))[rows.columns].to_numpy()
    values = rows.values[:]
    np.testing.assert_array_equal(values[np.lexsort(values[:, 2::-1].T)], truth)


def test_partitions_of_texts_are_left_out_and_said(tmp_path: Path) -> None:
    for name, number in (("de", 1), ("at", 2)):
        folder = tmp_path / "t" / f"land={name}" / f"month={number}"
        save(folder / "x.parquet", a=[1.0 * number, 2.0])
        save(folder / "_hidden.parquet", z=["not read"])
    with pytest.warns(NarrowsWarning, match="month taken .*, land left out, as not all values are"):
        rows = read(tmp_path / "t")
    assert rows.columns == ["a", "month"]
    assert rows.values.tolist() == [[2, 2], [2, 2], [1, 1], [2, 1]]
    # Columns of the files come before those of their folders.
    save(tmp_path / "u" / "a=7" / "x.parquet", a=[1.0], b=[2.0])
    with pytest.warns(
        NarrowsWarning, match="partitioned: a taken from inside the files, not"
    ) as told:
        assert read(tmp_path / "u").values.tolist() == [[1, 2]]
    assert [one.message.facts["inside"] for one in told] == [["a"]]
    save(tmp_path / "t" / "y.parquet", a=[1.0])
    with pytest.raises(DataError, match=r"'y\.parquet' and 'land=at/month=2/x\.parquet', of which"):
        read(tmp_path / "t")
    (tmp_path / "t" / "y.parquet").unlink()
    save(tmp_path / "t" / "land=ch" / "x.parquet", a=[1.0])
    with pytest.raises(DataError, match="whose folders name different columns"):
        read(tmp_path / "t")


def test_folders_of_tables_say_what_to_do(tmp_path: Path) -> None:
    for name in ("train", "test"):
        save(tmp_path / "split" / name / "x.parquet", a=[1.0])
    with pytest.raises(DataError, match=r"in folders of its own \(test, train\) .* give one of"):
        read(tmp_path / "split")
    (tmp_path / "csv").mkdir()
    for number in range(7):
        (tmp_path / "csv" / f"{number}.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"7 text tables \(0\.csv, .*\.\.\. \(7 in all\)\), which"):
        read(tmp_path / "csv")


def test_all_bad_columns_of_large_tables_are_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(
        tmp_path / "a.parquet", a=["x"], b=[1.0], c=[None], d=[pd.Timestamp("2020")], e=[b"bytes"]
    )
    monkeypatch.setattr("narrows.data.parquet.fits", lambda _: False)
    with pytest.raises(DataError, match="columns 'a' of string, 'c' of null, 'd' of timestamp"):
        read(path)
    path = save(tmp_path / "b.parquet", a=[1, 2**53 + 1])
    with pytest.raises(DataError, match=r"9007199254740993 in column 'a', row 1, .*beyond 2\^53"):
        read(path)
