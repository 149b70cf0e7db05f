"""Libraries and models from strangers: nothing outside their folders is read, sent or deleted.

The seed of everything random here is 0.
"""

import json
import os
import shutil
import socket
import threading
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from libraries import contents_of, draw, fit, one_line, say

from narrows import Library, load, pack
from narrows.data.depths import encode_png
from narrows.data.files import read
from narrows.errors import FormatError, NarrowsError, UnreadableFileError
from narrows.library.pictures import folders_of
from narrows.remote import named_bases, open_dataset
from narrows.storage import read_manifest

CHANGES = {
    "open": lambda path, _: Library.open(path),
    "create": lambda path, model: Library.create(path, model=model, overwrite=True),
    "build": lambda path, model: Library.build(path, draw(5), model=model, overwrite=True),
}
LATER = {
    "add": lambda library, _: library.add(draw(5, seed=1)),
    "remove": lambda library, _: library.remove([0]),
    "update": lambda library, _: library.update([0], {"year": 2000}),
    "compact": lambda library, _: library.compact(keep=timedelta(0)),
    "verify": lambda library, _: library.verify(),
    "repair": lambda library, _: library.verify(repair=True),
    "reencode": lambda library, model: library.reencode(model),
    "refresh": lambda library, _: library.refresh(),
    "build_index": lambda library, _: library.build_index(),
}


def link(path, elsewhere):
    """Replace a file or folder by a link to it at another place."""
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.fixture
def scattered(library):
    """A library that compacting has something to delete from."""
    library.add(draw(20, seed=2))
    library.remove(range(70, 75))
    return library


@pytest.mark.parametrize("name", ["table.lance", "table.lance/data", "table.lance/_versions"])
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_done_with_a_library_that_holds_a_link(tmp_path, scattered, model, name, change):
    link(scattered.path / name, tmp_path / "elsewhere")
    before = contents_of(tmp_path / "elsewhere")
    with pytest.raises(FormatError) as caught:
        CHANGES[change](scattered.path, model)
    message = one_line(caught)
    assert f"{name}' is a symbolic link" in message
    assert "cp -RL" in message
    assert len(message) <= 500
    assert contents_of(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("change", LATER)
def test_nothing_is_done_with_a_library_that_got_a_link_since(tmp_path, scattered, model, change):
    if change == "build_index":
        pytest.importorskip("faiss")
    link(scattered.path / "table.lance/data", tmp_path / "elsewhere")
    before = contents_of(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match=r"data' is a symbolic link"):
        LATER[change](scattered, model)
    assert contents_of(tmp_path / "elsewhere") == before


def test_stale_tables_that_are_links_are_left_alone(tmp_path, scattered):
    other = shutil.copytree(scattered.path / "table.lance", tmp_path / "theirs")
    (scattered.path / "table-0123abcd.lance").symlink_to(other)
    (scattered.path / "model-0123abcd").mkdir()
    (scattered.path / "model-0123abcd" / "deep").symlink_to(other)
    before = contents_of(other)
    with pytest.raises(FormatError, match="is a symbolic link"):
        scattered.compact()
    assert contents_of(other) == before


def test_the_folder_itself_may_be_a_link(tmp_path, library, pictures):
    (tmp_path / "mine").symlink_to(library.path)
    opened = Library.open(tmp_path / "mine")
    opened.add(draw(5, seed=1))
    opened.compact()
    assert len(Library.open(library.path)) == len(pictures) + 5
    (tmp_path / "a model").symlink_to(library.path / "model")
    assert load(tmp_path / "a model").n_components == 4


@pytest.mark.parametrize("change", [name for name in LATER if name != "build_index"])
def test_no_change_of_a_hard_linked_copy_changes_the_original(tmp_path, scattered, model, change):
    copied = shutil.copytree(scattered.path, tmp_path / "copy", copy_function=os.link)
    before = contents_of(scattered.path)
    LATER[change](Library.open(copied), model)
    assert contents_of(scattered.path) == before


def test_saving_over_a_hard_linked_model_changes_the_copy_alone(tmp_path, model):
    saved = model.save(tmp_path / "model")
    copied = shutil.copytree(saved, tmp_path / "copy", copy_function=os.link)
    before = contents_of(saved)
    fit(draw(60), seed=1).save(copied, overwrite=True)
    assert contents_of(saved) == before


@pytest.mark.parametrize("name", ["narrows.json", "encoder-*.safetensors", "history.csv"])
def test_models_that_hold_links_are_refused(tmp_path, model, name):
    saved = model.save(tmp_path / "model")
    (file,) = saved.glob(name)
    link(file, tmp_path / "elsewhere")
    for use in (load, read_manifest):
        with pytest.raises(FormatError, match="is a symbolic link"):
            use(saved)
    before = contents_of(tmp_path)
    with pytest.raises(FormatError, match="is a symbolic link"):
        model.save(saved, overwrite=True)
    assert contents_of(tmp_path) == before


def test_pipes_in_libraries_and_models_are_refused_and_not_waited_for(tmp_path, library, model):
    os.mkfifo(library.path / "table.lance" / "data" / "pipe")
    with pytest.raises(FormatError, match=r"pipe' is a pipe"):
        Library.open(library.path)
    saved = model.save(tmp_path / "model")
    (saved / "narrows.json").unlink()
    os.mkfifo(saved / "narrows.json")
    with pytest.raises(FormatError, match="it is a pipe, not a regular file"):
        load(saved)


@pytest.mark.parametrize("depth", [70, 900, 100_000])
def test_deep_json_is_refused(library, model, depth):
    for folder, name in ((library.path, "library.json"), (library.path / "model", "narrows.json")):
        facts = json.loads((folder / name).read_text())
        text = json.dumps(facts)[:-1] + ', "more": ' + "[" * depth + "]" * depth + "}"
        (folder / name).write_text(text)
    for use in (Library.open, lambda path: load(path / "model")):
        with pytest.raises(FormatError, match="nested") as caught:
            use(library.path)
        assert len(one_line(caught)) <= 500


def test_metadata_of_many_megabytes_are_not_read(library):
    for folder, name in ((library.path, "library.json"), (library.path / "model", "narrows.json")):
        os.truncate(folder / name, 2**40)
    for use in (Library.open, lambda path: load(path / "model")):
        with pytest.raises(FormatError, match="it is larger than"):
            use(library.path)


def test_weights_that_memory_does_not_hold_are_not_read(library):
    (weights,) = (library.path / "model").glob("encoder-*")
    os.truncate(weights, 2**42)
    with pytest.raises(FormatError, match="GB of memory"):
        load(library.path / "model")


def test_packing_does_not_go_on_in_a_folder_that_is_linked(tmp_path, photos):
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    (tmp_path / ".p.lance.packing").symlink_to(other)
    with pytest.raises(NarrowsError, match="is a symbolic link"):
        pack(photos, tmp_path / "p.lance")
    assert contents_of(other) == {"mine.txt": b"mine"}


@pytest.fixture
def store(monkeypatch):
    """An object store of the user's, which refuses everything and counts what is asked."""
    asked = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096))
                    connection.sendall(
                        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield asked
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def add_base(path, base):
    """Write a version of a table whose files are below another base path; return its number."""
    dataset = lance.dataset(str(path))
    rows, schema = dataset.to_table(), dataset.schema
    shutil.rmtree(path)
    bases = [lance.DatasetBasePath(base, name="theirs", is_dataset_root=True)]
    dataset = lance.write_dataset(rows, str(path), schema=schema, initial_bases=bases)
    (fragment,) = dataset.get_fragments()
    facts = fragment.metadata.to_json()
    for file in facts["files"]:
        file["base_id"] = 1
    moved = lance.FragmentMetadata.from_json(json.dumps(facts))
    step = lance.LanceOperation.Overwrite(schema, [moved])
    return lance.LanceDataset.commit(str(path), step, read_version=dataset.version).version


def test_a_library_whose_manifest_names_another_base_is_refused_unasked(library, store):
    version = add_base(library.path / "table.lance", "s3://theirs/folder")
    say(library.path, version=version)
    for use in (Library.open, lambda _: library.compact(), lambda _: library.verify()):
        with pytest.raises(FormatError, match="names another folder for its data") as caught:
            use(library.path)
        assert "s3://theirs/folder" in one_line(caught)
    assert not store


def test_a_version_with_another_base_beyond_what_readers_see_is_refused(library, store):
    """Writers look at the latest version; readers see an earlier one."""
    add_base(library.path / "table.lance", "s3://theirs/folder")
    for change in (lambda: library.add(draw(3, seed=5)), library.compact):
        with pytest.raises(FormatError, match="names another folder for its data"):
            change()
    assert not store


def test_data_whose_manifest_names_another_base_are_refused_unasked(tmp_path, store):
    path = tmp_path / "rows.lance"
    lance.write_dataset(pa.table({"a": [1.0, 2.0], "b": [1.0, 2.0]}), str(path))
    assert read(path).values.shape == (2, 2)
    add_base(path, "s3://theirs/folder")
    with pytest.raises(UnreadableFileError, match="names another folder for its data"):
        read(path)
    assert not store


def test_base_paths_are_read_from_manifests_as_lance_reads_them(tmp_path):
    names = ["s3://theirs/folder", f"file://{tmp_path}/a", f"file://{tmp_path}/\u00fc"]
    bases = [lance.DatasetBasePath(name, name=f"b{n}") for n, name in enumerate(names)]
    table = pa.table({"a": np.arange(10_000)})
    for number, own in enumerate((bases, bases[:1], None)):
        path = tmp_path / f"{number}.lance"
        lance.write_dataset(table, str(path), initial_bases=own, max_rows_per_file=100)
        dataset = lance.dataset(str(path))
        (manifest,) = (path / "_versions").glob("*.manifest")
        found = named_bases(manifest.read_bytes())
        if hasattr(dataset, "base_paths"):  # not in the oldest versions
            assert sorted(found) == sorted(base.path for base in dataset.base_paths().values())
        assert sorted(found) == sorted(names[: len(own or [])])
        for damaged in (b"", manifest.read_bytes()[:-1], manifest.read_bytes()[-16:]):
            with pytest.raises(ValueError, match="manifest"):
                named_bases(damaged)


@pytest.mark.parametrize("v2", [True, False])
def test_older_versions_of_lance_are_asked_by_the_manifest(tmp_path, monkeypatch, v2):
    monkeypatch.delattr(lance.LanceDataset, "base_paths", raising=False)
    path, table = tmp_path / "t.lance", pa.table({"a": [1]})
    lance.write_dataset(table, str(path), enable_v2_manifest_paths=v2)
    assert open_dataset(path).count_rows() == 1
    assert open_dataset(path, 1).version == 1
    other = tmp_path / "u.lance"
    bases = [lance.DatasetBasePath(f"file://{tmp_path}/a", name="b")]
    lance.write_dataset(table, str(other), enable_v2_manifest_paths=v2, initial_bases=bases)
    with pytest.raises(FormatError, match="names another folder for its data"):
        open_dataset(other)


@pytest.fixture
def referring(tmp_path, model, photos):
    return Library.build(tmp_path / "r.lance", photos, model=model, store="references")[0]


def refer(library, file, digest=None):
    """Have row 0 refer to another file, as a stranger's library may."""
    path = str(library.path / "table.lance")
    digest = sha256(file.read_bytes()).hexdigest() if digest is None else digest
    lance.dataset(path).update({"reference": f"'{file}'", "hash": f"'{digest}'"}, where="id = 0")
    say(library.path, version=lance.dataset(path).version)
    return Library.open(library.path)


def test_libraries_remember_the_folders_that_they_refer_to(tmp_path, model, photos, library):
    def told(path):
        return json.loads((path / "library.json").read_text())["folders"]

    assert told(library.path) == []
    referring, _ = Library.build(tmp_path / "r", photos, model=model, store="references")
    assert told(referring.path) == [str(photos.resolve())]
    other = tmp_path / "other"
    other.mkdir()
    (other / "new.png").write_bytes(encode_png(draw(1, seed=7)[0]))
    referring.add(iter([other / "new.png"]), store="references")
    both = sorted([str(photos.resolve()), str(other.resolve())])
    assert told(referring.path) == both
    for change in ("remove", "repair", "reencode", "compact"):
        (photos / "03.png").unlink(missing_ok=True)
        if change == "reencode":
            referring.remove([3])
        LATER[change](referring, model)
        assert told(referring.path) == both
    assert referring.read([30]).shape == (1, 6, 5)


def test_files_outside_the_folders_added_are_not_read(tmp_path, referring, photos):
    secret = tmp_path / "secret" / "mine.png"
    secret.parent.mkdir()
    secret.write_bytes((photos / "00.png").read_bytes())
    library = refer(referring, secret)
    with pytest.raises(UnreadableFileError, match="nothing of that folder was added") as caught:
        library.read([0])
    assert "--add --reference" in one_line(caught)
    # What the message names helps.
    library.add(secret.parent, store="references")
    assert library.read([0]).shape == (1, 6, 5)


def test_links_in_folders_added_do_not_lead_out_of_them(tmp_path, model, photos):
    real = tmp_path / "elsewhere" / "linked.png"
    real.parent.mkdir()
    real.write_bytes(encode_png(draw(1, seed=8)[0]))
    (photos / "linked.png").symlink_to(real)
    library, _ = Library.build(tmp_path / "r", photos, model=model, store="references")
    (last,) = library.find("path LIKE '%linked.png'").tolist()
    assert library.read([last]).shape == (1, 6, 5)  # it was given, and led there then
    moved = tmp_path / "secret"
    real.parent.rename(moved)
    (photos / "linked.png").unlink()
    (photos / "linked.png").symlink_to(moved / "linked.png")
    with pytest.raises(UnreadableFileError, match="nothing of that folder was added"):
        Library.open(library.path).read([last])
    (photos / "linked.png").unlink()
    (photos / "linked.png").symlink_to(photos / "linked.png")
    with pytest.raises(UnreadableFileError, match="Too many levels of symbolic links"):
        library.read([last])


def test_libraries_of_older_versions_read_what_is_in_the_folders_of_their_rows(
    tmp_path, referring, photos, model
):
    say(referring.path, folders=None)
    library = Library.open(referring.path)
    assert library.read(library.ids).shape == (30, 6, 5)
    assert library.verify().ok
    secret = tmp_path / "secret.png"
    (photos / "00.png").rename(secret)
    (photos / "00.png").symlink_to(secret)
    with pytest.raises(UnreadableFileError, match="nothing of that folder was added"):
        library.read([0])
    library.add(photos, store="references")
    assert library.read([0]).shape == (1, 6, 5)


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device", "huge", "array", "other"])
def test_references_to_what_is_no_picture_are_not_read(monkeypatch, referring, photos, kind):
    file, digest = photos / "00.png", "0" * 64
    file.unlink()
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "socket":
            monkeypatch.chdir(photos)  # a socket's name is short
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(file.name)
        case "device":
            file, digest = Path("/dev/zero"), "0" * 64
        case "huge":
            file.touch()
            os.truncate(file, 2**42)
        case "array":
            np.save(file.with_suffix(".npy"), draw(1)[0])
            file, digest = file.with_suffix(".npy"), None
        case "other":
            file.write_text("root:x:0:0:root")
            digest = None
    library = refer(referring, file, digest)
    with pytest.raises((UnreadableFileError, FormatError)) as caught:
        library.read([0])
    assert str(file) in one_line(caught) or kind == "other"
    assert len(str(caught.value)) <= 500
    (problem,) = library.verify().problems
    assert problem.id == 0
    if kind != "other":
        with pytest.raises(NarrowsError):
            library.sizes([0])


@pytest.mark.parametrize("name", ["passwd", "a\0b.png", "../passwd", "/proc/self/environ"])
def test_references_that_are_no_paths_of_files_are_not_read(referring, name):
    path = str(referring.path / "table.lance")
    dataset = lance.dataset(path)
    rows = dataset.to_table().to_pylist()
    rows[0]["reference"] = name
    table = pa.Table.from_pylist(rows, schema=dataset.schema)
    made = lance.write_dataset(table, path, mode="overwrite")
    say(referring.path, version=made.version, folders=["/"])
    library = Library.open(referring.path)
    with pytest.raises(UnreadableFileError):
        library.read([0])


def test_many_folders_are_named_by_those_around_them(tmp_path):
    files = [tmp_path / str(n // 50) / str(n) / "a.png" for n in range(500)]
    root = str(tmp_path.resolve())
    assert folders_of(files) == tuple(sorted(f"{root}/{n}" for n in range(10)))
    assert folders_of(files[:100]) == tuple(sorted(f"{root}/{n // 50}/{n}" for n in range(100)))
    assert folders_of(files, tmp_path) == (root,)
    assert folders_of([Path("/a.png"), *files]) == ("/",)


def test_the_server_shows_nothing_of_what_is_no_picture(tmp_path, referring):
    testclient = pytest.importorskip("starlette.testclient")
    from narrows.web.app import create_app

    secret = tmp_path / "private" / "passwd"
    secret.parent.mkdir()
    secret.write_text("root:x:0:0:a secret")
    library = refer(referring, secret)
    for told in ([], ["/"]):
        say(library.path, folders=told)
        app = create_app(library.path, cache=tmp_path / "cache")
        with testclient.TestClient(app, base_url="http://127.0.0.1") as client:
            asked = [client.get(f"/api/items/0/{kind}") for kind in ("picture", "thumbnail")]
            asked.append(client.post("/api/reconstruct", params={"id": 0}))
            asked.append(client.post("/api/match", params={"id": 0, "rerank": "pixels"}))
        # The thumbnail is what the library holds itself.
        assert [one.status_code for one in asked] == [422, 200, 422, 422]
        for one in asked:
            assert b"secret" not in one.content
            assert b"root:" not in one.content
            assert str(tmp_path).encode() not in one.content
