"""Training by two processes that torchrun starts: the same as by one, whatever happens to one."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_together as other
from cli_kit import TINY, save_csv, table
from numpy.typing import NDArray

from narrows import load
from narrows.losses import free_bits

# Two processes and one add up in different orders.
ROUNDING = 1e-4


def torchrun(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def narrows(*arguments: object) -> subprocess.CompletedProcess[str]:
    return torchrun("-m", "narrows", *arguments)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, NDArray[Any]]:
    folder = tmp_path_factory.mktemp("together")
    checkpoint = str(folder / "checkpoint")
    ended = torchrun("--max-restarts=1", other.__file__, folder, NARROWS_TEST_CHECKPOINT=checkpoint)
    assert ended.returncode == 0, ended.stderr
    assert not Path(checkpoint).exists()
    return np.load(folder / "found.npz")


def assert_near(found: NDArray[Any], expected: NDArray[Any], name: str) -> None:
    error, size = np.abs(found - expected).max(), np.abs(expected).max()
    assert error <= ROUNDING * size, f"{name}, up to {size:.2g}, differs by {error:.2g}"


@pytest.mark.parametrize("name", other.models())
def test_two_processes_learn_what_one_does(name: str, found: Mapping[str, NDArray[Any]]) -> None:
    model = other.models()[name].fit(other.data_of(name), sample_weight=other.weights_of(name))
    for key, value in other.weights(model).items():
        # A bias before a normalisation has no effect: its gradient is rounding, of which Adam makes
        # whole steps, and the running mean follows it.
        if model.normalization != "batch" or not key.endswith(("bias", "running_mean")):
            assert_near(found[f"{name}/{key}"], value, key)
    assert_near(found[f"{name}/losses"], np.float32(model.history_["loss"]), "the loss")


def test_processes_of_different_memory_see_each_row_once(
    found: Mapping[str, NDArray[Any]], tmp_path: Path
) -> None:
    model = other.models()["plain"].fit(other.from_disk(tmp_path / "rows.npy", is_large=True))
    for key, value in other.weights(model).items():
        assert_near(found[f"one on the disk/{key}"], value, key)


def test_a_classifier_starts_the_same_everywhere(found: Mapping[str, NDArray[Any]]) -> None:
    alone = other.classifier(0).fit(other.rows(), other.classes())
    assert_near(found["classifier"], alone.predict_proba(other.rows()), "the probabilities")


def test_a_batch_is_normalised_over_all_processes(found: Mapping[str, NDArray[Any]]) -> None:
    whole = other.normalised(other.batch(), slice(None))
    for name, rows in (("y", 4), ("slopes", 4), ("running_mean", None), ("running_var", None)):
        assert_near(found[f"norm/{name}"], whole[name][:rows], name)


def test_free_bits_are_of_all_processes_rows(found: Mapping[str, NDArray[Any]]) -> None:
    whole = other.divergences().requires_grad_()
    value = free_bits(whole, 0.5)
    value.backward()
    assert 0 < (whole.grad == 0).sum() < whole.numel()
    assert_near(found["free_bits"], value.detach().numpy(), "the value")
    assert_near(found["free_bits/slopes"], whole.grad.numpy(), "the gradient")


def test_contrast_is_with_the_rows_of_all_processes(found: Mapping[str, NDArray[Any]]) -> None:
    terms, slopes = other.contrasted(other.codes(), slice(None))
    assert_near(found["contrast"][:, 0], terms.numpy(), "the terms")
    assert_near(found["contrast"][:, 1:], slopes.flatten(1).numpy(), "the gradient")


def test_a_killed_process_changes_nothing(found: Mapping[str, NDArray[Any]]) -> None:
    assert found["restarts"] == 1
    assert found["begun at a checkpoint"] == [1]
    model = other.interrupted(None).fit(other.rows())
    for key, value in other.weights(model).items():
        assert_near(found[f"interrupted/{key}"], value, key)


def test_the_command_trains_by_two_processes(tmp_path: Path, run: Any) -> None:
    np.save(tmp_path / "table.npy", table(101))
    ended = narrows("train", tmp_path / "table.npy", "-o", tmp_path / "two", *TINY, "--json")
    assert ended.returncode == 0, ended.stderr
    answered = json.loads(ended.stdout)
    assert answered["rows"] == 101
    assert ended.stderr.count("epoch 1/2") == 1
    assert run("train", tmp_path / "table.npy", "-o", "one", *TINY).code == 0
    one, two = (load(tmp_path / name) for name in ("one", "two"))
    assert_near(two.transform(table(101)), one.transform(table(101)), "codes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "table.npy", "two"]


@pytest.mark.longer
def test_what_goes_wrong_is_said_once(tmp_path: Path) -> None:
    save_csv(tmp_path / "table.csv", table())
    for arguments, words in (
        (("missing.csv",), "missing.csv"),
        (("table.csv", "--batch-size", "1"), "batches of 1 rows cannot be shared by 2 processes"),
    ):
        data, *others = arguments
        ended = narrows("train", tmp_path / data, "-o", tmp_path / "model", *TINY, *others)
        lines = [line for line in ended.stderr.splitlines() if line.startswith("narrows: error")]
        assert len(lines) == 1, ended.stderr
        assert words in lines[0]
        assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.longer
def test_a_path_that_one_process_cannot_see(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "import numpy as np\n"
        "from narrows import Autoencoder\n"
        "from narrows.errors import NarrowsError\n"
        "from narrows.ranks import together\n"
        "X = np.random.default_rng(int(os.environ['RANK'])).random((50, 4))\n"
        "try:\n"
        "    with together():\n"
        "        Autoencoder(2, max_epochs=1, random_state=0).fit(X)\n"
        "except NarrowsError as error:\n"
        "    sys.exit(f'said: {type(error).__name__}: {error}')\n"
    )
    ended = torchrun(script)
    assert ended.returncode == 1
    assert "said: DataError: process 1 of 2 differs from process 0 in its rows" in ended.stderr
