"""Resumed training: a run that was stopped anywhere ends, bit for bit, as one that was not.

The random seed is 0.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_kit import TINY, Run, pictures, save_pictures
from resuming_kit import stopped_after, told

from narrows import (
    MODELS,
    Autoencoder,
    DenoisingAutoencoder,
    EncoderClassifier,
    Library,
    StackedAutoencoder,
    datasets,
    load,
)
from narrows.data import lazy_rows
from narrows.errors import (
    CheckpointError,
    DataError,
    FormatError,
    NarrowsWarning,
    NotFittedError,
    ParameterError,
)
from narrows.training.history import History
from narrows.training.loop import one_cycle
from narrows.training.progress import on_epoch

pytestmark = pytest.mark.filterwarnings(
    "ignore:training was interrupted:UserWarning",
    "ignore::narrows.errors.NarrowsWarning",
)

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (150, 8, 8), np.uint8)
_U, _V = RNG.uniform(-1, 1, (2, 300))
# A bent plane, which a network restores better than PCA.
TABLE = np.stack([_U, 9 * _V, _U * _V, 5 * _U**2, np.sin(3 * _V), np.cos(2 * _U)], axis=1)

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in MODELS},
    "topk": ("sparse", {"sparsity": "topk"}),
    "jumprelu": ("sparse", {"sparsity": "jumprelu", "dead_after": 100}),
    "warm-up": ("variational", {"kl_warmup": 0.5}),
    "convolutional": ("autoencoder", {"architecture": "convolutional"}),
    "deep": ("autoencoder", {"normalization": "batch", "hidden_layer_sizes": (9,) * 5}),
    "tied": ("autoencoder", {"tied_weights": True, "corruption": "gaussian"}),
    "all rows": ("contractive", {"early_stopping": False}),
    "variational stack": ("stacked", {"layer_model": ["denoising", "sparse", "variational"],
                                      "activation": "sigmoid"}),
    "deep stack": ("stacked", {"hidden_layer_sizes": (9,) * 5}),  # whose gradients are clipped
}  # fmt: skip


def make(case: str = "autoencoder", **parameters: Any) -> Any:
    name, own = CASES[case]
    stack = {"hidden_layer_sizes": (12, 6)} if name == "stacked" else {}
    return MODELS[name](3, **{"max_epochs": 4, "random_state": 0, **stack, **own, **parameters})


@pytest.mark.parametrize(
    ("case", "X"),
    [*((case, PICTURES) for case in CASES), *((case, TABLE) for case in MODELS)],
    ids=lambda value: value if isinstance(value, str) else str(value.shape[1:]),
)
def test_a_stopped_run_ends_bit_for_bit(case: str, X: Any, tmp_path: Path) -> None:
    with stopped_after(-1) as count:
        truth = make(case).fit(X)
    (total,) = count
    for steps in (1, total // 2):
        with stopped_after(steps):
            part = make(case).fit(X)
        assert part.history_.ended == "interrupted"
        part.save(tmp_path / f"{steps}")
        again = load(tmp_path / f"{steps}").resume(X)
        assert again.fingerprint_ == truth.fingerprint_
        assert told(again.history_) == told(truth.history_)
        assert again.choices_ == truth.choices_
        assert again.learned_rows_.facts() == truth.learned_rows_.facts()


def test_a_network_that_beats_pca_still_does_so(tmp_path: Path) -> None:
    """The first weights are PCA's also where a run goes on: by --resume and by a checkpoint."""
    parameters = {"max_epochs": 30}
    truth = make(**parameters).fit(TABLE)
    assert truth.history_.best_epoch > 0
    file = tmp_path / "run"
    with stopped_after(100):
        part = make(**parameters, checkpoint=file).fit(TABLE)
    assert make(**parameters, checkpoint=file).fit(TABLE).fingerprint_ == truth.fingerprint_
    part.checkpoint = None
    part.resume(TABLE)
    assert part.fingerprint_ == truth.fingerprint_
    assert told(part.history_) == told(truth.history_)


def test_a_run_is_stopped_and_goes_on_again_and_again(tmp_path: Path) -> None:
    truth = make("stacked").fit(PICTURES)
    with stopped_after(3):
        model = make("stacked").fit(PICTURES)
    for steps in (2, 7, 1, 9, 5):
        with stopped_after(steps):
            model.resume(PICTURES)
        model = load(model.save(tmp_path / "m", overwrite=True))
        assert model.history_.ended == "interrupted"
    model.resume(PICTURES)
    assert model.fingerprint_ == truth.fingerprint_
    assert told(model.history_) == told(truth.history_)


def test_a_crash_leaves_what_the_run_goes_on_from() -> None:
    truth = make("convolutional").fit(PICTURES)
    with stopped_after(8):
        model = make("convolutional").fit(PICTURES)

    def crash(record: Any) -> None:
        if record["epoch"] == 3:
            raise MemoryError

    with on_epoch(crash), pytest.raises(MemoryError):
        model.resume(PICTURES)
    assert model.history_.ended == "interrupted"
    assert model.resume(PICTURES).fingerprint_ == truth.fingerprint_


def test_weights_of_rows_and_pairs_come_again() -> None:
    weights = RNG.integers(0, 3, len(PICTURES)).astype(float)
    noisy = np.clip(PICTURES + RNG.normal(0, 30, PICTURES.shape), 0, 255)
    given = (noisy, PICTURES, weights)

    def pairs() -> DenoisingAutoencoder:
        return DenoisingAutoencoder(3, corruption=None, max_epochs=4, random_state=0)

    truth = pairs().fit(*given)
    with stopped_after(9):
        model = pairs().fit(*given)
    for wrong in ((noisy, PICTURES), (PICTURES, None, weights), (noisy, PICTURES, weights[::-1])):
        with pytest.raises(DataError):
            model.resume(*wrong)
    assert model.resume(*given).fingerprint_ == truth.fingerprint_


def test_rows_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    np.save(tmp_path / "rows.npy", PICTURES)

    def rows() -> lazy_rows.StoredRows:
        found = lazy_rows.stored(np.load(tmp_path / "rows.npy", mmap_mode="r"))
        assert isinstance(found, lazy_rows.StoredRows)
        return found

    truth = make(validation_fraction=0.2).fit(rows())
    with stopped_after(7):
        model = make(validation_fraction=0.2).fit(rows())
    others = PICTURES.copy()
    others[77] = 255 - others[77]
    np.save(tmp_path / "rows.npy", others)
    with pytest.raises(DataError, match="1 of 150 rows given are not among the 150"):
        model.resume(rows())
    np.save(tmp_path / "rows.npy", PICTURES)
    assert model.resume(rows()).fingerprint_ == truth.fingerprint_


def test_a_row_that_no_sample_has_is_missed() -> None:
    many = np.random.default_rng(0).normal(size=(3000, 3))
    model = Autoencoder(2, max_epochs=1, architecture="dense", random_state=0).fit(many)
    many[30] += 1  # of each 47 rows the first 16 are compared one by one
    fingerprint = model.fingerprint_
    with pytest.raises(DataError, match="1 of 3000 rows given are not among the 3000"):
        model.resume(many, max_epochs=2)
    many[30] -= 1
    assert model.fingerprint_ == fingerprint
    assert len(model.resume(many, max_epochs=2).history_) == 2


@pytest.mark.parametrize("what", ["rows", "rows on a disk", "clean rows", "weights"])
def test_an_exchange_that_no_sample_has_is_missed(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows, in another order between two of those that are compared one by one."""
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    rng = np.random.default_rng(0)
    many, weights = rng.normal(size=(3000, 3)), rng.uniform(1, 2, 3000)
    clean, there = many + 0.1, slice(30, 32)

    def given() -> dict[str, Any]:
        if what == "rows on a disk":
            np.save(tmp_path / "rows.npy", many)
            return {"X": lazy_rows.stored(np.load(tmp_path / "rows.npy", mmap_mode="r"))}
        if what == "clean rows":
            return {"X": many, "y": clean}
        return {"X": many, "sample_weight": weights} if what == "weights" else {"X": many}

    kind = DenoisingAutoencoder if what == "clean rows" else Autoencoder
    model = kind(2, max_epochs=1, architecture="dense", random_state=0).fit(**given())
    exchanged = {"clean rows": clean, "weights": weights}.get(what, many)
    exchanged[there] = exchanged[there][::-1].copy()
    model = load(model.save(tmp_path / "m"))
    with pytest.raises(DataError, match="the 3000 rows given are in another order"):
        model.resume(**given(), max_epochs=2)
    exchanged[there] = exchanged[there][::-1].copy()
    assert len(model.resume(**given(), max_epochs=2).history_) == 2


@pytest.mark.parametrize("where", ["step", "held-out rows", "epoch's end"])
def test_ctrl_c_waits_for_the_end_of_a_step(where: str) -> None:
    """SIGINT itself, in the middle of a step, where Python raises at any moment."""
    count = 0

    def corruption(x: Any, generator: Any) -> Any:
        nonlocal count
        count += 1
        if count == {"step": 25, "held-out rows": 22}.get(where) and not part:
            signal.raise_signal(signal.SIGINT)
        return x + torch.randn(x.shape, generator=generator)

    def at_end(record: Any) -> None:
        if record["epoch"] == 3 and where == "epoch's end" and not part:
            signal.raise_signal(signal.SIGINT)

    part: list[Any] = [None]
    truth = make(corruption=corruption, validation_fraction=0.5, batch_size=8).fit(PICTURES)
    count, part = 0, []
    with on_epoch(at_end):
        part.append(
            make(corruption=corruption, validation_fraction=0.5, batch_size=8).fit(PICTURES)
        )
    (model,) = part
    assert model.history_.ended == "interrupted"
    assert len(model.history_) == {"step": 2, "held-out rows": 1, "epoch's end": 3}[where]
    assert model.resume(PICTURES).fingerprint_ == truth.fingerprint_
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_first_step_of_a_classifier_waits_for_its_end() -> None:
    signals = [signal.SIGINT]

    def corruption(x: Any, generator: Any) -> Any:
        if signals:
            signal.raise_signal(signals.pop())
        return x

    encoder = make().fit(PICTURES)
    classifier = EncoderClassifier(encoder, fine_tune=True, corruption=corruption, random_state=0)
    classifier.fit(PICTURES, np.arange(len(PICTURES)) % 2)
    assert (classifier.history_.ended, len(classifier.history_)) == ("interrupted", 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_comes_at_once_and_leaves_nothing_to_go_on_with() -> None:
    def corruption(x: Any, generator: Any) -> Any:
        nonlocal count
        count += 1
        if count == 13:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
        return x

    count = 0
    model = make(corruption=corruption, architecture="dense").fit(PICTURES)
    assert (model.history_.ended, count) == ("interrupted", 13)
    with pytest.raises(CheckpointError, match="interrupted within a step"):
        model.resume(PICTURES)


@pytest.mark.parametrize(("done", "wanted"), [(4, 8), (4, 5), (3, 30)])
def test_more_epochs_follow_the_cycle_over_all_of_them(done: int, wanted: int) -> None:
    parameters = {"learning_rate": 0.01, "batch_size": 10, "validation_fraction": 0.2}
    parameters["n_iter_no_change"] = 99
    model = make(max_epochs=done, **parameters).fit(PICTURES)
    before = told(model.history_)
    model.resume(PICTURES, max_epochs=wanted)
    rate, steps = one_cycle(0.01, 12 * wanted), 12
    assert model.history_["learning_rate"][done:] == [
        rate(steps * epoch - 1) for epoch in range(done + 1, wanted + 1)
    ]
    assert told(model.history_)["epochs"][:done] == before["epochs"]
    assert model.history_["epoch"] == list(range(1, wanted + 1))
    assert model.history_.plans == [{"epoch": done, "step": 0, "max_epochs": done}]
    assert model.history_["seconds"] == sorted(model.history_["seconds"])
    assert model.max_epochs == model.n_iter_ == wanted
    assert History.from_json(model.history_.as_json()) == model.history_


def test_more_epochs_learn_more_and_less_than_if_planned_at_once() -> None:
    X, _, X_test, _ = datasets.load("digits")
    X = X[:700]
    few, many = (
        Autoencoder(8, max_epochs=epochs, random_state=0).fit(X).score(X_test) for epochs in (5, 10)
    )
    model = Autoencoder(8, max_epochs=5, random_state=0).fit(X).resume(X, max_epochs=10)
    assert few < model.score(X_test) < many


def test_a_stopped_run_for_more_epochs_goes_on_at_the_same_step(tmp_path: Path) -> None:
    """What is gone on with for more epochs can itself be stopped anywhere."""
    with stopped_after(8):
        first = make("variational", kl_warmup=0.5).fit(PICTURES)
    first.save(tmp_path / "first")
    truth = load(tmp_path / "first").resume(PICTURES, max_epochs=7)
    assert len(truth.history_) == 7
    model = load(tmp_path / "first")
    with stopped_after(15):
        model.resume(PICTURES, max_epochs=7)
    assert model.history_.ended == "interrupted"
    model = load(model.save(tmp_path / "second")).resume(PICTURES)
    assert model.fingerprint_ == truth.fingerprint_
    assert told(model.history_) == told(truth.history_)


def test_the_warm_up_keeps_its_pace() -> None:
    """Half of the four epochs planned first, whatever comes later."""
    kept = {"early_stopping": False}  # otherwise one epoch is no better than PCA
    model = make("variational", kl_warmup=0.5, max_epochs=1, **kept).fit(PICTURES)
    assert model.warmup_done_ == 1
    model = make("variational", kl_warmup=0.5, **kept).fit(PICTURES)
    model.resume(PICTURES, max_epochs=40)
    assert model.warmup_done_ == 1
    assert min(model.history_["divergence"][4:]) > 0.5 * model.history_["divergence"][3]


def test_more_patience_is_what_it_had_been_from_the_start() -> None:
    parameters = {"max_epochs": 60, "learning_rate": 0.05, "validation_fraction": 0.3}
    truth = make(n_iter_no_change=6, **parameters).fit(PICTURES)
    model = make(n_iter_no_change=2, **parameters).fit(PICTURES)
    assert model.history_.ended == "early_stopping"
    assert len(model.history_) < len(truth.history_)
    with pytest.raises(ParameterError, match=r"early stopping ended training .*--n-iter-no-change"):
        model.resume(PICTURES)
    model.set_params(n_iter_no_change=6).resume(PICTURES)
    assert model.fingerprint_ == truth.fingerprint_
    assert told(model.history_) == told(truth.history_)


def test_early_stopping_counts_anew_with_more_epochs() -> None:
    parameters = {"learning_rate": 0.05, "validation_fraction": 0.3, "n_iter_no_change": 2}
    model = make(max_epochs=60, **parameters).fit(PICTURES)
    done = len(model.history_)
    assert model.history_.ended == "early_stopping"
    model.resume(PICTURES, max_epochs=61)
    assert len(model.history_) >= done + 2


def test_a_stack_goes_on_with_its_fine_tuning() -> None:
    model = make("stacked").fit(PICTURES)
    layers = [told(history) for history in model.layer_histories_]
    model.resume(PICTURES, max_epochs=6)
    assert [told(history) for history in model.layer_histories_] == layers
    assert len(model.history_) == 6


def test_a_checkpoint_and_a_saved_model_are_of_one_run(tmp_path: Path) -> None:
    file = tmp_path / "run"
    for parameters in ({}, {"max_epochs": 6}):
        with stopped_after(11):
            part = make(checkpoint=file).fit(PICTURES)
        assert file.exists()
        truth = load(part.save(tmp_path / "part", overwrite=True)).resume(PICTURES, **parameters)
        if parameters:
            with pytest.raises(CheckpointError, match="of another run"):
                part.resume(PICTURES, **parameters)
            file.unlink()
            with stopped_after(9):
                load(tmp_path / "part").set_params(checkpoint=file).resume(PICTURES, **parameters)
            assert file.exists()
        part.resume(PICTURES, **parameters)
        assert not file.exists()
        assert part.fingerprint_ == truth.fingerprint_


REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "over": (lambda m: m.resume(PICTURES), ParameterError, r"all 4 epochs.*--max-epochs 8, max_ep"),
    "fewer": (lambda m: m.resume(PICTURES, max_epochs=3), ParameterError, "max_epochs=3 have been"),
    "none": (lambda m: m.resume(PICTURES, max_epochs=0), ParameterError, "max_epochs=0 is not"),
    "code": (
        lambda m: m.set_params(n_components=4).resume(PICTURES, max_epochs=8),
        ParameterError,
        r"n_components=4 contradicts .* n_components=3; leave out --n-components \(n_components\)",
    ),
    "seed": (
        lambda m: m.set_params(random_state=5).resume(PICTURES, max_epochs=8),
        ParameterError,
        "random_state=5 contradicts",
    ),
    "partial_fit": (
        lambda m: m.partial_fit(PICTURES).resume(PICTURES, max_epochs=8),
        CheckpointError,
        "changed by partial_fit",
    ),
    "new rows": (
        lambda m: m.resume(255 - PICTURES, max_epochs=8),
        DataError,
        "150 of 150 rows given are not among the 150",
    ),
    "fewer rows": (
        lambda m: m.resume(PICTURES[:99], max_epochs=8),
        DataError,
        "99 rows were given, and the run learns from 150",
    ),
    "order": (lambda m: m.resume(PICTURES[::-1], max_epochs=8), DataError, "in another order"),
    "type": (
        lambda m: m.resume(PICTURES.astype(float), max_epochs=8),
        DataError,
        "of another type",
    ),
    "shape": (lambda m: m.resume(TABLE, max_epochs=8), DataError, "6 features"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_go_on_is_refused_in_a_line(case: str) -> None:
    call, error, message = REFUSED[case]
    model = make().fit(PICTURES)
    fingerprint, history = model.fingerprint_, told(model.history_)
    with pytest.raises(error, match=message) as caught:
        call(model)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    if case != "partial_fit":
        assert (model.fingerprint_, told(model.history_)) == (fingerprint, history)
        assert model.set_params(n_components=3, random_state=0).resume(PICTURES, max_epochs=5)


def test_what_never_learned_cannot_go_on() -> None:
    with pytest.raises(NotFittedError):
        make().resume(PICTURES)
    linear = Autoencoder(2, hidden_layer_sizes=(), random_state=0).fit(TABLE)
    with pytest.raises(CheckpointError, match=r"no epochs that could go on \(it is PCA"):
        linear.resume(TABLE, max_epochs=9)
    stack = StackedAutoencoder(2, hidden_layer_sizes=(4,), fine_tune=False, max_epochs=2)
    with pytest.raises(CheckpointError, match="a stack without fine-tuning"):
        stack.fit(TABLE).resume(TABLE, max_epochs=9)


def test_the_state_is_a_file_that_only_resuming_reads(tmp_path: Path) -> None:
    model = make(early_stopping=False).fit(PICTURES)
    truth = load(model.save(tmp_path / "m")).resume(PICTURES, max_epochs=5).fingerprint_
    (state,) = (tmp_path / "m").glob("state-*.safetensors")
    weights = sum(p.stat().st_size for p in (tmp_path / "m").glob("[de]?coder-*"))
    assert state.stat().st_size < 3.2 * weights + 2**14  # the last weights, and Adam's moments
    copied = load(load(tmp_path / "m").save(tmp_path / "copy"))
    assert copied.resume(PICTURES, max_epochs=5).fingerprint_ == truth
    without = load(model.save(tmp_path / "small", resumable=False))
    assert not list((tmp_path / "small").glob("state-*"))
    with pytest.raises(CheckpointError, match="holds no training state"):
        without.resume(PICTURES, max_epochs=5)
    Library.build(tmp_path / "l.lance", PICTURES, model=model)
    assert not list((tmp_path / "l.lance").rglob("state-*"))
    contents = state.read_bytes()
    for damaged in (contents[:-1], contents[:50], b"", None):
        state.unlink() if damaged is None else state.write_bytes(damaged)
        again = load(tmp_path / "m")
        assert again.fingerprint_ == model.fingerprint_
        with pytest.raises(FormatError, match="copy the model's folder again"):
            again.resume(PICTURES, max_epochs=5)
        with pytest.warns(NarrowsWarning, match="saved without what --resume needs") as caught:
            again.save(tmp_path / "lost", overwrite=True)
        assert [warning.filename for warning in caught] == [__file__]


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    """A stranger's file may fit by its hash, and hold anything."""
    from safetensors.torch import save

    from narrows.training.state import DAMAGES, Snapshot

    model = make().fit(PICTURES)
    snapshot = model._run_state
    assert isinstance(snapshot, Snapshot)
    facts, tensors = snapshot.facts, snapshot.tensors
    name = next(name for name in tensors if name.startswith("network."))
    for wrong in (
        snapshot.with_facts(history={"epochs": [{}]}),
        snapshot.with_facts(epoch={"step": -1}),
        snapshot.with_facts(epoch={"step": 1, "rows": 1, "sums": {}, "first": [], "device": "cpu"}),
        Snapshot({**tensors, name: tensors[name][:1]}, facts),
        Snapshot({}, facts),
        snapshot.with_facts(parameters=None),
        snapshot.with_facts(max_epochs="many"),
        Snapshot(tensors, {"seed": 0, "n_optimized": 0}),
    ):
        model._run_state = wrong
        with pytest.raises((CheckpointError, ParameterError)) as caught:
            model.resume(PICTURES, max_epochs=5)
        assert "\n" not in str(caught.value)
    for contents in (b"", save({}), save({}, {"narrows": "[]"}), save({}, {"narrows": "{}"})):
        with pytest.raises(DAMAGES):
            Snapshot.from_bytes(contents)


def test_a_collapsed_run_is_over() -> None:
    model = make().fit(PICTURES)
    model._run_state = model._run_state.with_facts(ended="collapsed")
    with pytest.raises(CheckpointError, match="lower learning rate"):
        model.resume(PICTURES, max_epochs=9)


def test_the_command_line_goes_on(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data.npy"
    np.save(data, PICTURES)
    first = ("--model", "sparse", "--n-components", "9", "--random-state", "0")
    assert run("train", data, "-o", tmp_path / "m", *first, "--max-epochs", "3").code == 0
    again = ("train", data, "--resume", tmp_path / "m", "--json")
    done = run(*again, "-o", tmp_path / "n", "--max-epochs", "5", "--n-components", "9")
    assert done.code == 0, done.err
    assert done.json["resumed"] == {
        "model": str(tmp_path / "m"),
        "fingerprint": load(tmp_path / "m").fingerprint_,
        "ended": "max_epochs",
        "epoch": 3,
        "step": 0,
        "max_epochs": 3,
    }
    assert (done.json["epochs"], done.json["model"]) == (5, "SparseAutoencoder")
    assert f"resumed: {tmp_path / 'm'} goes on after 3 epochs of 3 planned" in done.err
    assert "epoch 4/5" in done.err
    lines = (tmp_path / "n" / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4", "5"]
    truth = load(tmp_path / "m").resume(PICTURES, max_epochs=5)
    assert load(tmp_path / "n").fingerprint_ == truth.fingerprint_ == done.json["fingerprint"]
    onto = run(*again, "-o", tmp_path / "m", "--overwrite", "--max-epochs", "5")
    assert onto.json["fingerprint"] == truth.fingerprint_
    small = run(*again, "-o", tmp_path / "o", "--max-epochs", "6", "--no-resumable")
    assert small.code == 0
    assert run("info", tmp_path / "o", "--json").json["resumable"] is False
    assert run("info", tmp_path / "m", "--json").json["resumable"] is True


def test_pictures_are_brought_to_the_size_of_the_run(run: Run, tmp_path: Path) -> None:
    save_pictures(tmp_path / "photos", pictures())
    made = run("train", "photos", "-o", "m", "--image-size", "8", *TINY)
    assert made.code == 0, made.err
    done = run("train", "photos", "--resume", "m", "-o", "n", "--max-epochs", "4", "--json")
    assert (done.code, done.json["epochs"], done.json["sample_shape"]) == (0, 4, [8, 8])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "all 2 epochs that were planned have been done"),
        (["--max-epochs", "9", "--sparsity", "l1"], 2, "No such option"),
        (["--max-epochs", "9", "--hidden-layer-sizes", "5"], 2, "leave out --hidden-layer-sizes"),
        (["--max-epochs", "9", "--model", "sparse"], 2, "was trained by --model autoencoder"),
        (["--max-epochs", "9", "--ray", "local"], 2, "--ray does not go with --resume"),
        (["--max-epochs", "many"], 2, "max_epochs='many'"),
        (["--resume", "encoder", "--max-epochs", "9"], 4, "only the encoder of a model"),
        (["--resume", "decoder", "--max-epochs", "9"], 4, "only the decoder of a model"),
        (["--resume", "nothing", "--max-epochs", "9"], 3, "there is no model 'nothing'"),
        (["--resume", "classifier", "--max-epochs", "9"], 4, "is a classifier"),
        (["--resume", "data.npy", "--max-epochs", "9"], 4, "is not a model of Narrows"),
        (["--max-epochs", "9", "--image-size", "4"], 2, "image_size"),
    ],
)
def test_the_command_line_refuses_in_a_line(
    run: Run, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    np.save("data.npy", PICTURES)
    model = make(max_epochs=2).fit(PICTURES)
    model.save("m")
    for half, name in zip(model.split(), ("encoder", "decoder"), strict=True):
        half.save(name)
    if "classifier" in options:
        EncoderClassifier(model, max_epochs=1).fit(PICTURES, RNG.integers(0, 2, 150)).save(
            "classifier"
        )
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    done = run("train", "data.npy", "-o", "out", "--resume", "m", *options)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert done.err.splitlines()[-1].startswith("narrows: error: ")
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
