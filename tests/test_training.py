"""The training loop: the same mathematics as a naive loop, and resuming bit for bit."""

import json
import warnings

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from narrows import Autoencoder
from narrows.data.batches import ArraySource
from narrows.errors import (
    CheckpointError,
    DivergedError,
    NarrowsWarning,
    NotFittedError,
    OutputExistsError,
    ParameterError,
)
from narrows.training.history import History
from narrows.training.loop import TrainSettings, one_cycle, train
from narrows.training.progress import on_epoch

SEED = 20240502
X = np.random.default_rng(SEED).random((90, 12), dtype=np.float32)


class StopHereError(Exception):
    """Stands for a crash between two epochs."""


def crash_after(epoch):
    def callback(record):
        if record["epoch"] == epoch:
            raise StopHereError

    return on_epoch(callback)


def model(**parameters):
    return Autoencoder(**{"n_components": 4, "max_epochs": 8, "random_state": SEED, **parameters})


def test_the_loop_is_adamw_on_one_cycle():
    """A naive loop, torch's plain Adam and decay by hand, ends at the same weights."""
    start = model(architecture="dense", max_epochs=1, learning_rate=1e-12).fit(X)
    network = torch.nn.Module()
    # In float64: Adam turns the rounding of tiny gradients into steps of full size.
    network.encoder, network.decoder = start.encoder_.double(), start.decoder_.double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    source = ArraySource(X)
    settings = TrainSettings(
        max_epochs=6,
        batch_size=20,
        learning_rate=1e-2,
        weight_decay=0.1,
        n_iter_no_change=None,
        seed=SEED,
        device=torch.device("cpu"),
    )
    batches = []

    def loss(network, x, generator):
        if torch.is_grad_enabled():
            batches.append(x.clone())
        x = x.double()
        return {"reconstruction": ((network.decoder(network.encoder(x)) - x) ** 2).sum() / len(x)}

    train(network, loss, source, settings=settings)
    after = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    network.load_state_dict(before)
    rate = one_cycle(1e-2, len(batches))
    adam = torch.optim.Adam(network.parameters(), fused=False, foreach=False)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    for step, x in enumerate(list(batches)):
        adam.param_groups[0]["lr"] = rate(step)
        adam.zero_grad()
        loss(network, x, None)["reconstruction"].backward()
        with torch.no_grad():
            for matrix in matrices:
                matrix.mul_(1 - 0.1 * rate(step))
        adam.step()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-7, atol=1e-9)


def test_one_cycle_rises_and_falls_to_zero():
    rate = one_cycle(2.0, 1000)
    rates = [rate(step) for step in range(1000)]
    peak = int(np.argmax(rates))
    assert rates[peak] == 2.0
    assert peak == 100
    assert np.all(np.diff(rates[: peak + 1]) > 0)
    assert np.all(np.diff(rates[peak:]) < 0)
    assert rates[-1] < 1e-4
    # Steps beyond the plan, as of a source that grew, stay at the end of the cycle.
    assert rate(5000) == 0


@pytest.mark.parametrize("parameters", [{}, {"activation": "sigmoid", "weight_decay": 1e3}])
def test_a_last_step_out_of_the_finite_numbers_is_an_error(parameters):
    """The loss of each step is of the weights before it."""
    wild = model(max_epochs=1, batch_size=90, learning_rate=9e37, **parameters)
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        wild.fit(X)
    with pytest.raises(NotFittedError):
        wild.transform(X)


@pytest.mark.parametrize("size", [1, 7, 30, 90, 1000])
def test_every_row_comes_once_an_epoch_in_even_batches(size):
    source = ArraySource(np.arange(90).reshape(90, 1))
    batches = list(source.batches(size, seed=SEED))
    rows = torch.cat(batches).flatten()
    assert sorted(rows.tolist()) == list(range(90))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    again = torch.cat(list(source.batches(size, seed=SEED))).flatten()
    assert torch.equal(rows, again)
    assert size == 1000 or not torch.equal(
        rows, torch.cat(list(source.batches(size, seed=1))).flatten()
    )


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_ranks_share_each_batch(world_size):
    source = ArraySource(np.arange(50).reshape(50, 1))
    whole = source.batches(16, seed=SEED)
    shares = [
        source.batches(16, seed=SEED, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat(parts), batch)


@pytest.fixture
def chance(monkeypatch):
    """Set what is drawn where no seed is given: the same from every call on."""

    def start():
        monkeypatch.setattr("numpy.random.mtrand._rand", np.random.RandomState(SEED))

    return start


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("crash", [1, 5])
@pytest.mark.parametrize("random_state", [SEED, None])
def test_a_crashed_run_goes_on_bit_for_bit(tmp_path, chance, crash, early_stopping, random_state):
    """Rows in their order, noise, rates, losses and weights are those of the uninterrupted run."""
    path = tmp_path / "run.checkpoint"
    steps = []

    def corruption(x, generator):
        steps.append((x.clone(), torch.randn(x.shape, generator=generator)))
        return x + 0.1 * steps[-1][1]

    def run(**parameters):
        return model(
            corruption=corruption,
            early_stopping=early_stopping,
            validation_fraction=0.2,
            random_state=random_state,
            **parameters,
        )

    chance()
    whole = run().fit(X)
    expected = steps.copy()
    chance()
    part = run(checkpoint=path)
    with crash_after(crash), pytest.raises(StopHereError):
        part.fit(X)
    assert path.exists()
    seen = []
    steps.clear()
    with on_epoch(lambda record: seen.append(record["epoch"])):
        part.fit(X)  # without a seed, chance would give another one by now
    assert seen
    assert seen[0] > 1, "training started anew instead of going on"
    for (x, noise), (other_x, other_noise) in zip(steps, expected[-len(steps) :], strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(noise, other_noise)
    for name in ("encoder_", "decoder_"):
        one, other = getattr(whole, name).state_dict(), getattr(part, name).state_dict()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for column in set(whole.history_.columns) - {"seconds"}:
        assert part.history_[column] == whole.history_[column]
    assert part.history_.best_epoch == whole.history_.best_epoch
    assert not path.exists(), "a finished run leaves no checkpoint"


def test_the_best_weights_outlive_a_crash(tmp_path, monkeypatch):
    """Steps far too long for the data: nothing is as good as the first epoch."""
    monkeypatch.setattr("narrows.training.state._COST", np.inf)  # written after every epoch
    parameters = {"validation_fraction": 0.2, "learning_rate": 1.0, "corruption": "gaussian"}
    parameters["architecture"] = "dense"
    with pytest.warns(NarrowsWarning, match="no better than their mean row"):
        whole = model(**parameters).fit(X)
    assert whole.history_.best_epoch < 5
    part = model(**parameters, checkpoint=tmp_path / "run.checkpoint")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NarrowsWarning)
        with crash_after(5), pytest.raises(StopHereError):
            part.fit(X)
        assert part.fit(X).fingerprint_ == whole.fingerprint_


def test_every_epoch_and_every_pass_has_an_order_of_its_own():
    seen = []

    def spy(x, generator):
        seen.append((x.clone(), torch.rand(len(x), generator=generator)))
        return x

    parameters = {"corruption": spy, "early_stopping": False, "scaling": "none"}
    model(**parameters, max_epochs=3).fit(X)
    online = model(**parameters, batch_size=32)
    for _ in range(3):
        online.partial_fit(X)
    rows, noise = (torch.cat(parts).view(6, len(X), -1) for parts in zip(*seen, strict=True))
    rank = {tuple(row.tolist()): number for number, row in enumerate(torch.from_numpy(X))}
    orders = [tuple(rank[tuple(row.tolist())] for row in part) for part in rows]
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(len(X)))}
    assert len(set(orders)) == 6
    assert len(noise.unique()) == noise.numel()


def test_an_epochs_loss_is_the_mean_over_rows_however_unequal_the_batches():
    """Five rows in batches of 2, 2 and 1, with steps so small that the weights do not move."""
    still = model(max_epochs=1, learning_rate=1e-12, batch_size=2, early_stopping=False).fit(X[:5])
    loss = 12 * still.reconstruction_error(X[:5]).mean()  # a sum over features, of [0, 1] as it is
    assert still.history_["loss"][0] == pytest.approx(loss, rel=1e-5)


def test_partial_fit_goes_at_a_third_of_the_peak_all_the_time():
    online = model(learning_rate=0.03)
    for _ in range(3):
        online.partial_fit(X)
    assert online.history_["learning_rate"] == pytest.approx([0.01] * 3)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    with crash_after(2), pytest.raises(StopHereError):
        model(checkpoint=path).fit(X)
    for other, rows in (
        (model(checkpoint=path, n_components=3), X),
        (model(checkpoint=path), X / 2),
    ):
        with pytest.raises(CheckpointError, match="another run"):
            other.fit(rows)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        model(checkpoint=path).fit(X)


def test_each_epoch_is_told_and_kept(tmp_path):
    seen = []
    with on_epoch(seen.append):
        history = model(validation_fraction=0.1).fit(X).history_
    assert [record["epoch"] for record in seen] == list(range(1, 9))
    assert {record["max_epochs"] for record in seen} == {8}
    assert history.columns == [
        "epoch",
        "loss",
        "reconstruction",
        "validation_loss",
        "validation_reconstruction",
        "learning_rate",
        "seconds",
    ]
    path = history.to_csv(tmp_path / "history.csv")
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(history.columns)
    assert [float(line.split(",")[1]) for line in lines[1:]] == history["loss"]
    with pytest.raises(OutputExistsError):
        history.to_csv(path)
    assert History.from_json(history.as_json()) == history


def test_verbose_prints_a_line_an_epoch(capsys):
    model(verbose=1, max_epochs=3).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]


class Interrupted(ArraySource):
    """Stands for Ctrl-C before a batch of the first epoch."""

    def __init__(self, values, before):
        super().__init__(values)
        self.before = before

    def batches(self, *args, **kwargs):
        for number, batch in enumerate(super().batches(*args, **kwargs)):
            if number == self.before:
                raise KeyboardInterrupt
            yield batch


@pytest.mark.parametrize("cycle", [True, False])
@pytest.mark.parametrize("before", [0, 2])
def test_ctrl_c_in_the_first_epoch_keeps_the_steps_done(cycle, before):
    network = torch.nn.Linear(12, 12)
    start = network.weight.detach().clone()
    settings = TrainSettings(
        max_epochs=3, batch_size=30, learning_rate=1e-2, weight_decay=0.0, n_iter_no_change=None,
        seed=SEED, device=torch.device("cpu"), cycle=cycle,
    )  # fmt: skip

    def run():
        def loss(network, x, _):
            return {"reconstruction": ((network(x) - x) ** 2).mean()}

        source = Interrupted(X, before)
        return train(network, loss, source, settings=settings)

    if not (cycle and before):
        with pytest.raises(KeyboardInterrupt):
            run()
        return
    history = run()
    assert (len(history), history.best_epoch, history.ended) == (1, 1, "interrupted")
    assert not torch.equal(network.weight, start)
    assert not network.training
    assert History.from_json(history.as_json()) == history


@pytest.mark.parametrize(
    "damage",
    [
        lambda _, tensors: ([], tensors),
        lambda _, tensors: ({}, tensors),
        lambda facts, tensors: ({**facts, "seed": "x"}, tensors),
        lambda facts, tensors: ({**facts, "n_optimized": None}, tensors),
        lambda facts, tensors: ({**facts, "history": {"epochs": [{}]}}, tensors),
        lambda facts, _: (facts, {}),
        lambda facts, tensors: (
            facts,
            {name: t for name, t in tensors.items() if not name.startswith("best.")},
        ),
        lambda facts, tensors: (facts, {name: torch.zeros(1) for name in tensors}),
    ],
)
def test_a_damaged_checkpoint_says_so_in_one_line(tmp_path, damage):
    path = tmp_path / "run.checkpoint"
    run = model(checkpoint=path, validation_fraction=0.2)
    with crash_after(2), pytest.raises(StopHereError):
        run.fit(X)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["narrows"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    facts, tensors = damage(facts, tensors)
    path.write_bytes(save(tensors, metadata={"narrows": json.dumps(facts)}))
    with pytest.raises(CheckpointError, match=r"not a whole checkpoint.*delete it") as caught:
        run.fit(X)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("parameter", ["early_stopping", "tied_weights"])
def test_words_are_no_flags(parameter):
    with pytest.raises(ParameterError, match=f"{parameter}='no' .*True or False"):
        model(**{parameter: "no"}).fit(X)
