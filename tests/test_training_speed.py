"""What makes training fast: no waiting inside a step, and nothing that changes the mathematics."""

from collections import Counter
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from narrows import MODELS, Autoencoder, VariationalAutoencoder, datasets, signals
from narrows.data.batches import ArraySource
from narrows.data.scaling import Scaling, Statistics
from narrows.training.loop import (
    TrainSettings,
    one_cycle,
    rounded_products,
    to_device,
    to_device_if_it_fits,
    train,
)
from narrows.training.progress import on_start

SEED = 20261125
X = np.random.default_rng(SEED).integers(0, 256, (320, 12), np.uint8)


PENALTIES = [
    ("contractive", {"contraction": way, "hidden_layer_sizes": sizes})
    for way in ("exact", "stochastic")
    for sizes in ((), (32,), (48, 32))
]
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


class Moves(TorchFunctionMode):
    """Count tensors that are asked for on the host, which the processor's own already are."""

    def __init__(self, counted):
        super().__init__()
        self.counted = counted

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.counted["waits"] += getattr(func, "__name__", "") in ("cpu", "numpy", "tolist")
        return func(*args, **kwargs or {})


class Waits(TorchDispatchMode):
    """Count what would make the host wait for a GPU: numbers read off a tensor, rows by a mask."""

    READS = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "unique")

    def __init__(self, *, moves=True):
        super().__init__()
        self.counted = Counter()
        self._moves = Moves(self.counted) if moves else nullcontext()

    def __enter__(self):
        self._moves.__enter__()
        return super().__enter__()

    def __exit__(self, *raised):
        super().__exit__(*raised)
        self._moves.__exit__(*raised)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        masked = name.startswith(("index", "_index")) and any(
            isinstance(mask, torch.Tensor) and mask.dtype == torch.bool
            for given in args[1:2]
            for mask in (given if isinstance(given, list | tuple) else ())
        )
        self.counted["calls"] += 1
        self.counted["waits"] += masked or name in self.READS
        return func(*args, **kwargs or {})


def waits(name, parameters, batch_size):
    common = {"max_epochs": 2, "early_stopping": False, "random_state": SEED}
    model = MODELS[name](3, batch_size=batch_size, **common, **parameters)
    # A stack's first layer is handed rows that were scaled on the host, and never left it.
    with Waits(moves=name != "stacked") as counter:
        model.fit(X)
    return counter.counted


def test_waiting_is_seen():
    x = torch.ones(3)
    for wait in (x.cpu, x.numpy, x.tolist, x.sum().item, lambda: x[x > 0], lambda: bool(x[0])):
        with Waits() as counter:
            wait()
        assert counter.counted["waits"] >= 1


@pytest.mark.parametrize(("name", "parameters"), [*((name, {}) for name in MODELS), *PENALTIES])
def test_no_step_waits_for_a_number(name, parameters):
    few, many = waits(name, parameters, 160), waits(name, parameters, 10)
    assert many["calls"] > 5 * few["calls"], "the steps were not seen"
    assert many["waits"] == few["waits"]


def test_no_draw_of_a_likelihood_waits_for_a_number():
    model = VariationalAutoencoder(3, max_epochs=1, random_state=SEED).fit(X)
    waited = []
    for n_samples in (20_480, 204_800):
        with Waits() as counter:
            model.log_likelihood(X[:2], n_samples, random_state=SEED)
        waited.append(counter.counted)
    assert waited[1]["calls"] > 3 * waited[0]["calls"], "the draws were not seen"
    assert waited[1]["waits"] == waited[0]["waits"]


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


def test_a_hundred_steps_end_where_a_naive_loop_does(monkeypatch):
    """Within the rounding of float32: shuffling, scaling, steps and rates are what they say."""
    order, begun = [], []
    batches = ArraySource.batches

    def told(source, size, *, seed, rank=0, world_size=1):
        for batch in batches(source, size, seed=seed, rank=rank, world_size=world_size):
            order.append(batch.clone())
            yield batch

    monkeypatch.setattr(ArraySource, "batches", told)
    model = Autoencoder(
        3, architecture="dense", scaling="unit", hidden_layer_sizes=(8,), activation="tanh",
        learning_rate=3e-3, weight_decay=0.1, batch_size=32, max_epochs=10,
        early_stopping=False, random_state=SEED,
    )  # fmt: skip
    with on_start(lambda network: begun.append([p.detach().clone() for p in network.parameters()])):
        model.fit(X)

    assert len(order) == 100
    (weights,) = begun
    widths = (12, 8, 3, 8, 12)
    linear = [nn.Linear(a, b) for a, b in pairwise(widths)]
    naive = nn.Sequential(linear[0], nn.Tanh(), linear[1], linear[2], nn.Tanh(), linear[3])
    for ours, truth in zip(naive.parameters(), weights, strict=True):
        ours.data.copy_(truth)
    mean = torch.from_numpy(X.mean(0) / 255).float()
    rate = one_cycle(3e-3, 100)
    decay = [{"params": [p for p in naive.parameters() if p.ndim > 1]}]
    decay += [{"params": [p for p in naive.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(decay, weight_decay=0.1, fused=False, foreach=False)
    for step, batch in enumerate(order):
        x = batch.float() / 255
        for group in adam.param_groups:
            group["lr"] = rate(step)
        adam.zero_grad()
        y = torch.sigmoid(naive(x - mean))
        ((y - x) ** 2).sum(1).mean().backward()
        adam.step()
    # The units of the code are put into the order of their variances, with the signs of PCA's.
    with torch.no_grad():
        x = torch.from_numpy(X / 255).float()
        code = naive[:3](x - mean)
        order = code.var(0).argsort(descending=True)
        covariances = (code - code.mean(0))[:, order].t() @ (x - mean)
        signs = covariances.gather(1, covariances.abs().argmax(1, keepdim=True)).sign()
        linear[1].weight.copy_(linear[1].weight[order] * signs)
        linear[1].bias.copy_(linear[1].bias[order] * signs[:, 0])
        linear[2].weight.copy_(linear[2].weight[:, order] * signs[:, 0])
    # Adam turns the rounding of tiny gradients into a share of a step each.
    learned = [*model.encoder_.parameters(), *model.decoder_.parameters()]
    for ours, truth in zip(learned, naive.parameters(), strict=True):
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
    scaling = Scaling.learn("standard", Statistics.of(X))

    def loss(network, x, _generator):
        x = scaling(x)
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
    assert to_device_if_it_fits(source, torch.device("cuda")) is (there if moved else source)


def test_rows_that_are_made_when_asked_for_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 40, 1 << 40))
    source = ArraySource(signals.Windows(np.zeros(100), 10))
    assert to_device_if_it_fits(source, torch.device("cuda")) is source
    assert to_device_if_it_fits(ArraySource(X), torch.device("cpu")).n_bytes == X.nbytes


def test_batches_go_to_a_gpu_from_memory_it_copies_from_by_itself(monkeypatch):
    batch, went = torch.ones(2, 3), []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda batch: went.append("pinned") or batch)
    monkeypatch.setattr(torch.Tensor, "to", lambda _batch, *to, **how: went.append((to, how)))
    for device in (torch.device("cuda"), torch.device("cpu")):
        to_device(batch, device)
    copies = [((torch.device(name),), {"non_blocking": True}) for name in ("cuda", "cpu")]
    assert went == ["pinned", *copies]


@pytest.mark.parametrize(
    ("name", "able", "rounds"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_products_are_rounded_only_where_the_hardware_does_it(monkeypatch, name, able, rounds):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: able)
    monkeypatch.setattr(torch, "autocast", lambda *given: given)
    context = rounded_products(torch.device(name))
    assert (context == (name, torch.bfloat16)) is rounds


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
