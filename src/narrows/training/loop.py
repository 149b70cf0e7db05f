"""The training loop: one flat function, read from top to bottom."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor, nn

from narrows import ranks
from narrows.data.source import Source
from narrows.errors import CheckpointError, DataError, DivergedError
from narrows.losses import Loss
from narrows.training import rescue
from narrows.training.checkpoint import Checkpoint
from narrows.training.clipping import Clipping
from narrows.training.devices import near, rounded_products, sent
from narrows.training.distributed import purpose, shared, weighted
from narrows.training.history import History, Record
from narrows.training.means import Means
from narrows.training.progress import (
    Callback,
    listeners,
    listeners_everywhere,
    starters,
    tell_step,
)
from narrows.training.schedule import constant, one_cycle
from narrows.training.state import Snapshot, State

# From the network, a prepared batch and a generator for noise, to the terms.
LossFunction = Callable[[Any, Any, torch.Generator], Loss]

# A little below the largest block for which glibc raises its thresholds, 32 MiB.
_BLOCK = (1 << 25) - (1 << 16)
# Rows a batch where only the forward pass is wanted.
_EVALUATION_BATCH = 1024
# The significance level of the t test by which learned weights must be better than the first ones,
# and the number of parts of the held-out rows that it compares.
_CHANCE, _PARTS = 1e-3, 64


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long, how fast, where.

    Attributes
    ----------
    max_epochs : int
        Passes over the data.
    batch_size : int
        Rows a step.
    learning_rate : float
        The schedule's peak.
    weight_decay : float
        Share of each matrix, times the learning rate, that a step takes away.
    n_iter_no_change : int or None
        Epochs without a better validation loss before training stops; ``None`` never stops.
    seed : int
        The random seed of shuffling and noise.
    device : torch.device
        Where the network is.
    cycle : bool
        Whether the learning rate follows one cycle over all epochs or stays constant.
    beats_start : bool
        Whether the first weights are kept unless the learned ones are significantly better on the
        held-out rows.
    clips : bool
        Whether gradients of a norm far above the usual one are scaled down.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    n_iter_no_change: int | None
    seed: int
    device: torch.device
    cycle: bool = True
    beats_start: bool = False
    clips: bool = False


def train(  # noqa: PLR0912, PLR0915 (flat on purpose: it reads top to bottom)
    network: nn.Module,
    loss: LossFunction,
    source: Source,
    *,
    prepare: Callable[[Any], Any],
    settings: TrainSettings,
    validation: Source | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    checkpoint: Checkpoint | None = None,
    resume: Snapshot | None = None,
    keep: Callable[[Snapshot], None] | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Minimise a loss over the weights of a network, in place.

    Parameters
    ----------
    network : Module
        On ``settings.device``; trained in place, and left with its best weights.
    loss : callable
        From the network, a batch of scaled rows and a generator for noise, to its terms.
    source : Source
        The rows.
    prepare : callable
        From a batch as the source gives it to what the loss takes: scaled float32 rows.
    settings : TrainSettings
        How long, how fast, where.
    validation : Source, optional
        Rows held out; the weights with the smallest loss on them are kept.
    optimizer : Optimizer, optional
        To continue with; a new Adam by default.
    checkpoint : Checkpoint, optional
        From which the run is resumed, and to which the state is written after epochs.
    resume : Snapshot, optional
        The state to resume from, in the middle of an epoch or after the last one that was planned.
        Where ``max_epochs`` differs from the plan, the learning rate is from there on that of a
        cycle over ``max_epochs`` epochs.
    keep : callable, optional
        Called with a snapshot to resume from, once the run has ended by itself or by an interrupt
        between two steps, and before the best weights are restored.
    callbacks : sequence of callable
        Called with each epoch's record, as are those of
        :func:`narrows.training.progress.on_epoch`.

    Returns
    -------
    History

    Raises
    ------
    DivergedError
        If the loss is no longer finite.
    CheckpointError
        If the state to resume from is damaged, or of another run.
    KeyboardInterrupt
        If it comes before the first step, or before the end of a single pass at a constant rate;
        later it ends training, and what was learned is kept. Where several processes train
        together it ends them, and the checkpoint is what is kept.
    """
    device = settings.device
    source = near(source, device)
    optimizer = optimizer or new_optimizer(network, settings.learning_rate, settings.weight_decay)
    clipping = Clipping().to(device) if settings.clips else None
    noise = torch.Generator(device)
    # For a run that is resumed within an epoch on another device or in another process, where the
    # generator's state cannot be restored.
    noise.manual_seed(epoch_seed(settings.seed, settings.max_epochs, purpose("noise")))
    state = State(
        network,
        optimizer,
        {},
        History(),
        settings.seed,
        clipping,
        max_epochs=settings.max_epochs,
        noise=noise,
    )
    first: dict[str, Tensor] = {}
    if settings.beats_start:
        first = {k: v.clone() for k, v in network.state_dict().items()}
    if resume is not None:
        resume.go_on(state)
        if resume.max_epochs != settings.max_epochs and (resume.epoch or resume.step):
            state.history.plans.append(resume.plan)
    if checkpoint is not None:
        checkpoint.restore(state)
    history = state.history
    ranks.check_same("the checkpoint", f"epoch {len(history)}", CheckpointError)
    step_loss = shared(network, loss)
    steps_per_epoch = -(-len(source) // settings.batch_size)
    rate = (
        one_cycle(settings.learning_rate, settings.max_epochs * steps_per_epoch)
        if settings.cycle
        else constant(settings.learning_rate)
    )
    zero = torch.zeros((), device=device)
    elapsed = history["seconds"][-1] if len(history) else 0.0
    start = time.monotonic() - elapsed
    learning_rate = settings.learning_rate
    left: Snapshot | None = None
    products = rounded_products(device)
    keep_freed_memory()
    for starter in starters():
        starter(network)
    if settings.beats_start and history.start is None:
        rows, prefix = (source, "") if validation is None else (validation, "validation_")
        found = evaluate(network, loss, rows, prepare, settings)
        history.start = {"epoch": 0, **{f"{prefix}{k}": v for k, v in found.items()}}
        _check_finite(history.start, settings)

    try:
        while (epoch := len(history)) < settings.max_epochs:
            if _is_over(history, settings):
                history.ended = "early_stopping"
                break
            network.train()
            if not state.step:
                noise.manual_seed(epoch_seed(settings.seed, epoch, purpose("noise")))
            shuffling = epoch_seed(settings.seed, epoch, "shuffling")
            done, means = state.step, state.means
            batches = source.batches(
                settings.batch_size, seed=shuffling, rank=ranks.rank(), world_size=ranks.size()
            )
            for number, batch in enumerate(batches):
                learning_rate = rate(epoch * steps_per_epoch + number)
                learning_rate *= rescue.rate_share(history)
                if number < done:  # before the run was interrupted in this epoch
                    tell_step()
                    continue
                state.is_whole = False
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * group["share"]
                x = prepare(sent(batch, device))
                with products:
                    parts = step_loss(x, noise)
                optimizer.zero_grad(set_to_none=True)
                weighted(parts, zero, len(batch)).backward()  # type: ignore[no-untyped-call]
                if clipping is not None:
                    clipping.clip(network.parameters())
                optimizer.step()
                # Kept on the device until the epoch ends, so that no step waits for the host.
                means.add(parts, len(batch))
                state.step, state.is_whole = number + 1, True
                tell_step()

            record: Record = {"epoch": epoch + 1, **means.read()}
            if history.initial_loss is None:
                history.initial_loss = means.first()
            if validation is not None:
                held_out = evaluate(
                    network, loss, validation, prepare, settings, after_batch=tell_step
                )
                record |= {f"validation_{name}": value for name, value in held_out.items()}
            state.is_whole = False
            record |= {"learning_rate": learning_rate, "seconds": time.monotonic() - start}
            is_finite = all(map(math.isfinite, record.values()))
            if is_finite or not state.best:
                _check_finite(record, settings)
                history.epochs.append(record)
                history.best_epoch = epoch + 1 - _epochs_since_best(history)
                if history.best_epoch == epoch + 1:
                    state.best = {k: v.clone() for k, v in network.state_dict().items()}
            state.step, state.means = 0, Means()
            if settings.cycle and (not is_finite or rescue.has_collapsed(history)):
                history.restarts.append(len(history))
                if ranks.rank() == 0:
                    rescue.tell(history, epoch + 1, record["loss"])
                network.load_state_dict(state.best)
                optimizer.state.clear()
                if len(history.restarts) > rescue.MOST:
                    history.ended = "collapsed"
                    break
            state.is_whole = True
            if checkpoint is not None:
                checkpoint.write(state)
            told = (*listeners(), *callbacks) if ranks.rank() == 0 else ()
            for callback in (*told, *listeners_everywhere()):
                callback({**record, "max_epochs": settings.max_epochs})
        else:
            history.ended = "max_epochs"
    except KeyboardInterrupt:
        if ranks.size() > 1:
            raise
        if keep is not None and state.is_whole:
            left = Snapshot.of(state, lasting=True)
        if not len(history):
            means = state.means
            if not (settings.cycle and means):
                raise
            record = {"epoch": 1, **means.read(), "learning_rate": learning_rate}
            record["seconds"] = time.monotonic() - start
            _check_finite(record, settings)
            history.epochs.append(record)
            history.best_epoch = 1
        history.ended = "interrupted"
    else:
        if keep is not None:
            left = Snapshot.of(state, lasting=True)
    if keep is not None and left is not None and (left.epoch or left.step):
        keep(left)
    if state.best and (validation is not None or history.ended == "collapsed"):
        network.load_state_dict(state.best)
    elif len(history):
        history.best_epoch = len(history)
    network.eval()
    if first and validation is not None and history.best_epoch:
        learned = {k: v.clone() for k, v in network.state_dict().items()}
        after = _losses_of_parts(network, loss, validation, prepare, settings)
        network.load_state_dict(first)
        if _are_smaller(after, _losses_of_parts(network, loss, validation, prepare, settings)):
            network.load_state_dict(learned)
        else:
            history.best_epoch = 0
    if len(history):
        # The loss after the last step is not computed, so the weights themselves are checked: those
        # whose squares overflow give no finite codes.
        weights = {
            f"the sum of squares of {name}": float(weight.detach().square().sum())
            for name, weight in network.named_parameters()
        }
        _check_finite({"epoch": history.epochs[-1]["epoch"], **weights}, settings)
    return history


@torch.no_grad()
def evaluate(
    network: nn.Module,
    loss: LossFunction,
    source: Source,
    prepare: Callable[[Any], Any],
    settings: TrainSettings,
    *,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Average a loss's terms over a source, in evaluation mode; noise is the same every time."""
    network.eval()
    noise = torch.Generator(settings.device)
    means = Means()
    rank, size = ranks.rank(), ranks.size()
    # Processes take whole batches in turn, each evaluated as by a single process.
    with ranks.placed(0, 1):
        for number, batch in enumerate(source.batches(_EVALUATION_BATCH, seed=None)):
            is_own = number % size == rank
            if is_own or number == 0:  # every process needs the names of the terms
                noise.manual_seed(epoch_seed(settings.seed, number, "validation"))
                parts = loss(network, prepare(batch.to(settings.device)), noise)
                means.add(parts, len(batch) if is_own else 0)
            after_batch()
    return means.read()


@torch.no_grad()
def _losses_of_parts(
    network: nn.Module,
    loss: LossFunction,
    source: Source,
    prepare: Callable[[Any], Any],
    settings: TrainSettings,
) -> NDArray[np.float64]:
    """Return the loss of each of 64 or fewer parts of a source, with the same noise every time."""
    noise = torch.Generator(settings.device)
    losses = []
    with ranks.placed(0, 1):
        for number, batch in enumerate(source.batches(-(-len(source) // _PARTS), seed=None)):
            noise.manual_seed(epoch_seed(settings.seed, number, "comparison"))
            parts = loss(network, prepare(batch.to(settings.device)), noise)
            losses.append(sum(float(term) for term in parts.values()))
    return np.array(losses)


def _are_smaller(losses: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Tell whether losses are significantly smaller than others of the same parts.

    Their mean has to be smaller, and the paired differences, or the relative ones, have to pass a
    one-sided t test: a single row of a huge loss inflates the variance of the former.
    """
    gain = others - losses
    with np.errstate(invalid="ignore"):
        shares = np.nan_to_num(gain / (np.abs(others) + np.abs(losses)))
    least = float(student.ppf(1 - _CHANCE, len(gain) - 1)) / math.sqrt(len(gain))
    return gain.mean() > 0 and any(
        sample.mean() > least * sample.std(ddof=1) for sample in (gain, shares)
    )


def new_optimizer(
    network: nn.Module,
    learning_rate: float,
    weight_decay: float,
    shares: Mapping[nn.Module, float] | None = None,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, alg. 2), fused into one pass.

    Only matrices decay: a shrinking bias would pull the mean reconstruction off the data's mean.
    With ``shares``, each module learns at its share of the learning rate.
    """
    groups = []
    for module, share in (shares or {network: 1.0}).items():
        parameters = list(module.parameters())
        for decay, of_it in (
            (weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            groups.append({"params": of_it, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def keep_freed_memory() -> None:
    """Let the C library keep the memory that each step frees for the next one.

    glibc returns large blocks to the system, which has to clear each page when they are allocated
    again. Freeing a block raises the size from which it does so to that block's, up to 32 MiB. The
    block freed here is never written to, so that it takes no memory.
    """
    torch.empty(_BLOCK, dtype=torch.uint8)


def epoch_seed(seed: int, epoch: int, purpose: str) -> int:
    """Mix a run's seed, an epoch's number and a purpose into a seed of their own."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _epochs_since_best(history: History) -> int:
    """Count the epochs since the smallest held-out loss, or loss where no rows are held out."""
    name = "validation_loss" if "validation_loss" in history.columns else "loss"
    losses = [record[name] for record in history.epochs if name in record]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def _is_over(history: History, settings: TrainSettings) -> bool:
    """Tell whether the held-out loss has ceased to fall.

    While the learning rate is high, the noise of the steps hides what the weights have learned;
    only epochs after it has fallen below half its peak count.
    """
    if settings.n_iter_no_change is None or "validation_loss" not in history.columns:
        return False
    half = settings.learning_rate * rescue.rate_share(history) / 2
    begun = max([0, *history.restarts, *(plan["epoch"] for plan in history.plans)])
    since = history.epochs[begun:]
    settled = sum(1 for _ in takewhile(lambda r: r["learning_rate"] < half, since[::-1]))
    return min(_epochs_since_best(history), settled) >= settings.n_iter_no_change


def _check_finite(record: Record, settings: TrainSettings) -> None:
    for name, value in record.items():
        if math.isfinite(value):
            continue
        if name.startswith("validation_"):
            raise DataError(
                f"{name} is {value} in epoch {record['epoch']:.0f} although the loss on the rows "
                "learned from is finite: some of the held-out rows are far from all others; remove "
                "such outliers, or hold none out (early_stopping=False)"
            )
        raise DivergedError(
            f"training diverged in epoch {record['epoch']:.0f}: {name} is {value} at "
            f"learning_rate={settings.learning_rate:g}; lower learning_rate, or scale the data"
        )
