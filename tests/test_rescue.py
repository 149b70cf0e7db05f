"""Training that collapses is noticed, goes back to its best weights, and says so."""

import numpy as np
import pytest
import torch

from narrows import Autoencoder, load
from narrows.errors import NarrowsWarning
from narrows.evaluation import make_report
from narrows.training.history import History
from narrows.training.loop import has_collapsed
from narrows.training.progress import on_epoch, on_start
from narrows.training.state import Clipping

pytestmark = pytest.mark.cases

SEED = 20261130
X = np.random.default_rng(SEED).normal(size=(300, 3)) @ np.random.default_rng(1).normal(size=(3, 9))


def dying(epochs):
    """Kill the network after some epochs: no row moves it any more, and no gradient."""
    networks = []

    def kill(record):
        if record["epoch"] in epochs:
            with torch.no_grad():
                for parameter in networks[-1].parameters():
                    parameter.zero_()

    return on_start(networks.append), on_epoch(kill)


def quick(**parameters):
    own = {"architecture": "dense", "hidden_layer_sizes": (16,), "activation": "relu"}
    own |= {"scaling": "global", "max_epochs": 30, "random_state": SEED, "n_iter_no_change": 1000}
    return Autoencoder(3, **{**own, **parameters})


@pytest.mark.parametrize("early_stopping", [True, False])
def test_it_goes_on_from_its_best_weights_at_a_third_of_the_rate(early_stopping, tmp_path):
    healthy = quick(early_stopping=early_stopping).fit(X)
    start, kill = dying({12})
    with start, kill, pytest.warns(NarrowsWarning, match=r"collapsed in epoch 14.*epoch 1[12] "):
        model = quick(early_stopping=early_stopping).fit(X)
    history = model.history_
    assert history.restarts == [14]
    assert len(history) == 30
    error = model.reconstruction_error(X).mean()
    assert error < 2 * healthy.reconstruction_error(X).mean()
    assert error < 0.1 * X.var()
    for epoch in (20, 29):
        share = history["learning_rate"][epoch] / healthy.history_["learning_rate"][epoch]
        assert share == pytest.approx(1 / 3)
    assert load(model.save(tmp_path / "model")).history_.restarts == [14]


def test_after_two_times_it_ends_at_its_best_weights():
    start, kill = dying({8, 9, 10, 14, 15, 16, 20, 21, 22})
    with start, kill, pytest.warns(NarrowsWarning) as caught:
        model = quick(early_stopping=False).fit(X)
    said = [w.message.facts["epoch"] for w in caught if w.message.kind == "training_collapsed"]
    assert len(said) == 3
    assert "are kept" in str(caught[-1].message)
    assert model.history_.ended == "collapsed"
    report = make_report(model, X)
    assert "unstable" in " ".join(finding.text for finding in report.verdict)
    report.to_html()
    assert len(model.history_) < 30
    best = min(model.history_["loss"])
    assert model.history_.epochs[model.history_.best_epoch - 1]["loss"] == best
    scaled = np.square(model.reconstruct(X) - X).sum(1).mean() / float(model.scaling_.scale) ** 2
    assert scaled < 1.2 * best


def test_a_run_that_went_back_and_crashed_goes_on_bit_for_bit(tmp_path, monkeypatch):
    class CrashError(Exception):
        pass

    def crash(record):
        if record["epoch"] == 17:
            raise CrashError

    monkeypatch.setattr("narrows.training.state._COST", np.inf)  # written after every epoch
    start, kill = dying({12})
    with start, kill, pytest.warns(NarrowsWarning, match="collapsed in epoch 14"):
        whole = quick().fit(X)
    part = quick(checkpoint=tmp_path / "run.checkpoint")
    start, kill = dying({12})
    with start, kill, on_epoch(crash), pytest.raises(CrashError), pytest.warns(NarrowsWarning):
        part.fit(X)
    part.fit(X)
    assert part.fingerprint_ == whole.fingerprint_
    assert part.history_.restarts == whole.history_.restarts == [14]


def run(*losses, first, restarts=()):
    epochs = [{"epoch": i + 1, "loss": loss} for i, loss in enumerate(losses)]
    return History(epochs, initial_loss=first, restarts=list(restarts))


@pytest.mark.parametrize(
    ("history", "truth"),
    [
        (run(600, 250, 180, 8800, 8800, first=9000), True),
        (run(600, 250, 180, 8800, first=9000), False),  # a single epoch may recover
        (run(600, 250, 180, 200, 210, first=9000), False),
        (run(100, 99.9, 100.1, 99.8, 100.4, 100.3, first=100), False),  # nothing to learn
        (run(-50, -80, -90, 40, 41, first=45), True),  # log densities may be negative
        (run(600, 250, 180, 8800, 8800, 300, 200, first=9000, restarts=[5]), False),
    ],
)
def test_what_counts_as_a_collapse(history, truth):
    assert has_collapsed(history) is truth


def test_gradients_are_held_to_five_times_their_usual_norm():
    """Held against the running mean of logarithms in double precision."""
    rng = np.random.default_rng(SEED)
    clipping, weight = Clipping().double(), torch.nn.Parameter(torch.zeros(40).double())
    mean, weights = 0.0, 0.0
    for step in range(60):
        gradient = rng.normal(size=40) * (1e6 if step in (5, 30, 31, 50) else 1.0)
        weight.grad = torch.from_numpy(gradient.copy())
        norm = np.linalg.norm(gradient)
        bound = np.inf if step < 20 else 5 * np.exp(mean / weights)
        clipping.clip([weight])
        expected = gradient * min(1, bound / norm)
        np.testing.assert_allclose(weight.grad.numpy(), expected, rtol=1e-6)
        if step in (30, 31, 50):
            assert np.linalg.norm(expected) < 1e-4 * norm
        mean = 0.98 * mean + 0.02 * np.log(min(norm, bound))
        weights = 0.98 * weights + 0.02
