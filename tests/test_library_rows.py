"""A library's rows: what is there once, what users say of it, what is removed.

The seed of everything random here is 0.
"""

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta

import lance
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from libraries import contents_of, draw, one_line

from narrows import Library
from narrows.data.depths import encode_png
from narrows.errors import DataError, FormatError, ParameterError


def rows_of(library, *columns):
    return lance.dataset(str(library.path / "table.lance")).to_table(columns=list(columns))


def test_a_row_says_what_and_since_when(tmp_path, photos, model):
    before = datetime.now(UTC)
    library, _ = Library.build(tmp_path / "pictures.lance", photos, model=model)
    rows = rows_of(library, "picture", "hash", "added").to_pylist()
    assert len({row["hash"] for row in rows}) == 30
    for row in rows:
        assert row["hash"] == hashlib.sha256(row["picture"]).hexdigest()
        assert before <= row["added"] <= datetime.now(UTC)


def test_the_same_picture_is_added_once(library, pictures):
    added = library.add(pictures)
    assert (added.count, added.present, len(library)) == (0, 60, 60)
    new = draw(2, seed=1)
    added = library.add(np.concatenate([pictures[:3], new, new]))
    assert (added.count, added.present, len(library)) == (2, 5, 62)


def test_a_folder_again_adds_only_what_is_new(tmp_path, photos, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    library.add(photos)
    (photos / "00.png").unlink()
    (photos / "05.png").rename(photos / "renamed.png")
    (photos / "01.png").write_bytes(encode_png(draw(1, seed=1)[0]))
    (photos / "bad.png").write_text("no picture")
    added = library.add(photos, skip_unreadable=True)
    assert (added.count, added.present, len(added.skipped)) == (1, 28, 1)
    assert len(library) == 31
    for number in (0, 1, 5):
        assert library.match(pictures[number], k=1)[0].path == str(photos / f"{number:02}.png")


def test_columns_of_one_s_own(library):
    X = draw(8, seed=1)
    library.add(X[:2], metadata={"label": ["boot", None], "year": [2009, 2011]})
    library.add(X[2:4], metadata=pd.DataFrame({"year": [2012, 2013], "sold": [True, False]}))
    library.add(X[4:5])
    library.add(X[5:6], metadata=pa.table({"label": pa.array(["boot"]).dictionary_encode()}))
    found = [library.match(x, k=1)[0].metadata for x in X[:6]]
    assert found == [
        {"label": "boot", "year": 2009, "sold": None},
        {"label": None, "year": 2011, "sold": None},
        {"label": None, "year": 2012, "sold": True},
        {"label": None, "year": 2013, "sold": False},
        {"label": None, "year": None, "sold": None},
        {"label": "boot", "year": None, "sold": None},
    ]
    assert library.count("label = 'boot'") == 2
    assert library.count("label = 'boot' AND year > 2010") == 0
    assert library.count("year > 2010") == 3
    assert library.count() == 66


def test_what_is_left_out_takes_its_metadata_along(tmp_path, photos, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    library.add(photos / "03.png", metadata={"n": [103]})
    (photos / "04.png").write_text("no picture")
    library.add(photos, metadata={"n": range(30)}, skip_unreadable=True)
    for number in (2, 5, 29):
        assert library.match(pictures[number], k=1)[0].metadata == {"n": number}
    assert library.match(pictures[3], k=1)[0].metadata == {"n": 103}


@pytest.mark.parametrize(
    ("metadata", "error", "words"),
    [
        ({"year": ["new"] * 2}, DataError, "'year' holds string.*int64"),
        ({"year": [1.5, 2]}, DataError, "'year' holds double.*int64"),
        ({"tags": [[1], [2]]}, DataError, "'tags' holds list"),
        ({"big": np.array([2**63, 1], np.uint64)}, DataError, "'big'.*int64"),
        ({"big": [2**70, 1]}, ParameterError, "too large"),
        ({"id": [1, 2]}, ParameterError, "'id'.*rename"),
        ({"exif.year": [1, 2]}, ParameterError, r"'exif\.year'.*rename"),
        ({"a`b": [1, 2]}, ParameterError, "'a`b'.*rename"),
        ({"_rowid": [1, 2]}, ParameterError, "'_rowid'.*rename"),
        ({"year": [1]}, ParameterError, "1 rows for 2 pictures"),
        ({}, ParameterError, "at least one"),
        ({"year": 3}, ParameterError, "dict"),
        (["year"], ParameterError, "list"),
    ],
)
def test_metadata_that_are_not_allowed(library, metadata, error, words):
    library.add(draw(1, seed=2), metadata={"year": [2000]})
    with pytest.raises(error, match=words) as caught:
        library.add(draw(2, seed=1), metadata=metadata)
    one_line(caught)
    assert len(Library.open(library.path)) == 61


def test_removed_pictures_are_gone_and_their_ids_with_them(library, pictures):
    assert library.remove([59, 3, 3]) == 2
    assert library.remove(where="id >= 57 OR path = '5'") == 3
    assert library.remove(where="id > 1000") == library.remove([]) == 0
    assert len(library) == len(Library.open(library.path)) == 55
    found = [one[0] for one in library.match(pictures, k=1)]
    gone = {3, 5, 57, 58, 59}
    for number, match in enumerate(found):
        assert (match.id == number) == (number not in gone)
    assert library.add(pictures[[3, 59]]).count == 2
    assert [one[0].id for one in library.match(pictures[[3, 59, 4]], k=1)] == [60, 61, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ids": [3, 61]}, "id 61"),
        ({"ids": [-1]}, "id -1"),
        ({"ids": ["3"]}, "integers"),
        ({"ids": [[1], [2, 3]]}, "integers"),
        ({}, "one of them"),
        ({"ids": [1], "where": "id = 1"}, "one of them"),
        ({"where": "lable = 'boot'"}, "lable.*did you mean label.*columns are label"),
        ({"where": "label = = 1"}, "columns are label"),
        ({"where": "year + 1"}, "a comparison is.*columns are label .*year"),
        ({"where": ""}, "where=''"),
    ],
)
def test_removals_that_are_not_allowed(library, arguments, words):
    library.add(draw(1, seed=2), metadata={"label": ["a"], "year": [1]})
    with pytest.raises(ParameterError, match=words) as caught:
        library.remove(**arguments)
    one_line(caught)
    assert len(Library.open(library.path)) == 61


def test_compacting_frees_what_was_removed_and_changes_nothing_else(library, pictures):
    library.add(draw(5, seed=1))
    library.remove(range(10, 60))
    query = draw(1, seed=2)[0]
    expected = library.match(query, k=20)
    old = Library.open(library.path)
    library.compact(keep=timedelta(days=1))
    assert old.match(query, k=20) == expected
    assert library.compact(keep=timedelta(0)) > 0
    assert library.match(query, k=20) == Library.open(library.path).match(query, k=20) == expected
    stored = b"".join(p.read_bytes() for p in library.path.rglob("*.lance") if p.is_file())
    assert pictures[9].tobytes() in stored
    assert pictures[10].tobytes() not in stored
    with pytest.raises(FormatError, match=r"removed since.*refresh") as caught:
        old.match(draw(1, seed=3)[0])[0].picture  # noqa: B018
    one_line(caught)
    assert old.refresh().match(query, k=20) == expected


def test_a_reader_is_told_to_refresh_while_the_library_is_replaced(library, tmp_path):
    """The files of the old table go one by one."""
    old = Library.open(library.path)
    old.model  # noqa: B018
    table = library.path / "table.lance"
    shutil.copytree(table, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "data")
    new = Library.build(library.path, draw(40, seed=5), model=library.model, overwrite=True)[0]
    assert not table.exists()
    shutil.move(tmp_path / "half", table)
    with pytest.raises(FormatError, match=r"removed since.*refresh") as caught:
        old.match(draw(1, seed=3)[0])[0].picture  # noqa: B018
    one_line(caught)
    assert len(old.refresh()) == len(new) == 40


def test_a_reader_is_told_to_refresh_when_the_library_was_removed_and_built_again(library):
    """The new table has the old one's name and version."""
    old, model = Library.open(library.path), library.model
    facts = json.loads((library.path / "library.json").read_text())
    shutil.rmtree(library.path)
    Library.build(library.path, draw(40, seed=5), model=model)
    now = json.loads((library.path / "library.json").read_text())
    assert (now["table"], now["version"]) == (facts["table"], facts["version"])
    with pytest.raises(FormatError, match=r"removed since.*refresh") as caught:
        old.count("id > 2")
    one_line(caught)
    assert old.refresh().count("id >= 0") == 40


@pytest.mark.parametrize("damage", ["no table", "another table", "no manifest", "no data"])
def test_a_reader_is_told_of_damage_while_its_version_is_published(library, damage):
    """Refreshing would not help."""
    old, table = Library.open(library.path), library.path / "table.lance"
    if damage == "no table":
        shutil.rmtree(table)
    elif damage == "another table":  # which a writer had begun
        table.rename(library.path / "table-1.lance")
    else:
        shutil.rmtree(table / "data")
    if damage == "no manifest":
        for file in (table / "_versions").iterdir():
            file.unlink()
    with pytest.raises(FormatError, match="missing or damaged") as caught:
        old.count("id > 2")
    one_line(caught)
    assert ("--repair" in str(caught.value)) == table.exists()


def test_a_reader_sees_all_of_an_addition_when_it_refreshes(library):
    reader = Library.open(library.path)
    X = draw(5000, seed=4)
    seen = []
    library.add(X, progress=lambda *_: seen.append(len(reader.refresh())))
    assert set(seen) == {60}
    assert len(reader) == 60
    assert len(reader.refresh()) == 5060
    assert reader.match(X[4999], k=1)[0].id == 5059


def metadata_of(library, *ids):
    """What is said of pictures, by way of a filter that Lance reads itself."""
    contents = json.loads((library.path / "library.json").read_text())
    table = lance.dataset(str(library.path / contents["table"]), version=contents["version"])
    own = {"id", "hash", "path", "added", "picture", "reference", "thumbnail", "code"}
    rows = {row.pop("id"): row for row in table.to_table().to_pylist()}
    return [{name: rows[i][name] for name in rows[i] if name not in own} for i in ids]


def test_columns_are_updated_where_they_are(library, pictures):
    library.add(draw(40, seed=1), metadata={"year": range(40), "label": ["a"] * 40})
    library.remove([60, 62])
    reader = Library.open(library.path)
    before = library.match(pictures, k=3)
    assert library.update([99, 3, 61], {"year": [1, None, 2], "price": [0.5, 1, 2]}) == 3
    assert library.update("year > 37", {"label": "late", "year": None}) == 1
    assert library.update("label = 'a' AND id < 65", pa.table({"price": [1.0, 2.0, 3.0]})) == 3
    assert library.update(np.array([4]), pd.DataFrame({"label": ["b"]})) == 1
    assert metadata_of(library, 99, 3, 61, 98, 63, 64, 4, 5, 65) == [
        {"year": 1, "label": "a", "price": 0.5},
        {"year": None, "label": None, "price": 1.0},
        {"year": 2, "label": "a", "price": 1.0},
        {"year": None, "label": "late", "price": None},
        {"year": 3, "label": "a", "price": 2.0},
        {"year": 4, "label": "a", "price": 3.0},
        {"year": None, "label": "b", "price": None},
        {"year": None, "label": None, "price": None},
        {"year": 5, "label": "a", "price": None},
    ]
    after = library.match(pictures, k=3)
    assert [[m.id for m in found] for found in after] == [[m.id for m in found] for found in before]
    assert reader.count("year = 38") == 1
    assert reader.refresh().count("year = 38") == 0
    library.compact(keep=timedelta(0))
    assert library.count("price > 0") == 5
    assert len(library) == 98
    assert library.add(draw(40, seed=1)).count == 2


def test_an_update_of_nothing_changes_nothing(library):
    before = contents_of(library.path)
    assert library.update([], {"label": []}) == library.update("id < 0", {"label": "a"}) == 0
    assert library.update([3], {"label": None}) == 1
    assert contents_of(library.path) == before


@pytest.mark.parametrize(
    ("which", "metadata", "error", "words"),
    [
        ([3, 61], {"year": 1}, ParameterError, "id 61"),
        ([3, 4, 3], {"year": 1}, ParameterError, "id 3 is given more than once"),
        ([3], {"year": [1, 2]}, ParameterError, "2 rows for 1 pictures"),
        ("id < 9", {"year": [1, 2]}, ParameterError, "2 rows for 9 pictures"),
        ("lable = 1", {"year": 1}, ParameterError, "lable.*columns are year"),
        ([3], {"code": 1}, ParameterError, "'code'.*rename"),
        ([3], {"year": "new"}, DataError, "'year' holds string.*int64"),
        ([3], {"tags": [[1]]}, DataError, "'tags' holds list"),
        ([3], 7, ParameterError, "int"),
        (7, {"year": 1}, ParameterError, "list of integers"),
    ],
)
def test_updates_that_are_not_allowed(library, which, metadata, error, words):
    library.add(draw(1, seed=2), metadata={"year": [2000]})
    library.remove([60])
    before = contents_of(library.path)
    with pytest.raises(error, match=words) as caught:
        library.update(which, metadata)
    one_line(caught)
    assert contents_of(library.path) == before
