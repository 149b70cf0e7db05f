"""Libraries by the workers of a Ray cluster: what one process makes, whatever happens to one.

The seed of everything random here is 0.
"""

import os
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from libraries import draw, one_line
from ray_kit import Dying, Mishap, Mortal, small_cluster

from narrows import Library
from narrows.cli import index
from narrows.errors import (
    MissingDependencyError,
    MissingFileError,
    OutputError,
    UnreadableFileError,
    WorkerError,
)
from narrows.scale import cluster as clusters
from narrows.scale.cluster import (
    RayWorkers,
    Seen,
    answered,
    answers,
    check_address,
    check_workers,
    cluster,
    compare,
    guarded,
    looking,
    ray_workers,
    unpacked,
)

exceptions = pytest.importorskip("ray.exceptions")
GetTimeoutError, RayError = exceptions.GetTimeoutError, exceptions.RayError
pytestmark = pytest.mark.filterwarnings("default")  # those of others


@pytest.fixture(scope="module")
def ray():
    with small_cluster() as ray:
        yield ray


def test_workers_make_the_library_that_one_process_makes(tmp_path, ray, made, run) -> None:
    arguments = ["index", made / "model", made / "photos", "--json"]
    alone = run(*arguments, "-o", tmp_path / "alone")
    told = run(*arguments, "-o", tmp_path / "shared", "--ray", "auto")
    assert {line.split(":")[0] for line in told.err.splitlines()} <= {"indexing"}
    assert told.json == alone.json | {"output": str(tmp_path / "shared")}
    one, two = (Library.open(tmp_path / name) for name in ("alone", "shared"))
    assert [item.path for item in two.items(two.ids)] == [item.path for item in one.items(one.ids)]
    np.testing.assert_allclose(two.codes, one.codes, rtol=1e-5, atol=1e-6)
    assert two.verify().ok
    again = run(*arguments, "-o", tmp_path / "shared", "--add", "--ray", "auto")
    assert (again.json["added"], again.json["present"]) == (0, 40)


def test_a_killed_worker_costs_no_row(tmp_path, ray, model, pictures) -> None:
    encoder = Mortal.of(model.split()[0], tmp_path / "killed")
    with ray_workers("auto") as workers:
        # In this process, opening does not encode.
        library, added = Library.build(
            tmp_path / "library", pictures, model=encoder, workers=workers
        )
    assert (tmp_path / "killed").exists()
    assert added.count == 60
    np.testing.assert_array_equal(library.read(library.ids), pictures)
    assert library.verify().ok
    stored = {path.name for path in (tmp_path / "library").rglob("*.lance") if path.is_file()}
    assert len(stored) == len(list(library._table.dataset.get_fragments()))


def test_workers_that_are_killed_again(tmp_path, ray, model, pictures, monkeypatch) -> None:
    monkeypatch.setattr("narrows.scale.cluster._RETRIES", 0)
    encoder = Dying.of(model.split()[0], tmp_path)
    with (
        ray_workers("auto") as workers,
        pytest.raises(WorkerError, match="workers were lost again and again") as caught,
    ):
        Library.build(tmp_path / "library", pictures, model=encoder, workers=workers)
    one_line(caught)
    assert list(tmp_path.iterdir()) == []


def test_the_answer_is_one_line_whatever_becomes_of_workers(
    tmp_path, ray, made, run, monkeypatch
) -> None:
    def mortal(*arguments: object) -> Mortal:
        return Mortal.of(load_for(*arguments).split()[0], tmp_path / "killed")

    load_for = index.load_for
    monkeypatch.setattr(index, "load_for", mortal)
    told = run(
        "index", made / "model", made / "photos", "-o", tmp_path / "l", "--ray", "auto", "--json"
    )
    assert (tmp_path / "killed").exists()
    assert len(told.out.splitlines()) == 1
    assert told.json["added"] == 40


def test_who_writes_has_ended_when_what_is_there_goes(tmp_path, ray, model, pictures) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with ray_workers("auto") as workers, pytest.raises(KeyboardInterrupt):
        Library.build(tmp_path / "library", pictures, model=model, workers=workers, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_is_lost_ends_the_call(ray, monkeypatch) -> None:
    assert answers(ray)
    assert answered(ray, lambda: 7) == 7
    with pytest.raises(KeyError, match="its own"):
        answered(ray, lambda: {}["its own"])
    monkeypatch.setattr(clusters, "_GREETED", 0.01)
    monkeypatch.setattr(clusters, "_SILENT", 0.05)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = SimpleNamespace(gcs_address=f"127.0.0.1:{nobody.getsockname()[1]}")
        over, asked = threading.Event(), []

        def lose() -> None:
            asked.append(monkeypatch.setattr(ray, "get_runtime_context", lambda: gone))
            over.wait()

        for _ in range(2):  # the second time, it is lost before
            with pytest.raises(WorkerError, match="has not answered for") as caught:
                answered(ray, lose)
        over.set()
        assert not answers(ray)
        assert len(asked) == 1
    one_line(caught)


def test_what_ray_fails_with_is_said_in_one_line(ray) -> None:
    with pytest.raises(WorkerError, match="the Ray cluster failed") as caught, cluster("auto"):
        raise RayError("gone\nand more")
    one_line(caught)
    with pytest.raises(exceptions.RayTaskError), cluster("auto"):
        raise exceptions.RayTaskError("f", "its trace", ValueError("a fault"))


def refused(monkeypatch, past_python: bytes, message: str) -> None:
    """Have Ray refuse to be connected, with what its inner parts write meanwhile."""
    import ray

    def refuse(**_: object) -> None:
        os.write(2, past_python)
        raise ConnectionError(message)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)


def test_another_token_is_called_so(monkeypatch, capfd) -> None:
    refused(monkeypatch, b"gcs_client.cc: Unauthenticated: InvalidAuthToken\n", "Failed to connect")
    with pytest.raises(WorkerError, match=r"another token; set .*RAY_AUTH_TOKEN"), cluster("auto"):
        pass
    assert capfd.readouterr().err == ""


def test_workers_write_to_an_object_store(ray, model, photos, options) -> None:
    pytest.importorskip("moto.server")
    with ray_workers("auto") as workers:
        library, added = Library.build(
            "s3://bucket/pictures.lance",
            photos,
            model=model,
            workers=workers,
            storage_options=options,
        )
    assert added.count == len(library) == 30
    assert library.verify().ok


def test_what_goes_wrong_at_a_worker_is_said_here(tmp_path, ray, model, photos) -> None:
    (photos / "05.png").write_bytes(b"no picture")
    with (
        ray_workers("auto") as workers,
        pytest.raises(UnreadableFileError, match=r"05\.png' is not a readable picture") as caught,
    ):
        Library.build(tmp_path / "library", photos, model=model, workers=workers)
    one_line(caught)
    assert not (tmp_path / "library").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_workers_are_asked_first(ray, monkeypatch, tmp_path) -> None:
    check_workers(ray, [tmp_path])
    with pytest.raises(WorkerError, match="cannot see '/nowhere'"):
        check_workers(ray, [tmp_path, Path("/nowhere")])
    monkeypatch.setattr(clusters, "version", lambda *_: "0.0.1")
    with pytest.raises(WorkerError, match=r"has narrows .*, this process 0\.0\.1; install"):
        check_workers(ray, [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GetTimeoutError("late"), "a worker has not started within"),
        (RayError("a fault\nsomewhere"), r"a worker cannot begin \(a fault\)"),
    ],
)
def test_workers_that_do_not_answer(error, words) -> None:
    def get(*_: object, **__: object) -> None:
        raise error

    silent = SimpleNamespace(
        remote=lambda function: function, nodes=list, get=get, is_initialized=lambda: False
    )
    with pytest.raises(WorkerError, match=words) as caught:
        check_workers(silent, [])
    one_line(caught)


def test_a_worker_says_what_it_has(tmp_path) -> None:
    host, versions, hidden = looking()(["numpy", "nothing-like-it"], [str(tmp_path), "/nowhere"])
    assert (host, hidden) == (socket.gethostname(), ["/nowhere"])
    assert versions == {"numpy": np.__version__, "nothing-like-it": "none"}
    compare(Seen(host, {"numpy": np.__version__}, []))


class Mishaps(RayWorkers):
    """Workers to whom something happens."""

    def __init__(self, ray, marker, **options) -> None:
        super().__init__(ray)
        self.change = lambda function: Mishap(function, marker, **options)

    def map(self, function, *arguments):
        return super().map(self.change(function), *arguments)


@pytest.fixture
def indexed(tmp_path, model):
    """Give a library of 1000 pictures, and the file of the index that one process makes."""
    pytest.importorskip("faiss")
    library, _ = Library.build(tmp_path / "library", draw(1000), model=model)
    library.build_index()
    file = library.path / "index-euclidean.safetensors"
    return library, file, file.read_bytes()


@pytest.mark.parametrize("killed", [False, True])
def test_workers_build_the_index_that_one_process_builds(tmp_path, ray, indexed, killed) -> None:
    library, file, alone = indexed
    file.unlink()
    workers = Mishaps(ray, tmp_path / "killed") if killed else RayWorkers(ray)
    recall = Library.open(library.path).build_index(workers=workers)
    assert (tmp_path / "killed").exists() == killed
    assert file.read_bytes() == alone
    assert library.recall == {"euclidean": recall}


def test_workers_without_faiss_or_with_another(tmp_path, ray, indexed, monkeypatch) -> None:
    library, file, _ = indexed
    file.unlink()
    workers = Mishaps(ray, tmp_path, without_faiss=True)
    with pytest.raises(MissingDependencyError, match=r"narrows\[faiss\].*\(on ") as caught:
        Library.open(library.path).build_index(workers=workers)
    one_line(caught)
    ours = clusters.version
    monkeypatch.setattr(clusters, "version", lambda n: "0.1" if n == "faiss-cpu" else ours(n))
    with pytest.raises(WorkerError, match=r"has faiss-cpu .*, this process 0\.1; install"):
        Library.open(library.path).build_index(workers=RayWorkers(ray))
    assert not file.exists()


def test_workers_index_in_an_object_store(ray, model, options, monkeypatch) -> None:
    pytest.importorskip("moto.server")
    pytest.importorskip("faiss")
    monkeypatch.setattr("narrows.library.search._MANY", 30)
    library = "s3://bucket/pictures.lance"
    built, _ = Library.build(library, draw(60), model=model, storage_options=options)
    recall = built.build_index(workers=RayWorkers(ray))
    monkeypatch.setattr("narrows.library.workers.Workers.map", None)
    again = Library.open(library, storage_options=options)
    assert again.recall == {"euclidean": recall}
    assert again.match(ids=3, k=3) == again.match(ids=3, k=3, search="exact")


def test_many_pictures_are_indexed_by_workers_unless_faiss_is_missing(
    tmp_path, ray, made, run, monkeypatch
) -> None:
    pytest.importorskip("faiss")
    arguments = ["index", made / "model", made / "photos", "--ray", "auto", "--json"]
    monkeypatch.setattr("narrows.library.search._MANY", 39)
    assert "approximate_recall" in run(*arguments, "-o", "many").json
    monkeypatch.setattr("narrows.library.search._MANY", 40)
    assert "approximate_recall" not in run(*arguments, "-o", "few").json
    ours = clusters.version
    monkeypatch.setattr(clusters, "version", lambda n: "0.1" if n == "faiss-cpu" else ours(n))
    told = run(*arguments, "-o", "none", "--approximate")
    assert told.code == 6
    assert "has faiss-cpu" in told.err
    assert not Path("none").exists()
    monkeypatch.setattr("narrows.library.search._MANY", 39)
    told = run(*arguments, "-o", "left-out")
    assert (told.code, told.json["rows"]) == (0, 40)
    assert "approximate_recall" not in told.json
    assert "there is no index: the worker" in told.err
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert "approximate_recall" not in run(*arguments, "-o", "more").json


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OutputError("No space left on device"), "device$"),
        (MissingFileError("'x.png' does not exist; give files that do"), socket.gethostname()),
        (MissingDependencyError("install narrows[faiss]"), socket.gethostname()),
    ],
)
def test_what_a_part_fails_with_keeps_its_class(error, words) -> None:
    def fail(number: int) -> int:
        raise error

    assert unpacked(guarded(abs, -7)) == 7
    with pytest.raises(type(error), match=words):
        unpacked(guarded(fail, 7))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "nobody answers"),
        ("ray://127.0.0.1:9", "nobody answers"),
        ("somewhere", "is no address"),
        ("host:port", "is no address"),
        ("127.0.0.1:99999", "nobody answers"),
    ],
)
def test_an_address_nobody_answers(address, words) -> None:
    with pytest.raises(WorkerError, match=words) as caught:
        check_address(address)
    assert one_line(caught).startswith(("'", "nobody"))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None])
def test_an_address_where_something_else_is(answer, monkeypatch) -> None:
    monkeypatch.setattr(clusters, "_ANSWERS", 0.2)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def reply() -> None:
            connection, _ = listening.accept()
            with connection:
                if answer is None:
                    connection.recv(100)
                    connection.recv(100)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(WorkerError, match="nobody answers"):
            check_address(f"127.0.0.1:{listening.getsockname()[1]}")
        thread.join()


def test_a_cluster_answers(ray) -> None:
    port = ray.get_runtime_context().gcs_address.rpartition(":")[2]
    check_address(f"127.0.0.1:{port}")
    check_address(f"ray://127.0.0.1:{port}")


def test_no_cluster_and_no_ray(monkeypatch, capfd) -> None:
    refused(
        monkeypatch,
        b"what Ray's inner parts have to say\n",
        "Could not find any running Ray instance.\nAnd more",
    )
    for address in ("auto", "local"):
        with (
            pytest.raises(WorkerError, match=f"no Ray cluster to join at '{address}'") as caught,
            cluster(address),
        ):
            pass
        one_line(caught)
    assert capfd.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"narrows\[ray\]"), cluster("local"):
        pass


def test_a_connection_ends_with_the_block(monkeypatch) -> None:
    import ray

    calls = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(options["address"]))
    monkeypatch.setattr(ray, "shutdown", lambda **_: calls.append("shutdown"))
    with cluster("local") as connected:
        assert connected is ray
    assert calls == ["local", "shutdown"]
