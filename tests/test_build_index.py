"""The index of approximate searches built ahead, by one or by several, on a disk and in a store.

The seed of everything random here is 0.
"""

import hashlib
import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pytest
from libraries import draw, fit, one_line, say
from safetensors.numpy import load, save

from narrows import Library
from narrows.errors import (
    FormatError,
    LibraryError,
    MissingDependencyError,
    MissingFileError,
    NarrowsWarning,
    OutputError,
    OutputExistsError,
    ParameterError,
)
from narrows.library import ApproximateIndex, Workers
from narrows.remote import place

pytest.importorskip("faiss")
METRICS = ["euclidean", "cosine"]
ADDRESS = "s3://bucket/pictures.lance"


class Backwards(Workers):
    """Three workers, of whom the first to begin is the last to end."""

    count = 3

    def map(self, function, parts, common, *_):
        parts = list(parts)
        for number in reversed(range(len(parts))):
            yield number, function(parts[number], *common)


class Nobody(Workers):
    """Nothing can be built."""

    def map(self, *_):
        raise AssertionError("it was built")


@pytest.fixture(scope="module")
def filled(tmp_path_factory, model) -> Path:
    """Of 2000 pictures, some of them alike; every 50th has been removed."""
    path = tmp_path_factory.mktemp("filled") / "library"
    library, _ = Library.build(path, draw(2000), model=model)
    library.remove(np.arange(7, 2000, 50))
    return path


@pytest.fixture
def large(tmp_path, filled):
    shutil.copytree(filled, tmp_path / "large")
    return Library.open(tmp_path / "large")


def files(library):
    return sorted(path.name for path in library.path.glob("*index*"))


def no_building(monkeypatch):
    def build(*_):
        raise AssertionError("it was built")

    monkeypatch.setattr("narrows.library.workers.Workers.map", build)


@pytest.mark.parametrize("metric", METRICS)
def test_several_make_the_index_that_one_makes(metric, large, tmp_path) -> None:
    recall = large.build_index(metric)
    file = large.path / f"index-{metric}.safetensors"
    alone = file.read_bytes()
    file.unlink()
    assert Library.open(large.path).build_index(metric, workers=Backwards()) == recall
    assert file.read_bytes() == alone
    ApproximateIndex(large.codes, metric).save(tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == alone


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_are_stored_in_another_order(metric, large) -> None:
    codes, ids = large.codes, large.ids
    large.build_index(metric)
    file = large.path / f"index-{metric}.safetensors"
    alone = file.read_bytes()
    file.unlink()
    table = lance.dataset(str(large.path / "table.lance"))
    rows = table.to_table()
    mixed = rows.take(np.random.default_rng(0).permutation(len(rows)))
    mixed = lance.write_dataset(mixed, table.uri, mode="overwrite")
    say(large.path, version=mixed.version)
    again = Library.open(large.path)
    np.testing.assert_array_equal(again.codes, codes)
    np.testing.assert_array_equal(again.ids, ids)
    again.build_index(metric, workers=Backwards())
    assert file.read_bytes() == alone


@pytest.mark.parametrize("workers", [None, Backwards()])
def test_the_recall_it_tells_is_what_searches_find(large, workers) -> None:
    """By brute force in double precision, for 300 pictures of the library."""
    told = large.build_index(workers=workers)
    codes, some = large.codes.astype(float), large.ids[::6][:300]
    rows = np.searchsorted(large.ids, some)
    distances = np.sqrt(((codes[rows][:, None] - codes) ** 2).sum(axis=2))
    distances[np.arange(len(rows)), rows] = np.inf
    for k in (10, 100):
        nearest = np.sort(distances, axis=1)[:, k - 1]
        found = large.match(ids=some, k=k, search="approximate")
        reached = [
            np.mean([match.distance <= bound * (1 + 1e-6) for match in matches])
            for matches, bound in zip(found, nearest, strict=True)
        ]
        assert told[k] >= 0.99
        assert np.mean(reached) >= 0.99
    assert large.recall == {"euclidean": told}


def test_what_is_there_is_built_again_only_for_other_codes(large, monkeypatch) -> None:
    recall = large.build_index()
    inode = (large.path / "index-euclidean.safetensors").stat().st_ino
    with monkeypatch.context() as patch:
        no_building(patch)
        assert Library.open(large.path).build_index() == recall
        assert Library.open(large.path).build_index(workers=Nobody()) == recall
        assert large.match(ids=3, k=1, search="approximate")
    other = Library.open(large.path)
    other.add(draw(20, seed=1))
    assert other.recall == {}
    large.build_index()  # which sees what is new
    assert (large.path / "index-euclidean.safetensors").stat().st_ino != inode
    assert other.recall == large.recall != {}


def as_of_format_1(file):
    """Make of an index file what older versions wrote."""
    values = load(file.read_bytes())
    names = ("owner", "centroids", "lists", "probes", "recalls")
    digest = hashlib.sha256(b"".join(values[name].tobytes() for name in names))
    kept = {name: values[name] for name in names}
    kept |= {"check": np.frombuffer(digest.digest(), np.uint8), "format": np.array([1], np.int32)}
    file.write_bytes(save(kept))


def test_an_index_of_an_older_version_is_measured_anew_and_kept(large) -> None:
    recall = large.build_index()
    file = large.path / "index-euclidean.safetensors"
    new = file.read_bytes()
    as_of_format_1(file)
    old = Library.open(large.path)
    assert old.recall == {"euclidean": recall}
    assert old.recall["euclidean"].disturbed == {}
    with pytest.warns(NarrowsWarning, match="older version"):
        assert old.match(ids=3, k=1, search="approximate")
    assert file.read_bytes() == new
    as_of_format_1(file)
    assert Library.open(large.path).build_index().disturbed == recall.disturbed
    assert file.read_bytes() == new


def test_a_replaced_library_never_meets_the_old_index(large, model) -> None:
    large.build_index()
    large.reencode(fit(draw(60), seed=1))
    assert large.recall == {}
    large.build_index()
    assert len(files(large)) == 2
    assert len(large.recall) == 1
    large.compact()
    assert len(files(large)) == len(large.recall) == 1
    Library.build(large.path, draw(50), model=model, overwrite=True)
    assert files(large) == []


@pytest.mark.parametrize("change", ["compact", "replace"])
def test_codes_that_are_removed_meanwhile(change, large, model) -> None:
    class Slow(Backwards):
        def map(self, function, parts, *arguments):
            parts = list(parts)
            if len(parts) > 1:
                if change == "compact":
                    other = Library.open(large.path)
                    other.remove([0])
                    other.compact(keep=timedelta(0))
                else:
                    Library.build(large.path, draw(20), model=model, overwrite=True)
            yield from super().map(function, parts, *arguments)

    with pytest.raises(FormatError, match="has been removed since") as caught:
        large.build_index(workers=Slow())
    one_line(caught)
    assert files(large) == []


def test_refuses(tmp_path, large, model, monkeypatch) -> None:
    with pytest.raises(ParameterError, match="metric='manhattan'"):
        large.build_index("manhattan")
    with pytest.raises(LibraryError, match="is empty"):
        Library.create(tmp_path / "empty", model=model).build_index()
    (large.path / "index-cosine.safetensors").mkdir()
    with pytest.raises(OutputExistsError, match="is a folder"):
        large.build_index("cosine", workers=Nobody())
    monkeypatch.setattr("narrows.atomic.may_write", lambda _: False)
    with pytest.raises(OutputError, match="no permission") as caught:
        large.build_index(workers=Nobody())
    one_line(caught)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"narrows\[faiss\]") as caught:
        large.build_index()
    one_line(caught)


def test_the_command_builds_it(run, made, monkeypatch) -> None:
    arguments = ["index", made / "model", made / "photos", "-o", "p.lance"]
    first = run(*arguments, "--approximate", "--json")
    names = ["approximate_recall", "approximate_recall_disturbed"]
    for name in names:
        assert first.json[name].keys() == {"euclidean@10", "euclidean@100"}
    assert "building the approximate index" in first.err
    info = run("info", "p.lance", "--json").json
    assert [info[name] for name in names] == [first.json[name] for name in names]
    with monkeypatch.context() as patch:
        no_building(patch)
        again = run(*arguments, "--add", "--approximate")
    line = "approximate search finds 100 % of the 10 nearest, for rows with noise 100 %"
    assert line in again.out
    assert "approximate_recall" not in run(*arguments, "--overwrite", "--json").json
    assert run("info", "p.lance", "--json").json.get("approximate_recall") is None


def test_where_the_index_fails_the_pictures_are_there(run, made, monkeypatch) -> None:
    def full(*_, **__):
        raise OutputError("the disk is full; make room")

    monkeypatch.setattr(Library, "build_index", full)
    told = run("index", made / "model", made / "photos", "-o", "p.lance", "--approximate")
    count = len(Library.open("p.lance"))
    assert (told.code, told.out) == (5, "")
    last = told.err.splitlines()[-1]
    assert f"{count} pictures added, {count} in p.lance, but there is no index: the disk" in last


def test_without_faiss_the_command_begins_nothing(run, made, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    told = run("index", "no-model", "no-photos", "-o", "p.lance", "--approximate")
    assert (told.code, told.out) == (7, "")
    assert "pip install 'narrows[faiss]'" in told.err
    assert len(told.err.splitlines()) == 1
    assert not Path("p.lance").exists()


@pytest.fixture
def stored(options, model):
    pytest.importorskip("moto.server")
    library, _ = Library.build(ADDRESS, draw(500), model=model, storage_options=options)
    return library


def names(options):
    return sorted(name for name in place(ADDRESS, options).names() if "index" in name)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("workers", [None, Backwards()])
def test_an_index_in_a_store_is_found_there_by_others(
    workers, stored, options, model, monkeypatch
) -> None:
    recall = stored.build_index(workers=workers)
    no_building(monkeypatch)
    again = Library.open(ADDRESS, storage_options=options)
    assert again.recall == {"euclidean": recall}
    monkeypatch.setattr("narrows.library.search._MANY", 100)
    for search in ("auto", "approximate"):
        again = Library.open(ADDRESS, storage_options=options)
        found = again.match(draw(20, seed=1), k=3, search=search)
        exact = again.match(draw(20, seed=1), k=3, search="exact")
        assert np.mean([a == b for a, b in zip(found, exact, strict=True)]) > 0.9
    assert again.build_index() == recall


@pytest.mark.filterwarnings("default")
def test_auto_builds_none_in_a_store(stored, options, monkeypatch) -> None:
    no_building(monkeypatch)
    monkeypatch.setattr("narrows.library.search._MANY", 100)
    exact = stored.match(ids=3, k=5, search="exact")
    assert stored.match(ids=3, k=5) == exact
    table = json.loads((stored.path / "library.json").read_text("utf-8"))["table"]
    name = table.replace("table", "index-euclidean").replace(".lance", ".safetensors")
    (stored.path / name).write_bytes(b"junk of a stranger's")
    assert len(names(options)) == 1
    again = Library.open(ADDRESS, storage_options=options)
    assert again.recall == {}
    assert again.match(ids=3, k=5) == exact


@pytest.mark.filterwarnings("default")
def test_an_index_by_itself_in_a_store(options) -> None:
    pytest.importorskip("moto.server")
    codes = np.random.default_rng(0).random((100, 4), np.float32)
    index, file = ApproximateIndex(codes), place("s3://bucket/index", options)
    with pytest.raises(MissingFileError, match="there is no index 's3://bucket/index'"):
        ApproximateIndex.load(file, codes)
    index.save(file)
    with pytest.raises(OutputExistsError, match="'s3://bucket/index' exists already"):
        index.save(file)
    index.save(file, overwrite=True)
    assert ApproximateIndex.load(file, codes).recall == index.recall
    with pytest.raises(FormatError, match=r"'s3://bucket/index' .* belongs to other codes"):
        ApproximateIndex.load(file, codes[::-1])
    file.write_bytes(bytes(2**20))
    with pytest.raises(FormatError, match="too large"):
        ApproximateIndex.load(file, codes)


@pytest.mark.filterwarnings("default")
def test_a_replaced_library_in_a_store_takes_its_index_along(stored, options, model) -> None:
    stored.build_index()
    stored.build_index("cosine")
    assert len(names(options)) == 2
    before = Library.open(ADDRESS, storage_options=options)
    made, _ = Library.build(
        ADDRESS, draw(500), model=model, overwrite=True, storage_options=options
    )
    assert names(options) == []
    assert made.recall == {}
    made.build_index()
    assert before.refresh().recall.keys() == {"euclidean"}
    # What a crash has left of indexes is in nobody's way.
    (place("s3://bucket/new.lance", options) / "index-cosine-0.safetensors").write_bytes(b"")
    Library.build("s3://bucket/new.lance", draw(20), model=model, storage_options=options)
