"""What makes training fast: no waiting inside a step, and nothing that changes the mathematics."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from narrows import MODELS, Autoencoder, VariationalAutoencoder, datasets, signals
from narrows.data.arrays import ArraySource
from narrows.data.scaling import Scaling, Statistics
from narrows.training.devices import near, rounded_products
from narrows.training.loop import TrainSettings, new_optimizer, train
from narrows.training.schedule import one_cycle

SEED = 20261125
X = np.random.default_rng(SEED).integers(0, 256, (320, 12), np.uint8)


META = torch.device("meta")  # computes shapes and no numbers, so that reading one is an error


def settings(device):
    return TrainSettings(
        max_epochs=10,
        batch_size=32,
        learning_rate=3e-3,
        weight_decay=0.1,
        n_iter_no_change=None,
        seed=SEED,
        device=device,
    )


class Waits(TorchDispatchMode):
    """Count what would make the host wait for a GPU: numbers read off a tensor one by one."""

    READS = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "unique")

    def __init__(self):
        super().__init__()
        self.counted = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        self.counted["calls"] += 1
        self.counted["waits"] += name in self.READS
        return func(*args, **kwargs or {})


def waits(kind, batch_size):
    model = kind(3, max_epochs=2, batch_size=batch_size, early_stopping=False, random_state=SEED)
    with Waits() as counter:
        model.fit(X)
    return counter.counted


@pytest.mark.parametrize("kind", [Autoencoder, VariationalAutoencoder])
def test_no_step_waits_for_a_number(kind):
    few, many = waits(kind, 160), waits(kind, 10)
    assert many["calls"] > 5 * few["calls"], "the steps were not seen"
    assert many["waits"] == few["waits"]


@pytest.mark.parametrize("kind", ["unit", "standard"])
def test_scaling_looks_at_its_numbers_once(kind):
    scaling = Scaling.learn(kind, Statistics.of(X))
    rows = torch.from_numpy(X)
    first = scaling(rows)
    with Waits() as counter:
        again = scaling(rows)
    assert counter.counted["calls"] > 0
    assert counter.counted["waits"] == 0
    assert torch.equal(first, again)


def test_what_was_scaled_without_gradients_can_be_learned_from():
    scaling = Scaling.learn("standard", Statistics.of(X))
    with torch.inference_mode():
        scaling(torch.from_numpy(X))
    row = torch.ones(1, 12, requires_grad=True)
    (scaling(row).square().sum()).backward()
    truth = 2 * ((row.detach() - scaling.shift) / scaling.scale**2).float()
    torch.testing.assert_close(row.grad, truth)


def test_a_hundred_steps_end_where_a_naive_loop_does():
    """Within the rounding of float32: shuffling, scaling, steps and rates are what they say."""
    torch.manual_seed(SEED)
    fast, naive = (
        nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 12), nn.Sigmoid()) for _ in range(2)
    )
    naive.load_state_dict(fast.state_dict())
    order = []

    class Told(ArraySource):
        def batches(self, size, *, seed, rank=0, world_size=1):
            for batch in super().batches(size, seed=seed, rank=rank, world_size=world_size):
                order.append(batch.clone())
                yield batch

    def loss(network, x, _generator):
        return {
            "reconstruction": nn.functional.mse_loss(network(x), x, reduction="none").sum(1).mean()
        }

    scaling = Scaling.learn("auto", Statistics.of(X))
    optimizer = new_optimizer(fast, 3e-3, 0.1)
    train(
        fast,
        loss,
        Told(X),
        prepare=scaling,
        settings=settings(torch.device("cpu")),
        optimizer=optimizer,
    )

    assert len(order) == 100
    rate = one_cycle(3e-3, 100)
    decay = [{"params": [p for p in naive.parameters() if p.ndim > 1]}]
    decay += [{"params": [p for p in naive.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(decay, weight_decay=0.1, fused=False, foreach=False)
    for step, batch in enumerate(order):
        x = batch.float() / 255
        for group in adam.param_groups:
            group["lr"] = rate(step)
        adam.zero_grad()
        ((naive(x) - x) ** 2).sum(1).mean().backward()
        adam.step()
    # Adam turns the rounding of tiny gradients into a share of a step each.
    for ours, truth in zip(fast.parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-5)


def test_every_row_comes_once_in_batches():
    source = ArraySource(X, rows=np.arange(0, 320, 2))
    seen = torch.cat(list(source.batches(32, seed=SEED)))
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, X[::2].tolist()))


def test_an_epoch_on_a_device_reads_nothing_before_its_end(monkeypatch):
    """Rows, scaling, steps and sums stay there; the epoch's means are the first to be read."""
    monkeypatch.setattr(torch, "Generator", lambda *_: torch.default_generator)
    network = nn.Sequential(nn.Linear(12, 8), nn.SiLU(), nn.Linear(8, 12)).to(META)
    seen = []

    def loss(network, x, _generator):
        seen.append((x.device.type, len(x)))
        return {"reconstruction": nn.functional.mse_loss(network(x), x)}

    source = ArraySource(X, rows=np.arange(0, 310)).to(META)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, foreach=False)
    optimizer.param_groups[0]["share"] = 1.0
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta tensor"):
        train(
            network,
            loss,
            source,
            prepare=Scaling.learn("standard", Statistics.of(X)),
            settings=settings(META),
            optimizer=optimizer,
        )
    # Shapes differ by a row at most, so that a device records few of them.
    assert {device for device, _ in seen} == {"meta"}
    assert [rows for _, rows in seen] == [31] * 10


@pytest.mark.parametrize(("free", "moved"), [(X.nbytes * 2, True), (X.nbytes * 2 - 1, False)])
def test_rows_move_to_a_gpu_that_has_room_for_them(monkeypatch, free, moved):
    source, there = ArraySource(X), object()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, free))
    monkeypatch.setattr(ArraySource, "to", lambda *_: there)
    assert near(source, torch.device("cuda")) is (there if moved else source)


def test_rows_that_are_made_when_asked_for_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 40, 1 << 40))
    source = ArraySource(signals.Windows(np.zeros(100), 10))
    assert near(source, torch.device("cuda")) is source
    assert near(ArraySource(X), torch.device("cpu")).n_bytes == X.nbytes


@pytest.mark.parametrize(
    ("name", "able", "rounds"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_products_are_rounded_only_where_the_hardware_does_it(monkeypatch, name, able, rounds):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: able)
    monkeypatch.setattr(torch, "autocast", lambda *given: given)
    context = rounded_products(torch.device(name))
    assert (context == (name, torch.bfloat16)) is rounds


PENALTIES = [
    ("contractive", {"contraction": way, "hidden_layer_sizes": sizes})
    for way in ("exact", "stochastic")
    for sizes in ((), (32,), (48, 32))
]


@pytest.mark.parametrize(("name", "parameters"), [*((name, {}) for name in MODELS), *PENALTIES])
def test_models_learn_as_much_with_rounded_products(monkeypatch, name, parameters):
    """The processor's bfloat16 stands in for a GPU's: the terms come out as in single precision."""
    digits = datasets.load("digits").X_train[:640]
    common = {"max_epochs": 3, "early_stopping": False, "random_state": SEED}
    model = MODELS[name](8, **common, **parameters)
    exact = model.fit(digits).loss_terms(digits, random_state=SEED)
    rounding = torch.autocast("cpu", torch.bfloat16)
    monkeypatch.setattr("narrows.training.loop.rounded_products", lambda _: rounding)
    rounded = model.fit(digits).loss_terms(digits, random_state=SEED)
    assert all(weight.dtype == torch.float32 for weight in model.encoder_.parameters())
    assert rounded != exact, "nothing was rounded"
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05)
