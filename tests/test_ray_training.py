"""Training by two workers of a Ray cluster: the same as by one process, whatever happens to one.

The seed of everything random here is 0.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_together as other
from cli_kit import TINY, table
from libraries import one_line
from ray_kit import Damage, small_cluster

from narrows import Autoencoder, SparseAutoencoder, StackedAutoencoder, load
from narrows.data import lazy_rows
from narrows.errors import (
    DivergedError,
    MissingFileError,
    NarrowsWarning,
    ParameterError,
    WorkerError,
)
from narrows.scale import ray_training as by_ray
from narrows.scale.cluster import Failure
from narrows.scale.ray_training import Task, fit_by_ray, learn, model_files
from narrows.training.progress import on_epoch, on_every_process

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("default")  # those of others

# Two processes and one add up in different orders.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def ray():
    with small_cluster() as ray:
        yield ray


def assert_same_weights(found, expected) -> None:
    for key, value in other.weights(expected).items():
        error = np.abs(other.weights(found)[key] - value).max()
        assert error <= ROUNDING * np.abs(value).max(), key


def test_two_workers_learn_what_one_process_does(ray, tmp_path) -> None:
    heard = []
    model = other.models()["kl"].set_params(checkpoint=tmp_path / "own")
    with on_epoch(lambda record: heard.append(record["epoch"])):
        found = fit_by_ray(model, other.rows(), "auto", workers=2)
    assert heard == [1, 2, 3]
    assert not hasattr(model, "encoder_")
    assert found.get_params() == model.get_params()
    alone = other.models()["kl"].fit(other.rows())
    assert_same_weights(found, alone)
    np.testing.assert_allclose(found.history_["loss"], alone.history_["loss"], rtol=ROUNDING)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.longer
@pytest.mark.parametrize("stream", [False, True])
def test_a_killed_worker_changes_nothing(ray, tmp_path, monkeypatch, stream) -> None:
    monkeypatch.setattr(by_ray, "_SECONDS", 0.0)  # a report after each epoch
    model = other.interrupted(None).set_params(corruption=Damage(tmp_path, 3 * 8))
    rows: Any = other.rows()
    if stream:
        monkeypatch.setattr(lazy_rows, "SMALL", 0)
        rows = tmp_path / "rows.npy"
        np.save(rows, other.rows())
    found = fit_by_ray(model, rows, "auto", workers=2, stream=stream)
    assert (tmp_path / "killed").exists()
    steps = sorted(path.stat().st_size for path in tmp_path.glob("0-*"))
    assert 0 < steps[0] < 5 * 8  # the second time, it went on at a report
    assert_same_weights(found, other.interrupted(None).fit(rows))


@pytest.mark.longer
def test_the_command_trains_by_workers_of_its_own(tmp_path) -> None:
    np.save(tmp_path / "table.npy", table(101))
    for name, more in (("one", []), ("two", ["--ray", "local", "--workers", "2"])):
        command = ["train", tmp_path / "table.npy", "-o", tmp_path / name, *TINY, *more]
        ended = subprocess.run(
            [sys.executable, "-m", "narrows", *map(str, command)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        said = sorted(line[:9] for line in ended.stderr.splitlines())
        assert said == ["chosen: a", "epoch 1/2", "epoch 2/2"]
    assert_same_weights(load(tmp_path / "two"), load(tmp_path / "one"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "table.npy", "two"]


@pytest.mark.longer
def test_what_all_workers_meet_is_said_once(ray) -> None:
    with pytest.raises(DivergedError, match="training diverged in epoch 1") as caught:
        fit_by_ray(Autoencoder(2, learning_rate=1e30), other.rows(), "auto", workers=2)
    one_line(caught)

    def missing() -> None:
        raise MissingFileError("there is nothing")

    with pytest.raises(MissingFileError, match="there is nothing"):
        fit_by_ray(Autoencoder(2), missing, "auto", workers=2)


@pytest.mark.longer
def test_workers_that_are_lost_again_and_again(ray, monkeypatch) -> None:
    monkeypatch.setattr(by_ray, "_RETRIES", 1)

    def fall() -> None:
        raise RuntimeError("it fell")

    with pytest.raises(WorkerError, match=r"begun 2 times and never ended \(.*it fell") as caught:
        fit_by_ray(Autoencoder(2), fall, "auto", workers=1)
    one_line(caught)


def test_a_process_reports_after_epochs_and_gives_its_model(tmp_path) -> None:
    reports, told = [], []

    def report(place: Path) -> None:
        reports.append(sorted(path.name for path in place.iterdir()))

    model = other.interrupted(None)
    task = Task(model, other.rows, told.append, 0.0, shelf=None)
    files = learn(task, tmp_path, report)
    assert reports == [["checkpoint"]] * 5
    assert [[record["epoch"] for record in each] for each in told] == [[1], [2], [3], [4], [5], []]
    for name, contents in model_files(files).items():
        (tmp_path / name).write_bytes(contents)
    assert load(tmp_path).fingerprint_ == other.interrupted(None).fit(other.rows()).fingerprint_


def test_what_the_workers_warn_of_is_said_here(ray) -> None:
    parameters = {"sparsity": "l1", "sparsity_weight": 1e4, "max_epochs": 40, "random_state": 0}
    with pytest.warns(NarrowsWarning, match="all 6 units of the code are dead") as caught:
        found = fit_by_ray(SparseAutoencoder(6, **parameters), other.rows(), "auto", workers=2)
    assert found.dead_units_.all()
    (said,) = [each.message for each in caught if isinstance(each.message, NarrowsWarning)]
    assert (said.kind, said.facts) == ("dead_units", {"dead_units": 6, "n_components": 6})


def test_it_goes_on_at_the_last_report(tmp_path) -> None:
    kept = {}

    def report(place: Path) -> None:
        kept[len(kept)] = (place / "checkpoint").read_bytes()

    learn(Task(other.interrupted(None), other.rows, lambda _: None, 0.0, None), tmp_path, report)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "checkpoint").write_bytes(kept[1])
    told = []
    task = Task(other.interrupted(None), other.rows, told.extend, 3600.0, None)
    files = learn(task, tmp_path / "again", report)
    epochs = [record["epoch"] for record in told]
    assert epochs == list(range(int(epochs[0]), 6))
    assert epochs[0] > 1
    assert len(kept) == 5
    for name, contents in files.items():
        (tmp_path / name).write_bytes(contents)
    assert load(tmp_path).fingerprint_ == other.interrupted(None).fit(other.rows()).fingerprint_


def test_every_process_is_told_of_each_layer() -> None:
    heard = []
    model = StackedAutoencoder(2, hidden_layer_sizes=(4,), max_epochs=1, pretraining_epochs=1)
    with on_every_process(heard.append):
        model.fit(other.rows())
    assert [record.get("layer") for record in heard] == [1, 2, None]


@pytest.mark.parametrize(
    ("machines", "workers", "expected"),
    [
        ([2], None, (1, 2)),
        ([2], 2, (2, 1)),
        ([16, 16], None, (2, 16)),
        ([16, 8], 2, (2, 8)),
        ([16, 16], 3, (3, 8)),
        ([1, 1, 0], 2, (2, 1)),
    ],
)
def test_processes_share_the_processors(machines, workers, expected) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": float(count)}} for count in machines]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    wanted = by_ray._scaling(nodes, workers)
    assert (wanted["num_workers"], wanted["resources_per_worker"]["CPU"]) == expected
    assert not wanted["use_gpu"]


def test_too_few_processors() -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}]
    with pytest.raises(WorkerError, match="3 processes were asked for, and the cluster has 2"):
        by_ray._scaling(nodes, 3)
    with pytest.raises(WorkerError, match="the cluster has 0"):
        by_ray._scaling([], None)


def test_each_process_has_a_gpu_where_there_are_enough() -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}]
    assert by_ray._scaling(nodes, 2)["resources_per_worker"] == {"CPU": 4, "GPU": 1}
    assert not by_ray._scaling(nodes, 3)["use_gpu"]


def test_what_a_process_fails_with_keeps_its_class() -> None:
    with pytest.raises(ParameterError, match="as it was said"):
        model_files(Failure("ParameterError", "as it was said", "host"))
    with pytest.raises(WorkerError, match="left no model"):
        model_files({})


def test_ctrl_c_stays_what_it_was() -> None:
    def interrupt() -> None:
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), by_ray._own_interrupts():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is before


def test_options_that_do_not_go_together(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    np.save(tmp_path / "table.npy", table())
    train = ["train", tmp_path / "table.npy", "-o", tmp_path / "model"]
    for more, words in (
        (["--workers", "2"], "--workers is for --ray"),
        (["--ray", "local", "--checkpoint", "file"], "leave out --checkpoint"),
        (["--ray", "127.0.0.1:9"], "nobody answers at '127.0.0.1:9'"),
    ):
        told = run(*train, *more)
        assert told.code in (2, 6)
        assert words in told.err
        assert len(told.err.splitlines()) == 1
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    assert "torchrun and --ray" in run(*train, "--ray", "local").err
    assert [path.name for path in tmp_path.iterdir()] == ["table.npy"]
