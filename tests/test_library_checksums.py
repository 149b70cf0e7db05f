"""Checksums of libraries: what damage they find, what they restore, and what maintains them.

The seed of everything random here is 0.
"""

import json
import shutil
from datetime import timedelta
from zlib import crc32

import lance
import numpy as np
import pytest
from libraries import contents_of, draw, fit, one_line, say

from narrows import Library
from narrows.errors import FormatError, NarrowsError
from narrows.library.checksums import flipped_bit

NO_TIME = timedelta(0)


@pytest.fixture
def several(library):
    """The library's 60 pictures, and 50 with names and columns of their own; some are removed."""
    names = [f"folder/picture {number}.png" for number in range(50)]
    metadata = {"label": [f"some label {n % 9}" for n in range(50)], "year": range(1900, 1950)}
    library.add(draw(50, seed=1), names=names, metadata=metadata)
    library.remove([3, 63])
    return library


def rows_of(library):
    facts = json.loads((library.path / "library.json").read_text())
    table = lance.dataset(str(library.path / facts["table"]), version=facts["version"])
    return {row["id"]: row for row in table.to_table().to_pylist()}


def files_of(library, *patterns):
    return [file for pattern in patterns for file in sorted(library.path.glob(pattern))]


def flip(file, place, bit):
    contents = bytearray(file.read_bytes())
    contents[place] ^= 1 << bit
    file.write_bytes(contents)


def spoil(library, before, after):
    """Write something else over what stands once in the data files that are read."""
    assert len(before) == len(after)
    table = json.loads((library.path / "library.json").read_text())["table"]
    fragments = lance.dataset(str(library.path / table)).get_fragments()
    names = [file.path for fragment in fragments for file in fragment.data_files()]
    files = [library.path / table / "data" / name for name in names]
    (file,) = (file for file in files if before in file.read_bytes())
    contents = file.read_bytes()
    assert contents.count(before) == 1
    file.write_bytes(contents.replace(before, after))


def verify(path):
    """Open and verify a library, unless that is refused."""
    try:
        opened = Library.open(path)
        return opened, opened.verify()
    except NarrowsError:
        return None, None


def problems_of(library):
    return [(one.id, one.what, one.repair) for one in Library.open(library.path).verify().problems]


def test_the_flipped_bit_is_found_by_the_checksum():
    random = np.random.default_rng(0)
    for size in (1, 2, 7, 1000):
        contents = random.bytes(size)
        for place in random.integers(0, size, 20).tolist():
            for bit in range(8):
                flipped = bytearray(contents)
                flipped[place] ^= 1 << bit
                assert flipped_bit(bytes(flipped), crc32(contents)) == (place, bit)
        assert flipped_bit(contents, crc32(contents)) is None
    two = bytearray(contents)
    two[5] ^= 1
    two[600] ^= 1
    assert flipped_bit(bytes(two), crc32(contents)) is None


def test_a_flipped_bit_anywhere_is_told_of_and_put_back(several):
    """Of every file that readers need, byte for byte; a library that opens is repaired."""
    whole = contents_of(several.path)
    facts = json.loads(whole["library.json"])
    listed = json.loads(whole[facts["checks"]])["files"]
    names = sorted(listed) * 2 + [facts["checks"]] * 2
    assert {name.split("/")[1] for name in listed if name.startswith("table")} == {
        "data",
        "_checks",
        "_deletions",
        "_versions",
    }
    random = np.random.default_rng(0)
    outcomes = []
    for name in names:
        file = several.path / name
        flip(file, int(random.integers(len(whole[name]))), int(random.integers(8)))
        opened, found = verify(several.path)
        if found is None:
            assert name.startswith(("model", "table.lance/_versions"))
            outcomes.append("refused")
            file.write_bytes(whole[name])
            continue
        assert found.problems, name
        assert {one.repair for one in found.problems} == {"correct"}
        assert opened.verify(repair=True).problems == found.problems
        assert contents_of(several.path) == whole, name
        outcomes.append("repaired")
    assert outcomes.count("repaired") > len(names) / 2


@pytest.mark.parametrize("place", range(0, 200, 37))
def test_a_flipped_bit_of_library_json_is_refused(several, place):
    """Also where a changed number would name another version."""
    file = several.path / "library.json"
    before = file.read_bytes()
    place += before.index(b'"fingerprint"')
    flip(file, place, place % 7)
    with pytest.raises(FormatError) as caught:
        Library.open(several.path)
    one_line(caught)
    version = json.loads(before)["version"]
    file.write_bytes(before.replace(b'"version": %d' % version, b'"version": 2'))
    assert version != 2
    with pytest.raises(FormatError, match="not those that were written") as caught:
        Library.open(several.path)
    one_line(caught)


def test_a_manifest_that_takes_lance_by_surprise_is_refused(several):
    """Lance panics at a type of columns that it does not know."""
    version = lance.dataset(str(several.path / "table.lance")).version
    file = several.path / "table.lance" / "_versions" / f"{2**64 - 1 - version}.manifest"
    flip(file, file.read_bytes().rindex(b"string") + 1, 4)
    with pytest.raises(FormatError, match="missing or damaged") as caught:
        Library.open(several.path)
    one_line(caught)


def test_the_row_and_the_column_of_a_flipped_bit_are_named(several):
    rows = rows_of(several)
    spoil(several, b"picture 7.png", b"picture 6.png")
    what = "its path is not what was written: a flipped bit, which repairing puts back"
    assert problems_of(several) == [(67, what, "correct")]
    assert several.verify(repair=True).ok
    assert rows_of(several) == rows


def test_values_that_are_spoiled_are_named_and_given_back_where_checksums_tell(several):
    """Two bits are too many for the file's checksum, and not for those of its values."""
    rows = rows_of(several)
    spoil(several, b"picture 7.png", b"picture 6.png")
    spoil(several, b"picture 17.png", b"picture 16.png")
    spoil(several, (1925).to_bytes(8, "little"), (1924).to_bytes(8, "little"))
    spoil(several, rows[90]["hash"].encode(), b"0" * 64)
    spoil(several, rows[61]["picture"][-20:], bytes(20))
    code = np.array(rows[95]["code"], np.float32)
    spoil(several, code.tobytes(), (code * np.float32(1.00001)).tobytes())
    known = "(another checksum); what it was is known"
    assert problems_of(several) == [
        (61, "its picture is not the one that was added (another SHA-256)", "remove"),
        (67, f"its path is not what was written {known}", "correct"),
        (77, f"its path is not what was written {known}", "correct"),
        (85, f"its year is not what was written {known}", "correct"),
        (90, f"its hash is not what was written {known}", "correct"),
        (95, "its code is not what was written (another checksum)", "correct"),
    ]
    assert several.verify(repair=True).ok
    assert several.verify().problems == []
    after = rows_of(several)
    assert after.keys() == rows.keys() - {61}
    for number, row in after.items():
        np.testing.assert_allclose(row.pop("code"), rows[number].pop("code"), rtol=1e-4, atol=1e-5)
        assert row == rows[number]


def test_values_that_are_lost_are_left_out_and_said_to_be(several):
    rows = rows_of(several)
    spoil(several, b"picture 7.png", b"############\n")
    spoil(several, (1925).to_bytes(8, "little"), bytes(8))
    spoil(several, (88).to_bytes(8, "little"), (10**6).to_bytes(8, "little"))
    said = [(number, what.split("; ")[-1]) for number, what, _ in problems_of(several)]
    assert said == [
        (67, "repairing gives it its id"),
        (85, "repairing leaves it empty"),
        (None, "repairing gives it a new one"),
    ]
    assert several.verify(repair=True).ok
    after = rows_of(several)
    assert (after[67]["path"], after[85]["year"]) == ("67", None)
    assert after.keys() == rows.keys() - {88} | {110}
    assert after[110]["path"] == rows[88]["path"]
    assert several.verify().problems == []


def test_damage_is_still_damage_after_other_changes(several):
    """Changes that write values anew give damaged ones no new checksums."""
    rows = rows_of(several)
    several.update(range(64, 110), {"label": "other"})
    spoil(several, b"picture 7.png", b"picture 6.png")
    spoil(several, b"picture 17.png", b"picture 16.png")
    several.update([70], {"year": 3})
    several.remove([80])
    several.add(draw(5, seed=2))
    assert [number for number, _, _ in problems_of(several)] == [67, 77]
    before = rows_of(several)
    for change in (several.compact, lambda: several.reencode(fit(draw(60), seed=1))):
        with pytest.raises(FormatError, match=r"damaged.*nothing was changed.*--repair") as caught:
            change()
        one_line(caught)
    assert rows_of(several.refresh()) == before
    assert several.verify(repair=True).ok
    several.compact(keep=NO_TIME)
    after = rows_of(several)
    assert [after[n]["path"] for n in (67, 77)] == [rows[n]["path"] for n in (67, 77)]
    assert (after[70]["year"], after[71]["label"], len(after)) == (3, "other", 112)
    assert several.verify().problems == []


def test_a_column_is_not_written_anew_while_its_other_rows_are_damaged(several):
    several.update(range(64, 110), {"label": [f"a label of {n:03}" for n in range(64, 110)]})
    spoil(several, b"a label of 077", b"a label of 988")
    with pytest.raises(FormatError, match=r"column 'label' .*damaged.*--repair") as caught:
        several.update([70], {"label": "b"})
    one_line(caught)
    assert [number for number, _, _ in problems_of(several)] == [77]
    several.update([77], {"label": "c"})
    assert several.verify(repair=True).ok
    several.update([70], {"label": "b"})
    labels = {number: row["label"] for number, row in rows_of(several).items() if number > 63}
    expected = {n: f"a label of {n:03}" for n in range(64, 110)} | {70: "b", 77: "c"}
    assert labels == expected
    assert several.verify().problems == []


def test_a_list_of_removed_rows_is_held_against_its_checksum(several):
    (file,) = files_of(several, "table*/_deletions/1-*")
    flip(file, file.stat().st_size // 2, 3)
    flip(file, file.stat().st_size // 2 + 1, 3)
    with pytest.raises(FormatError, match="is damaged") as caught:
        several.remove([70])
    one_line(caught)
    (problem,) = Library.open(several.path).verify().problems
    assert "1 of rows 59 to 108 of the table were removed is lost" in problem.what
    assert several.verify(repair=True).ok
    assert rows_of(several).keys() == set(range(110)) - {3}


@pytest.mark.parametrize("change", ["add", "update", "remove", "compact", "repair", "reencode"])
def test_libraries_without_checksums_have_them_after_the_next_change(several, change):
    say(several.path, adding="")
    for file in files_of(several, "checks-*"):
        file.unlink()
    shutil.rmtree(several.path / "table.lance" / "_checks")
    library = Library.open(several.path)
    found = library.verify()
    assert (found.checked, found.ok, found.problems) == (False, True, [])
    match change:
        case "add":
            library.add(draw(5, seed=2))
        case "update":
            library.update([70], {"year": 3})
        case "remove":
            library.remove([70])
        case "compact":
            library.compact()
        case "repair":
            assert library.verify(repair=True) == found
        case "reencode":
            library.reencode(fit(draw(60), seed=1))
    found = Library.open(several.path).verify()
    assert (found.checked, found.problems) == (True, [])
    spoil(library, b"picture 7.png", b"picture 6.png")
    assert [number for number, _, _ in problems_of(library)] == [67]


@pytest.mark.parametrize("damage", ["missing", "other", "outside"])
def test_a_list_of_checksums_that_is_lost_is_made_again(several, damage):
    (file,) = files_of(several, "checks-*")
    match damage:
        case "missing":
            file.unlink()
        case "other":
            file.write_bytes(b"{}")
        case "outside":
            facts = json.loads(file.read_text())
            facts["files"]["../outside"] = "0" * 72
            file.write_text(json.dumps(facts))
    found = several.verify()
    (problem,) = found.problems
    assert "list of checksums" in problem.what
    assert (problem.repair, found.checked) == ("correct", False)
    with pytest.raises(FormatError, match=r"list of checksums.*--repair") as caught:
        several.add(draw(3, seed=5))
    one_line(caught)
    assert several.verify(repair=True).ok
    assert several.verify().checked
    assert several.add(draw(3, seed=5)).count == 3


def test_a_reader_verifies_while_a_writer_replaces_the_checksums(several):
    reader = Library.open(several.path)
    several.add(draw(5, seed=2))
    found = reader.verify()
    assert (found.rows, found.problems, found.checked) == (113, [], True)
    for change in (several.compact, lambda: several.reencode(fit(draw(60), seed=1))):
        change()
        assert reader.verify().problems == []


def test_checksums_go_with_the_files_that_they_are_of(several):
    several.update([70], {"year": 3})
    several.compact(keep=NO_TIME)
    data = {file.stem for file in files_of(several, "table*/data/*")}
    assert {file.stem for file in files_of(several, "table*/_checks/*")} == data
    assert len(files_of(several, "checks-*")) == 1


def test_the_command_says_whether_there_were_checksums(run, made, tmp_path):
    library = tmp_path / "pictures.lance"
    shutil.copytree(made / "pictures.lance", library)
    assert run("verify", library, "--json").json["checked"] is True
    say(library)
    done = run("verify", library)
    assert done.code == 0
    assert "no checksums, so that a changed path, id or value of your own" in done.out
    assert f"narrows verify {library} --repair" in done.out
    assert run("verify", library, "--json").json["checked"] is False
    assert "they are recorded now" in run("verify", library, "--repair").out
    assert run("verify", library).out == "40 rows, 0 problems\n"
