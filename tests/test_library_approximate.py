"""Approximate search in libraries: its file, when it is made, and what matches then are."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from libraries import draw

from narrows import Library
from narrows.errors import FormatError, ParameterError

pytest.importorskip("faiss")

FILE = "index-euclidean.safetensors"


def ids(matches):
    return [match.id for match in matches]


@pytest.fixture
def large(tmp_path, model):
    """Of 2000 pictures, some of them alike."""
    library, _ = Library.build(
        tmp_path / "large.lance", draw(2000), model=model, metadata={"odd": np.arange(2000) % 2}
    )
    return library


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_matches_are_nearly_those_of_the_exact_search(large, metric):
    queries = draw(200, seed=1)
    exact = large.match(queries, k=10, metric=metric)
    found = large.match(queries, k=10, metric=metric, search="approximate")
    shared = [len({*ids(a)} & {*ids(b)}) for a, b in zip(exact, found, strict=True)]
    assert sum(shared) / 2000 > 0.97
    for one, other in zip(exact, found, strict=True):
        same = {match.id: match.distance for match in one}
        assert all(same[m.id] == pytest.approx(m.distance, rel=1e-6) for m in other if m.id in same)
    assert large.recall[metric][10] > 0.99


def test_few_codes_are_searched_exactly_unless_told(large):
    large.match(draw(1)[0])
    assert not (large.path / FILE).exists()
    assert large.recall == {}
    large.match(draw(1)[0], search="approximate")
    assert (large.path / FILE).exists()


def test_the_file_is_kept_while_codes_stay_and_made_again_when_they_change(large):
    large.match(draw(1)[0], search="approximate")
    file = large.path / FILE
    first = file.stat().st_ino
    large.update([3], {"note": ["new"]})
    large.compact()
    assert Library.open(large.path).match(ids=3, k=1, search="approximate")
    assert file.stat().st_ino == first

    new = draw(30, seed=2)
    large.add(new)
    assert large.recall == {}
    assert ids(large.match(new[7], k=1, search="approximate")) == [2007]
    assert file.stat().st_ino != first
    assert 10 in large.recall["euclidean"]

    large.remove([2007])
    assert 2007 not in ids(large.match(new[7], k=100, search="approximate"))


def test_readers_of_an_older_version_and_a_newer_one_do_not_mix_theirs_up(large):
    query = draw(1)[0]
    before = Library.open(large.path)
    large.remove([0])
    assert ids(large.match(query, k=1, search="approximate")) != [0]
    assert ids(before.match(query, k=1, search="approximate")) == [0]
    assert ids(Library.open(large.path).match(query, k=1, search="approximate")) != [0]


@pytest.mark.parametrize("damage", ["empty", "garbage", "foreign", "folder"])
def test_what_is_no_index_of_this_library_is_replaced(large, tmp_path, model, damage):
    file = large.path / FILE
    if damage == "foreign":
        other, _ = Library.build(tmp_path / "other.lance", draw(2000, seed=3), model=model)
        other.match(draw(1)[0], search="approximate")
        file.write_bytes((other.path / FILE).read_bytes())
    elif damage == "folder":
        (file / "mine").mkdir(parents=True)
    else:
        file.write_bytes(b"" if damage == "empty" else bytes(range(256)) * 40)
    queries = draw(50, seed=1)
    assert large.recall == {}
    found = Library.open(large.path).match(queries, k=1, search="approximate")
    exact = large.match(queries, k=1)
    assert np.mean([ids(a) == ids(b) for a, b in zip(found, exact, strict=True)]) > 0.9
    if damage == "folder":
        assert (file / "mine").is_dir()
    else:
        assert 10 in large.recall["euclidean"]


def test_a_link_in_place_of_the_index_is_refused_and_what_it_leads_to_is_left(large, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (large.path / FILE).symlink_to(tmp_path / "precious")
    with pytest.raises(FormatError, match="is a symbolic link"):
        Library.open(large.path)
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_readers_that_may_not_write_search_too(large):
    large.path.chmod(0o555)
    try:
        assert ids(large.match(draw(8)[7], k=1, search="approximate")) == [7]
        assert not (large.path / FILE).exists()
    finally:
        large.path.chmod(0o755)


def test_no_room_for_the_file_is_no_reason_not_to_search(large):
    """A limit on the size of files, as a full disk would."""
    script = """
        import resource, signal, sys
        import numpy as np
        from narrows import Library
        library = Library.open(sys.argv[1])
        code = library.match(ids=7, k=1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        print([match.id for match in library.match(ids=7, k=2, search="approximate")])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(large.path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("[")
    assert not [p.name for p in large.path.iterdir() if "index" in p.name]


def test_a_filter_makes_it_exact(large):
    queries = draw(20, seed=1)
    found = large.match(queries, k=15, where="odd = 1", search="approximate")
    assert found == large.match(queries, k=15, where="odd = 1", search="exact")
    assert not (large.path / FILE).exists()


def test_stored_pictures_are_looked_for_among_the_others(large):
    found = large.match(ids=[5, 6], k=8, search="approximate")
    assert [len(matches) for matches in found] == [8, 8]
    assert 5 not in ids(found[0])
    assert 6 not in ids(found[1])
    ordered = large.match(draw(1)[0], k=3, search="approximate", rerank="pixels")
    assert ordered[0].distance == 0


def test_refuses(large):
    with pytest.raises(ParameterError, match="search='fast' is not known; use one of auto") as told:
        large.match(draw(1)[0], search="fast")
    assert "\n" not in str(told.value)


def test_the_command_searches_as_told_and_info_tells_the_recall(large, tmp_path, run):
    query = ["match", str(large.path), "--id", "7", "-k", "2", "--json"]
    matches = run(*query, "--search", "approximate").json["queries"][0]["matches"]
    assert [match["id"] for match in matches] == ids(large.match(ids=7, k=2, search="approximate"))
    told = run("info", str(large.path), "--json").json["approximate_recall"]
    assert told.keys() == {"euclidean@10", "euclidean@100"}
    assert min(told.values()) > 0.99
    assert "euclidean@10" in run("info", str(large.path)).out
