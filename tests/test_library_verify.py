"""A library that something else has damaged: what verifying finds, and what repairing rescues.

The seed of everything random here is 0.
"""

import hashlib
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from libraries import contents_of, draw, fit, one_line, say
from PIL import Image

from narrows import Autoencoder, Library
from narrows.data.depths import encode_png
from narrows.errors import DataError, FormatError, LibraryError


def table_of(library):
    contents = json.loads((library.path / "library.json").read_text())
    path = str(library.path / contents["table"])
    return lance.dataset(path, version=contents["version"])


def rows_of(library):
    rows = table_of(library).to_table().to_pylist()
    return {row.pop("id"): row for row in rows}


def publish(library):
    """Let readers see what something else has done to the table."""
    table = json.loads((library.path / "library.json").read_text())["table"]
    say(library.path, version=lance.dataset(str(library.path / table)).version)


def change(library, number, **values):
    """Change a row behind the library's back."""
    dataset = table_of(library)
    row = dataset.to_table(filter=f"id = {number}")
    for name, value in values.items():
        field = row.schema.field(name)
        row = row.set_column(row.column_names.index(name), field, pa.array([value], field.type))
    dataset.delete(f"id = {number}")
    lance.write_dataset(row, dataset.uri, mode="append")
    publish(library)


def data_file(library, fragment, column="picture"):
    """Find the file that holds a column of some rows."""
    dataset = table_of(library)
    index = dataset.schema.names.index(column)
    files = dataset.get_fragments()[fragment].data_files()
    name = next(file.path for file in files if index in file.fields)
    return Path(dataset.uri.removeprefix("file://"), "data", name)


@pytest.fixture
def several(library):
    """The library's 60 pictures, 50 with columns of their own, and 40 more; a file for each."""
    library.add(draw(50, seed=1), metadata={"year": range(50)})
    library.add(draw(40, seed=2))
    return library


def test_an_unharmed_library_verifies(several, photos, tmp_path, model):
    seen = []
    found = several.verify(progress=lambda done, total: seen.append((done, total)))
    assert (found.rows, found.problems, found.repaired, found.ok) == (150, [], False, True)
    assert seen[-1] == (150, 150)
    before = contents_of(several.path)
    assert several.verify(repair=True) == found
    assert contents_of(several.path) == before
    files, _ = Library.build(tmp_path / "files.lance", photos, model=model)
    assert files.verify().ok
    assert Library.create(tmp_path / "empty.lance", model=model).verify().ok


def test_what_is_wrong_with_a_row_is_said_and_repaired(several, pictures):
    rows = rows_of(several)
    code = rows[7]["code"]
    change(several, 7, code=[number + 0.01 for number in code])
    change(several, 8, code=[float("nan")] * 4)
    change(several, 70, picture=rows[71]["picture"])
    change(several, 90, picture=b"no picture")
    change(several, 91, picture=b"no picture", hash=hashlib.sha256(b"no picture").hexdigest())
    change(several, 30, id=31)
    change(several, 40, id=4000)
    reader = Library.open(several.path)
    found = several.verify()
    said = [(p.id, p.path, p.what.split(":")[0], p.repair) for p in found.problems]
    assert said == [
        (7, "7", "its code is not what the model gives", "correct"),
        (8, "8", "its code is not what the model gives", "correct"),
        (70, "70", "its picture is not the one that was added (another SHA-256)", "remove"),
        (90, "90", "its picture is not the one that was added (another SHA-256)", "remove"),
        (91, "91", "its picture is unharmed, and cannot be decoded", "keep"),
        (31, "30", "its id is another picture's too", "correct"),
        (4000, "40", "its id was never given", "correct"),
    ]
    assert (found.rows, found.repaired, found.ok) == (150, False, False)
    repaired = several.verify(repair=True)
    assert (repaired.problems, repaired.repaired, repaired.ok) == (found.problems, True, False)
    assert [p.id for p in several.verify().problems] == [91]
    after = rows_of(several)
    assert set(after) == set(rows) - {30, 40, 70, 90} | {150, 151}
    np.testing.assert_allclose(after[7]["code"], code, rtol=1e-4, atol=1e-5)
    for number in set(rows) - {7, 8, 30, 40, 70, 90, 91}:
        same = {name: value for name, value in rows[number].items() if name != "code"}
        assert {name: after[number][name] for name in same} == same
    assert [after[number]["path"] for number in (150, 151)] == ["30", "40"]
    assert several.remove([91]) == 1
    assert several.verify().ok
    assert several.add(draw(3, seed=9)).count == 3
    assert max(rows_of(several)) == 154
    assert len(reader.refresh()) == 150


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    """Spoil the part at the file's end that says where everything is."""
    with path.open("r+b") as file:
        file.seek(-60, os.SEEK_END)
        file.write(bytes(40))


def remove(path):
    path.unlink()


def test_thumbnails_are_made_again(tmp_path, model, photos):
    """Of files that are referred to, of large ones that are stored, and of large arrays."""
    for number in range(3):
        Image.fromarray(draw(1, number)[0]).resize((200, 150)).save(photos / f"large {number}.jpg")
    library, _ = Library.build(tmp_path / "stored.lance", photos, model=model)
    other, _ = Library.build(tmp_path / "references.lance", photos, model=model, store="references")
    X = np.random.default_rng(0).random((8, 150, 200), dtype=np.float32)
    large = Autoencoder(2, hidden_layer_sizes=(4,), max_epochs=1, random_state=0).fit(X)
    arrays, _ = Library.build(tmp_path / "arrays.lance", X, model=large)
    for one, number in ((library, 21), (other, 3), (arrays, 5)):
        rows = rows_of(one)
        change(one, number, thumbnail=rows[number]["thumbnail"][:30])
        assert [(p.id, p.what, p.repair) for p in one.verify().problems] == [
            (number, "its thumbnail cannot be read", "correct")
        ]
        assert one.verify(repair=True).ok
        assert one.verify().problems == []
        repaired = rows_of(one)
        assert repaired.keys() == rows.keys()
        assert all(repaired[n]["thumbnail"] == row["thumbnail"] for n, row in rows.items())
        assert all(repaired[n]["hash"] == row["hash"] for n, row in rows.items())
    change(other, 3, thumbnail=b"")
    (photos / "03.png").unlink()
    found = other.verify(repair=True)
    assert [(p.id, p.repair) for p in found.problems] == [(3, "keep"), (3, "correct")]
    assert rows_of(other)[3]["thumbnail"] is None
    assert [p.repair for p in other.verify().problems] == ["keep"]


@pytest.mark.parametrize("damage", [truncate, flip, remove])
def test_a_file_of_rows_that_is_lost_costs_only_its_rows(several, damage, pictures):
    several.update([109, 149], {"label": ["a", "b"]})
    rows = rows_of(several)
    damage(data_file(several, 1))
    opened = Library.open(several.path)
    with pytest.raises(FormatError, match=r"damaged.*narrows verify --repair") as caught:
        opened.match(pictures[0])
    one_line(caught)
    found = opened.verify()
    assert found.rows == 150
    assert len(found.problems) == 50
    assert {p.repair for p in found.problems} == {"remove"}
    for row, problem in enumerate(found.problems, 60):
        assert (problem.id, problem.path) == (None, None)
        assert problem.what.startswith(f"row {row} of the table: its id and its hash and ")
    with pytest.raises(FormatError, match=r"row 60 .*narrows verify --repair") as caught:
        opened.reencode(fit(draw(60), seed=1))
    one_line(caught)
    assert opened.verify(repair=True).ok
    assert opened.verify().problems == []
    left = {number: row for number, row in rows.items() if not 60 <= number < 110}
    assert rows_of(opened) == left
    assert opened.match(pictures[7], k=1)[0].id == 7
    assert opened.add(draw(50, seed=1)).count == 50
    assert opened.compact(keep=timedelta(0)) > 0
    assert rows_of(Library.open(several.path)).keys() == left.keys() | set(range(150, 200))


@pytest.mark.parametrize("damage", [truncate, flip, remove])
def test_a_lost_list_of_removed_rows_costs_no_row_that_is_there(several, damage):
    """Removed rows come back and are told of; of a picture that was added again the later row."""
    several.update([61, 80, 105], {"label": ["a", "b", "c"]})
    before = rows_of(several)
    several.remove([3, 61, 70])
    assert several.add(draw(50, seed=1)[10:11]).count == 1
    rows = rows_of(several)
    assert set(rows) == set(range(151)) - {3, 61, 70}
    for place in several.path.glob("table*/_deletions/*"):
        if place.name.startswith("1-"):
            damage(place)
    opened = Library.open(several.path)
    found = opened.verify()
    assert (found.rows, found.ok) == (150, False)
    assert [(p.id, p.path, p.repair) for p in found.problems] == [(None, None, "correct")]
    assert found.problems[0].what == (
        "the file that says which 2 of rows 59 to 108 of the table were removed is lost; those "
        "come back, but for pictures that were added again"
    )
    with pytest.raises(FormatError, match=r"narrows verify --repair") as caught:
        opened.reencode(fit(draw(60), seed=1))
    one_line(caught)
    assert opened.verify(repair=True).ok
    after = rows_of(opened)
    for number, row in (rows | {61: before[61]}).items():
        np.testing.assert_allclose(after[number].pop("code"), row.pop("code"), rtol=1e-4, atol=1e-5)
        assert after.pop(number) == row
    assert not after
    assert opened.verify().problems == []
    assert opened.add(draw(50, seed=1)).present == 50


def test_lost_rows_and_a_lost_list_of_removed_ones(several):
    """The rows of the data's file are lost, and nothing else."""
    several.remove([61, 109])
    truncate(data_file(several, 1))
    for place in several.path.glob("table*/_deletions/*"):
        place.unlink()
    assert several.verify(repair=True).ok
    assert several.verify().problems == []
    assert set(rows_of(several)) == set(range(60)) | set(range(110, 150))


def test_a_file_of_a_user_s_column_that_is_lost_costs_only_the_column(several):
    several.update(range(60, 110), {"label": "a"})
    rows = rows_of(several)
    place = data_file(several, 1, "label")
    assert place != data_file(several, 1)
    truncate(place)
    found = several.verify()
    assert {p.what for p in found.problems} == {"its label cannot be read"}
    assert [p.id for p in found.problems] == list(range(60, 110))
    assert several.verify(repair=True).ok
    expected = {
        number: row | {"label": None if 60 <= number < 110 else row["label"]}
        for number, row in rows.items()
    }
    assert rows_of(several) == expected


def test_flipped_bits_without_checksums_are_harmless_found_or_repaired(library):
    """Of the columns that Narrows can make again: no bit changes a picture or a code unseen."""
    X = np.random.default_rng(1).integers(0, 256, (200, 6, 5), np.uint8)
    library.add(X)
    rows = rows_of(library)
    say(library.path)
    whole = contents_of(library.path)
    place = data_file(library, 1)
    size = place.stat().st_size
    generator = np.random.default_rng(0)
    outcomes = set()
    for trial in range(60):
        # Every other in the last part, where a bit costs the most.
        last = size if trial % 2 else 2000
        with place.open("r+b") as file:
            file.seek(size - 1 - int(generator.integers(last)))
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ (1 << int(generator.integers(8)))]))
        opened = Library.open(library.path)
        found = opened.verify(repair=True)
        assert found.ok
        assert opened.verify().problems == []
        outcomes.add(len(found.problems))
        after = rows_of(opened)
        for number in range(60):
            assert after[number] == rows[number]
        digests = {row["hash"]: row for row in rows.values()}
        for row in after.values():
            assert row["picture"] == digests[row["hash"]]["picture"]
            np.testing.assert_allclose(
                row["code"], digests[row["hash"]]["code"], rtol=1e-3, atol=1e-3
            )
        shutil.rmtree(library.path)
        for name, contents in whole.items():
            (library.path / name).parent.mkdir(parents=True, exist_ok=True)
            (library.path / name).write_bytes(contents)
    assert {0, 1, 200} <= outcomes


def test_files_that_are_referred_to_are_looked_at_and_never_forgotten(tmp_path, photos, model):
    path = tmp_path / "pictures.lance"
    library, _ = Library.build(path, photos, model=model, store="references")
    assert library.verify().ok
    (photos / "03.png").rename(tmp_path / "03.png")
    contents = (photos / "05.png").read_bytes()
    (photos / "05.png").write_bytes(contents + b" ")
    found = library.verify(repair=True)
    assert [(p.id, p.repair) for p in found.problems] == [(3, "keep"), (5, "keep")]
    assert "is not there any more" in found.problems[0].what
    assert "has changed" in found.problems[1].what
    assert (found.ok, found.repaired, len(library)) == (False, False, 30)
    other = fit(draw(60), seed=1)
    with pytest.raises(DataError, match=r"picture 3 .*nothing was changed") as caught:
        library.reencode(other)
    one_line(caught)
    (tmp_path / "03.png").rename(photos / "03.png")
    (photos / "05.png").write_bytes(contents)
    assert library.verify().ok
    assert library.reencode(other) == 30
    assert library.match(photos / "05.png", k=1)[0].id == 5


def test_a_table_that_cannot_be_opened_is_no_case_for_repair(several):
    for file in (several.path / "table.lance" / "_versions").iterdir():
        truncate(file)
    with pytest.raises(FormatError, match="restore it from a copy") as caught:
        several.verify(repair=True)
    one_line(caught)


def test_a_library_that_was_replaced_is_not_repaired(several, model):
    class Late(Library):
        """Somebody replaces the library between looking at it and taking the lock."""

        def refresh(self):
            super().refresh()
            Library.create(self.path, model=model, overwrite=True)
            return self

    with pytest.raises(LibraryError, match="replaced") as caught:
        Late.open(several.path).verify(repair=True)
    one_line(caught)


def test_the_command_says_what_becomes_of_files_that_are_gone(run, made, tmp_path):
    shutil.copytree(made / "photos", tmp_path / "photos")
    run("index", made / "model", tmp_path / "photos", "-o", "p.lance", "--reference")
    (tmp_path / "photos" / "left" / "01.png").unlink()
    done = run("verify", "p.lance", "--repair")
    assert done.code == 4
    assert (
        "kept as they are until their files are back, or an installation can decode them: 1 picture"
        in done.out
    )


def test_the_command_verifies_and_repairs(run, made, tmp_path):
    library = tmp_path / "pictures.lance"
    shutil.copytree(made / "pictures.lance", library)
    done = run("verify", library)
    assert (done.code, done.out) == (0, "40 rows, 0 problems\n")
    opened = Library.open(library)
    change(opened, 3, code=[9.0, 9.0, 9.0])
    change(opened, 5, picture=encode_png(draw(1)[0]))
    done = run("verify", library, "--json")
    assert done.code == 4
    assert (done.json["ok"], done.json["rows"], done.json["repaired"]) == (False, 40, False)
    assert [(p["id"], p["repair"]) for p in done.json["problems"]] == [
        (3, "correct"),
        (5, "remove"),
    ]
    done = run("verify", library)
    assert done.code == 4
    assert f"40 rows, 2 problems; repair them with: narrows verify {library} --repair" in done.out
    done = run("verify", library, "--repair")
    assert done.code == 0
    assert "2 problems; repaired: 1 row removed, 1 mended" in done.out
    assert run("verify", library).out == "39 rows, 0 problems\n"
    done = run("compact", library, "--keep", "0", "--json")
    assert done.code == 0
    assert done.json["bytes_freed"] > 0
    assert run("verify", library).code == 0
