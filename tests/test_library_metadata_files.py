"""Users' columns in a file: joined to pictures by name, told of, filtered by, on the command line.

The seed of everything random here is 0.
"""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from libraries import draw, fit, one_line

from narrows import Library
from narrows.data.depths import encode_png
from narrows.errors import DataError, MissingFileError, ParameterError, UnreadableFileError


@pytest.fixture(scope="module")
def small():
    return fit(draw(60))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five pictures, two of the same name; the tests stand beside their folder."""
    for number, name in enumerate(["a.png", "b.png", "left/c.png", "left/d.png", "right/d.png"]):
        place = tmp_path / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode_png(draw(6)[number]))
    monkeypatch.chdir(tmp_path)
    return Path("photos")


NAMES = ["a.png", "b.png", "left/c.png", "left/d.png", "right/d.png"]


def labels(names=NAMES, key="path"):
    """Rows in another order than the pictures', one for each name; each says which it is of."""
    order = [3, 0, 4, 1, 2] if len(names) == 5 else range(len(names))
    return pd.DataFrame(
        {
            "year": [2000 + number for number in order],
            key: [names[number] for number in order],
            "label": [f"label {number}" for number in order],
        }
    )


def known(library):
    """Each picture's metadata, by the end of its path."""
    return {
        match.path.removeprefix("photos/"): match.metadata
        for match in library.match(draw(1)[0], k=100)
    }


TRUTH = {name: {"year": 2000 + n, "label": f"label {n}"} for n, name in enumerate(NAMES)}


@pytest.mark.parametrize("key", ["path", "file", "file_name", "filename"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_rows_find_their_pictures(folder, small, key, suffix):
    file = Path(f"labels{suffix}")
    table = labels(key=key)
    if suffix == ".parquet":
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False, sep="," if suffix == ".csv" else "\t")
    library, _ = Library.build("p.lance", folder, model=small, metadata=file)
    assert known(library) == TRUTH
    assert library.columns == {"year": "int64", "label": "string"}


@pytest.mark.parametrize(
    "call",
    {
        "as given": lambda name: f"photos/{name}",
        "in full": lambda name: str(Path("photos", name).absolute()),
        "in the folder, oddly": lambda name: f"./{name}",
        "by name where that is enough": lambda n: Path(n).name if n.endswith("c.png") else n,
    }.items(),
    ids=lambda item: item[0],
)
def test_pictures_are_called_in_several_ways(folder, small, call):
    labels([call[1](name) for name in NAMES]).to_csv("labels.csv", index=False)
    library, _ = Library.build("p.lance", folder, model=small, metadata="labels.csv")
    assert known(library) == TRUTH


def test_a_list_of_files_and_what_is_added_later(folder, small):
    labels([f"photos/{name}" for name in NAMES[:2]]).to_csv("two.csv", index=False)
    labels().to_csv("all.csv", index=False)
    files = [folder / "b.png", folder / "a.png"]
    library, _ = Library.build("p.lance", files, model=small, metadata="two.csv")
    library.update("true", {"year": 1900})
    assert library.add(folder, metadata="all.csv").count == 3
    assert {name: row["year"] for name, row in known(library).items()} == {
        "a.png": 1900, "b.png": 1900, "left/c.png": 2002, "left/d.png": 2003, "right/d.png": 2004
    }  # fmt: skip


def test_pictures_that_are_left_out_take_their_rows_along(folder, small):
    (folder / "b.png").write_text("no picture")
    labels().to_csv("labels.csv", index=False)
    library, added = Library.build(
        "p.lance", folder, model=small, metadata="labels.csv", skip_unreadable=True
    )
    assert [path for path, _ in added.skipped] == ["photos/b.png"]
    assert known(library) == {name: row for name, row in TRUTH.items() if name != "b.png"}


def test_rows_of_data_have_theirs_in_order(tmp_path, small):
    np.save(tmp_path / "data.npy", draw(4))
    pd.DataFrame({"label": list("abcd")}).to_csv(tmp_path / "labels.csv", index=False)
    for X in (tmp_path / "data.npy", draw(4)):
        library, _ = Library.build(
            tmp_path / "p.lance", X, model=small, metadata=tmp_path / "labels.csv", overwrite=True
        )
        found = sorted(library.match(draw(1)[0], k=4), key=lambda match: match.id)
        assert [match.metadata["label"] for match in found] == list("abcd")
    with pytest.raises(ParameterError, match="4 rows for 3 pictures"):
        library.add(draw(3, seed=1), metadata=tmp_path / "labels.csv")


MORE = [*NAMES, "e.png"]
WRONG = {
    "a file without a row": (labels(NAMES[:4]), r"no row for 1 of the 5 .*'photos/right/d\.png'"),
    "a row without a file": (labels(MORE), r"row 5, counted from 0, .*'e\.png', which is none of"),
    "two rows": (labels([*NAMES, "photos/a.png"]), r"rows 0 and 5, .*both of 'photos/a\.png'"),
    "two files": (labels([*NAMES[:3], "d.png"]), r"'d\.png', as 'photos/left/d\.png' and 'p"),
    "no name": (labels([*NAMES, None]), r"row 5, .*names no file"),
    "no key": (labels(key="picture"), "columns year, picture, label, and none of path, file, f"),
    "nothing but names": (labels()[["path"]], r"columns \[\]; give at least one"),
    "a name taken": (labels().assign(hash="x"), "column 'hash'.*rename it"),
}


@pytest.mark.parametrize("what", WRONG)
def test_tables_that_do_not_belong_to_the_pictures(folder, small, what):
    table, words = WRONG[what]
    table.to_csv("labels.csv", index=False)
    with pytest.raises((DataError, ParameterError), match=words) as caught:
        Library.build("p.lance", folder, model=small, metadata="labels.csv")
    one_line(caught)
    assert not Path("p.lance").exists()


def test_files_that_are_no_tables(folder, small):
    Path("broken.parquet").write_text("no table")
    for name, error in {
        "none.csv": MissingFileError,
        "broken.parquet": UnreadableFileError,
        "photos": ParameterError,
    }.items():
        with pytest.raises(error, match=name) as caught:
            Library.build("p.lance", folder, model=small, metadata=name)
        one_line(caught)


def test_pictures_are_read_by_their_ids(library, pictures):
    assert library.read([]).shape == (0, *pictures.shape[1:])
    np.testing.assert_array_equal(library.read([7, 3, 7]), pictures[[7, 3, 7]])
    with pytest.raises(ParameterError, match="no picture of id 60"):
        library.read([60])


@pytest.fixture
def indexed(run, folder, small):
    """The same, by the command; returns what runs `narrows match` on it."""
    small.save("model")
    labels().assign(day=date(2020, 1, 2)).to_csv("labels.csv", index=False)
    done = run("index", "model", "photos", "-o", "p.lance", "--metadata", "labels.csv", "--json")
    assert done.json["rows"] == 5
    return lambda *arguments: run("match", "p.lance", *arguments)


def test_the_command_shows_and_filters_one_s_own_columns(indexed, folder):
    answered = indexed("photos/b.png", "--where", "year > 2001", "--json").json
    expected = Library.open("p.lance").match(folder / "b.png", where="year > 2001")
    said = answered["queries"][0]["matches"]
    assert [match["id"] for match in said] == [match.id for match in expected]
    assert len(said) == 3
    for match in said:
        name = match["path"].removeprefix("photos/")
        assert match["metadata"] == {**TRUTH[name], "day": "2020-01-02"}
    lines = indexed("photos/b.png", "-k", "1").out.splitlines()
    assert lines[0].split() == ["distance", "id", "path", "year", "label", "day"]
    assert lines[1].split()[1:] == ["1", "photos/b.png", "2001", "label", "1", "2020-01-02"]


def test_the_command_matches_by_id(indexed):
    library = Library.open("p.lance")
    options = ["--rerank", "pixels", "--rerank-on", "decoded", "--n-candidates", "3", "-k", "2"]
    answered = indexed("--id", "3", "--id", "0", *options, "--json", "--save", "s.png").json
    expected = library.match(ids=[3, 0], k=2, rerank="pixels", rerank_on="decoded", n_candidates=3)
    assert [query["query"] for query in answered["queries"]] == ["id 3", "id 0"]
    for query, matches in zip(answered["queries"], expected, strict=True):
        assert [match["id"] for match in query["matches"]] == [match.id for match in matches]
        assert [m["distance"] for m in query["matches"]] == [m.distance for m in matches]
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_matches_codes(run, indexed):
    assert run("encode", "model", "photos", "-o", "codes.npz").code == 0
    answered = indexed("--codes", "codes.npz", "-k", "1", "--save", "s.png", "--json").json
    queries = answered["queries"]
    assert [query["query"] for query in queries] == NAMES
    assert [query["matches"][0]["path"] for query in queries] == [f"photos/{n}" for n in NAMES]
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_finds_nothing_where_no_picture_passes(indexed):
    found = indexed("--id", "3", "--where", "year > 3000")
    assert (found.code, found.err) == (0, "the filter lets no picture through\n")
    answered = indexed("--id", "3", "--where", "year > 3000", "--json")
    assert answered.json["queries"] == [{"query": "id 3", "matches": []}]


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, [], "give QUERY, --id or --codes, one of them"),
        (2, ["photos/a.png", "--id", "3"], "give QUERY, --id or --codes, one of them"),
        (2, ["--codes", "labels.csv", "--id", "3"], "give QUERY, --id or --codes, one of them"),
        (3, ["--codes", "labels.csv"], "labels.csv"),
        (3, ["--codes", "wide.npy"], "codes of shape (3, 7) were given, and this library's have 4"),
        (2, ["--id", "5"], "no picture of id 5 in 'p.lance'"),
        (2, ["--id", "boot"], "'boot' is not a valid integer"),
        (
            2,
            ["--id", "3", "--where", "labl = 'boot'"],
            "did you mean label?; its columns are year (int64), label (string)",
        ),
        (2, ["--id", "3", "--rerank", "mse"], "'mse' is not one of"),
        (2, ["--id", "3", "--rerank-on", "decoded"], "give rerank='pixels' or 'ssim'"),
        (3, ["labels.csv"], "labels.csv"),
        (3, ["photos/none.png"], "none.png' does not exist"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(indexed, code, arguments, words):
    np.save("wide.npy", np.zeros((3, 7)))
    said = indexed(*arguments)
    assert said.code == code
    assert said.out == ""
    assert words in said.err.splitlines()[-1]


def test_the_command_lists_one_s_own_columns(run, indexed):
    said = run("info", "p.lance", "--json").json
    assert said["rows"] == 5
    assert said["columns"] == {"year": "int64", "label": "string", "day": "date32[day]"}
    plain = run("info", "p.lance").out
    assert "year int64, label string, day date32[day]" in plain
