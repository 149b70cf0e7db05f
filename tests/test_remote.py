"""Libraries in an object store, one that runs in this process: the same as on a disk.

The seed of everything random here is 0.
"""

import json
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from libraries import draw, fit, one_line

from narrows import Library
from narrows.errors import (
    FormatError,
    LibraryError,
    MissingFileError,
    OutputExistsError,
    StoreError,
    WrongModelError,
)
from narrows.remote import Remote, on_disk, place

pytest.importorskip("moto.server")
pytestmark = pytest.mark.filterwarnings("default")  # those of others

ADDRESS = "s3://bucket/pictures.lance"


@pytest.fixture
def by_environment(options, monkeypatch) -> None:
    """Let the environment lead there, as it does for the command line."""
    for name, value in options.items():
        monkeypatch.setenv(f"AWS_{name.removeprefix('aws_')}".upper(), value)


@pytest.fixture
def names(options):
    """Give what lists the objects below an address."""
    return lambda address: sorted(place(address, options).names())


def test_a_library_in_a_store_is_the_one_on_a_disk(tmp_path, model, photos, options) -> None:
    local, _ = Library.build(tmp_path / "local", photos, model=model, metadata={"n": range(30)})
    library, added = Library.build(
        ADDRESS, photos, model=model, metadata={"n": range(30)}, storage_options=options
    )
    assert (added.count, len(library), str(library.path)) == (30, 30, ADDRESS)
    again = Library.open(ADDRESS, model=model, storage_options=options)
    np.testing.assert_array_equal(again.codes, local.codes)
    np.testing.assert_array_equal(again.read(again.ids), local.read(local.ids))
    found, expected = (each.match(photos / "03.png", 4, where="n < 20") for each in (again, local))
    assert [vars(one) | {"_pictures": 0} for one in found] == [
        vars(one) | {"_pictures": 0} for one in expected
    ]
    assert found[0].picture.tobytes() == expected[0].picture.tobytes()
    assert found[0].thumbnail.tobytes() == expected[0].thumbnail.tobytes()
    assert again.verify().ok
    assert again.recall == {}
    assert again.model.fingerprint_ == model.fingerprint_


def test_the_command_line_takes_addresses(run, made, by_environment) -> None:
    told = run("index", made / "model", made / "photos", "-o", ADDRESS, "--json")
    assert told.json == {
        "output": ADDRESS,
        "added": 40,
        "present": 0,
        "rows": 40,
        "skipped": [],
        "warnings": [],
    }
    local, remote = (
        run("match", library, made / "photos/left/03.png", "--json").json
        for library in (made / "pictures.lance", ADDRESS)
    )
    assert remote == local
    assert run("verify", ADDRESS).code == 0
    assert run("info", ADDRESS, "--json").json["rows"] == 40
    twice = run("index", made / "model", made / "photos", "-o", ADDRESS)
    assert twice.code == 5
    assert f"'{ADDRESS}' exists already" in twice.err
    assert run("index", made / "model", made / "photos", "-o", ADDRESS, "--overwrite").code == 0
    more = run("index", made / "model", made / "photos", "-o", ADDRESS, "--add")
    assert more.code == 4
    assert "is in an object store" in more.err


def test_replacing_shows_the_new_one_at_once_and_removes_the_old(model, options, names) -> None:
    first, _ = Library.build(ADDRESS, draw(20), model=model, storage_options=options)
    other = fit(draw(60), seed=1)
    with pytest.raises(OutputExistsError, match="exists already"):
        Library.build(ADDRESS, draw(20), model=other, storage_options=options)
    Library.build(ADDRESS, draw(7), model=other, overwrite=True, storage_options=options)
    assert len({name.split("/")[0] for name in names(ADDRESS)}) == 3
    assert len(first.refresh()) == 7
    assert first.model.fingerprint_ == other.fingerprint_
    with pytest.raises(WrongModelError):
        Library.open(ADDRESS, model=model, storage_options=options)


def test_a_copy_in_a_store_has_the_checksums_of_its_original(
    tmp_path, model, options, names
) -> None:
    made, _ = Library.build(tmp_path / "own.lance", draw(20), model=model)
    folder = place(ADDRESS, options)
    folder.upload(made.path)
    copy = Library.open(ADDRESS, storage_options=options)
    found = copy.verify()
    assert (found.rows, found.problems, found.checked) == (20, [], True)
    (data,) = (made.path / "table.lance" / "data").iterdir()
    contents = bytearray(data.read_bytes())
    contents[100] ^= 4
    (folder / "table.lance" / "data" / data.name).write_bytes(bytes(contents))
    found = Library.open(ADDRESS, storage_options=options).verify()
    assert found.problems
    assert found.checked
    Library.build(ADDRESS, draw(7), model=model, overwrite=True, storage_options=options)
    assert not [name for name in names(ADDRESS) if name.startswith("checks-")]
    found = Library.open(ADDRESS, storage_options=options).verify()
    assert (found.rows, found.problems, found.checked) == (7, [], False)


def test_a_damaged_library_is_replaced(model, options) -> None:
    Library.build(ADDRESS, draw(5), model=model, storage_options=options)
    folder = place(ADDRESS, options)
    facts = json.loads((folder / "library.json").read_text("utf-8"))
    (folder / "library.json").write_bytes(json.dumps({**facts, "version": "none"}).encode())
    with pytest.raises(FormatError, match="build the library again"):
        Library.open(ADDRESS, storage_options=options)
    made, _ = Library.build(ADDRESS, draw(7), model=model, overwrite=True, storage_options=options)
    assert len(made) == 7


def test_what_is_wrong_in_a_store_is_not_repaired_there(run, made, by_environment) -> None:
    assert run("index", made / "model", made / "photos", "-o", ADDRESS).code == 0
    folder = place(ADDRESS)
    facts = json.loads((folder / "library.json").read_text("utf-8"))
    table = folder / facts["table"]
    data = next(name for name in table.names() if name.startswith("data/"))
    (table / data).write_bytes(b"junk")
    told = run("verify", ADDRESS)
    assert told.code == 4
    assert "build the library" in told.out + told.err
    assert "--repair" not in told.out + told.err
    assert "build the library again" in run("match", ADDRESS, made / "photos/left/03.png").err


def test_only_libraries_go_into_a_store(run, made) -> None:
    told = run("encode", made / "model", made / "photos", "-o", "s3://bucket/codes.npy")
    assert told.code == 5
    assert "object stores take libraries alone" in told.err
    told = run("encode", made / "model", "s3://bucket/photos", "-o", "codes.npy")
    assert "give a path on a disk" in told.err


def test_what_fails_on_the_way_leaves_nothing(model, options, names, tmp_path) -> None:
    Library.create(ADDRESS, model=model, storage_options=options)
    before = names(ADDRESS)
    spoiled = tmp_path / "spoiled.png"
    spoiled.write_bytes(b"no picture")
    for address in (ADDRESS, "s3://bucket/new.lance"):
        with pytest.raises(Exception, match="not a readable picture"):
            Library.build(address, [spoiled], model=model, overwrite=True, storage_options=options)
    assert names(ADDRESS) == before
    assert names("s3://bucket/new.lance") == []


def test_what_is_no_library_is_not_replaced(model, options) -> None:
    (place("s3://bucket/own", options) / "notes.txt").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="not a library"):
        Library.create("s3://bucket/own", model=model, overwrite=True, storage_options=options)
    with pytest.raises(FormatError, match=r"library\.json is missing"):
        Library.open("s3://bucket/own", storage_options=options)
    with pytest.raises(MissingFileError, match="there is no library 's3://bucket/none'"):
        Library.open("s3://bucket/none", storage_options=options)


@pytest.mark.parametrize("change", ["add", "remove", "update", "compact", "repair", "reencode"])
def test_a_library_in_a_store_is_not_changed(change, model, options, names) -> None:
    library, _ = Library.build(ADDRESS, draw(5), model=model, storage_options=options)
    before = names(ADDRESS)
    changes = {
        "add": lambda: library.add(draw(1)),
        "remove": lambda: library.remove([0]),
        "update": lambda: library.update([0], {"n": 1}),
        "compact": library.compact,
        "repair": lambda: library.verify(repair=True),
        "reencode": lambda: library.reencode(model),
    }
    with pytest.raises(LibraryError, match="is in an object store") as caught:
        changes[change]()
    assert one_line(caught).startswith(f"'{ADDRESS}'")
    assert names(ADDRESS) == before


def test_approximate_search_keeps_no_file(model, options, names) -> None:
    pytest.importorskip("faiss")
    library, _ = Library.build(ADDRESS, draw(60), model=model, storage_options=options)
    before = names(ADDRESS)
    assert library.match(ids=3, k=3, search="approximate") == library.match(ids=3, k=3)
    assert names(ADDRESS) == before


def test_a_missing_table_or_model_is_said(model, options) -> None:
    Library.build(ADDRESS, draw(5), model=model, storage_options=options)
    folder = place(ADDRESS, options)
    written = (folder / "library.json").read_bytes()
    facts = json.loads(written)
    opened = Library.open(ADDRESS, storage_options=options)
    (folder / facts["table"]).remove()
    with pytest.raises(FormatError, match="missing or damaged"):
        Library.open(ADDRESS, storage_options=options)
    with pytest.raises(FormatError, match="missing or damaged"):
        opened.count("id > 2")
    (folder / "table-0.lance/x").write_bytes(b"")
    with pytest.raises(FormatError, match="missing or damaged"):  # as readers are shown it still
        opened.count("id > 2")
    (folder / "library.json").write_bytes(json.dumps(facts | {"table": "table-0.lance"}).encode())
    with pytest.raises(FormatError, match="has been removed since"):
        opened.count("id > 2")
    (folder / "library.json").write_bytes(written)
    (folder / facts["model"]).remove()
    with pytest.raises(MissingFileError, match=f"nothing at '{ADDRESS}/model-"):
        opened.model  # noqa: B018


def mute() -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_library_that_was_copied_there(tmp_path, model, options) -> None:
    local, _ = Library.build(tmp_path / "local", draw(20), model=model)
    local.remove([3])
    folder = place(ADDRESS, options)
    folder.upload(tmp_path / "local")
    library = Library.open(ADDRESS, storage_options=options)
    assert library.ids.tolist() == local.ids.tolist()
    assert library.verify().ok
    (folder / "table.lance/_deletions").remove()
    with pytest.raises(FormatError, match="copy the library to a disk") as caught:
        Library.open(ADDRESS, storage_options=options).verify()
    one_line(caught)


@pytest.mark.parametrize(
    ("address", "changes", "words"),
    [
        (ADDRESS, {"aws_endpoint": "http://127.0.0.1:9"}, "nobody answers"),
        (ADDRESS, {"aws_endpoint": "mute", "timeout": "300ms"}, "nobody answers"),
        ("s3://other-bucket/library", {}, "there is no such bucket"),
        (ADDRESS, {"aws_access_key_id": None, "aws_secret_access_key": None}, "no credentials"),
    ],
    ids=["refused", "mute", "no bucket", "no credentials"],
)
def test_a_store_out_of_reach(address, changes, words, model, options) -> None:
    silent = mute()
    changes = {k: next(silent) if v == "mute" else v for k, v in changes.items()}
    options = {k: v for k, v in (options | changes).items() if v is not None}
    for attempt in (
        lambda: Library.open(address, storage_options=options),
        lambda: Library.create(address, model=model, storage_options=options),
    ):
        with pytest.raises(StoreError, match=words) as caught:
            attempt()
        assert one_line(caught).startswith(f"'{address}' is out of reach")


def test_no_right_to_read(options, monkeypatch) -> None:
    class Refusing:
        def download_file(self, *_: object) -> None:
            raise OSError("Server returned non-2xx status code: 403 Forbidden: AccessDenied")

    monkeypatch.setattr("narrows.remote._session", lambda *_: Refusing())
    with pytest.raises(StoreError, match="access is denied"):
        Library.open(ADDRESS, storage_options=options)


def test_what_nobody_has_foreseen_is_said_in_one_line(options, monkeypatch) -> None:
    class Odd:
        def download_file(self, *_: object) -> None:
            raise RuntimeError("something\nodd")

    monkeypatch.setattr("narrows.remote._session", lambda *_: Odd())
    with pytest.raises(StoreError, match="something odd; check the address") as caught:
        Library.open(ADDRESS, storage_options=options)
    one_line(caught)


def test_addresses() -> None:
    remote = place("s3://bucket/a/b/")
    assert isinstance(remote, Remote)
    assert (str(remote), remote.name, str(remote.parent)) == (
        "s3://bucket/a/b",
        "b",
        "s3://bucket/a",
    )
    assert place(remote) is remote
    assert not isinstance(place("s3"), Remote)
    assert "secret" not in repr(place("s3://bucket/a", {"aws_secret_access_key": "secret"}))


def test_a_copy_on_disk_stays_in_its_folder(options) -> None:
    folder = place("s3://bucket/model", options)
    (folder / "narrows.json").write_bytes(b"{}")
    with on_disk(folder) as copy:
        assert [path.name for path in copy.rglob("*")] == ["narrows.json"]
    assert not copy.exists()


def test_a_server_shows_it_and_what_replaces_it(
    model, options, by_environment, monkeypatch
) -> None:
    pytest.importorskip("starlette")
    from narrows.web.snapshot import SnapshotSource

    Library.build(ADDRESS, draw(5), model=model)
    source = SnapshotSource(place(ADDRESS))
    assert source.now().info()["library"]["count"] == 5
    Library.build(ADDRESS, draw(6), model=model, overwrite=True)
    monkeypatch.setattr("narrows.web.snapshot._SECONDS", 1e9)
    # A store takes its time: it is not asked for every request.
    assert len(source.now().require_library()) == 5
    monkeypatch.setattr("narrows.web.snapshot._SECONDS", 0)
    assert len(source.now().require_library()) == 6
