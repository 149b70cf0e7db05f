"""The training loop, a flat function to be read from top to bottom, and what it decides by.

These are the learning rate of each step, the optimiser, the device, early stopping, Ctrl-C, the
return to the best weights after training has collapsed, and the test by which learned weights
replace the first ones.
"""

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, takewhile
from statistics import median
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor, nn

from narrows import ranks
from narrows.data.batches import ArraySource, Batch, Source
from narrows.errors import CheckpointError, DataError, DivergedError, ParameterError, warn
from narrows.losses import Loss
from narrows.networks.pca_residual import Residual
from narrows.training.history import History, Record
from narrows.training.progress import Callback, call_on_epoch, call_on_start, on_step
from narrows.training.state import Checkpoint, Clipping, Means, Snapshot, State

# AdamW's memories of gradients and of their squares, as in Kingma & Ba (2015).
_BETA1, BETA2 = 0.9, 0.999
# From the network, a batch on its device and a generator for noise, to the terms of the loss.
LossFunction = Callable[[Any, Any, torch.Generator], Loss]

# A little below the largest block for which glibc raises its thresholds, 32 MiB.
_BLOCK = (1 << 25) - (1 << 16)
# The share of a GPU's free memory that rows may take; the rest is for the network and its steps.
_SHARE_FOR_ROWS = 1 / 2
# The number of rows in a batch where only the forward pass is computed.
_EVALUATION_BATCH = 1024
# Learned weights must be better than the first ones by two paired t tests at the first significance
# level, about two standard errors, or by one at the second; and the number of parts of the held-out
# rows that they compare.
_LIKELY, _SURE, _PARTS = 0.02, 1e-3, 64
# The share of the steps in which the learning rate rises, and the share of its peak that it has at
# the first step.
_WARMUP, _START = 0.1, 0.04
# How often a run that has collapsed goes back to its best weights before it ends at them, and the
# share of the learning rate with which it goes on, each time.
_MOST_RESTARTS, _RESTART_SHARE = 2, 1 / 3
# A run has collapsed when so many epochs in a row have lost so many times as much as the loss
# usually changes from epoch to epoch.
_COLLAPSED_EPOCHS, _COLLAPSED_TIMES = 2, 5.0


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The length, the steps and the device of a training run.

    Attributes
    ----------
    max_epochs : int
        Passes over the data.
    batch_size : int
        Rows a step.
    learning_rate : float
        The peak of the learning rate.
    weight_decay : float
        The share of each matrix, times the learning rate, that a step takes away.
    n_iter_no_change : int or None
        Epochs without a better validation loss before training stops; ``None`` never stops.
    seed : int
        The random seed of shuffling and noise.
    device : torch.device
        The device of the network.
    cycle : bool
        Whether the learning rate follows one cycle over all epochs or stays constant.
    beats_start : bool
        Whether the first weights are kept unless the learned ones are significantly better on the
        held-out rows.
    starts_at_input : bool
        Whether the first weights return each row as it is, so that the first loss is that of the
        damage, and no mean row's.
    clips : bool
        Whether gradients of a norm far above the usual one are scaled down.
    turns : bool
        Whether each batch of square pictures is mirrored and turned at random.
    beta2 : float
        AdamW's memory of squared gradients.
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
    starts_at_input: bool = False
    clips: bool = False
    turns: bool = False
    beta2: float = BETA2


@contextmanager
def _whole_steps() -> Iterator[None]:
    """Delay KeyboardInterrupt to the end of a step while the block runs; a second one is immediate.

    Outside the main thread, and where the handler of SIGINT is not Python's own, nothing is done;
    the command line has a handler of its own.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    is_received = is_raised = False

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal is_received, is_raised
        if is_received:
            is_raised = True
            signal.default_int_handler(number, frame)
        is_received = True

    def check() -> None:
        nonlocal is_raised
        if is_received and not is_raised:
            is_raised = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, receive)
    try:
        with on_step(check):
            yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    check()  # for a signal after the last step


@_whole_steps()
def train(  # noqa: PLR0912, PLR0915 (flat on purpose: it reads top to bottom)
    network: nn.Module,
    loss: LossFunction,
    source: Source,
    *,
    settings: TrainSettings,
    validation: Source | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    checkpoint: Checkpoint | None = None,
    resume: Snapshot | None = None,
    on_end: Callable[[Snapshot], None] | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Minimise a loss over the weights of a network, in place.

    Parameters
    ----------
    network : Module
        On ``settings.device``; trained in place, and left with its best weights.
    loss : callable
        From the network, a batch as the source gives it, on the network's device, and a generator
        for noise, to its terms.
    source : Source
        The rows to learn from.
    settings : TrainSettings
        The length, the steps and the device of the run.
    validation : Source, optional
        Rows held out; the weights with the smallest loss on them are kept.
    optimizer : Optimizer, optional
        The optimiser to continue with; a new AdamW by default.
    checkpoint : Checkpoint, optional
        The file from which the run is resumed, and to which its state is written after epochs.
    resume : Snapshot, optional
        The state to resume from, in the middle of an epoch or after the last one that was planned.
        Where ``max_epochs`` differs from the plan, the learning rate is from there on that of a
        cycle over ``max_epochs`` epochs.
    on_end : callable, optional
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
        If Ctrl-C comes before the first step, or before the end of a single pass at a constant
        learning rate; later it ends training, and what was learned is kept. Where several processes
        train together it ends them, and the checkpoint is kept.
    """
    device, rank, world_size = settings.device, ranks.place.rank, ranks.place.size
    source = to_device_if_it_fits(source, device)
    optimizer = optimizer or new_optimizer(
        network, settings.learning_rate, settings.weight_decay, beta2=settings.beta2
    )
    clipping = Clipping().to(device) if settings.clips else None
    noise = torch.Generator(device)
    # This seed serves runs that are resumed within an epoch on another device or in another
    # process, where the generator's state cannot be restored.
    noise.manual_seed(epoch_seed(settings.seed, settings.max_epochs, _of_process("noise", rank)))
    state = State(network, optimizer, {}, History(), settings.seed, clipping)
    state.max_epochs, state.noise = settings.max_epochs, noise
    first = _copied_weights(network) if settings.beats_start else {}
    if resume is not None:
        resume.restore_saved(state)
        if resume.max_epochs != settings.max_epochs and (resume.epoch or resume.step):
            state.history.plans.append(resume.epoch_plan)
    if checkpoint is not None:
        checkpoint.restore(state)
    history, epochs = state.history, state.history.epochs
    if world_size > 1:
        ranks.check_same("the checkpoint", f"epoch {len(epochs)}", CheckpointError)
    step_loss = _step_loss(network, loss, world_size)
    steps_per_epoch = -(-len(source) // settings.batch_size)
    cycle = one_cycle(settings.learning_rate, settings.max_epochs * steps_per_epoch)
    rate = cycle if settings.cycle else lambda _step: settings.learning_rate
    zero = torch.zeros((), device=device)
    elapsed = epochs[-1]["seconds"] if epochs else 0.0
    start = time.monotonic() - elapsed
    learning_rate = settings.learning_rate
    left: Snapshot | None = None
    products = rounded_products(device)
    keep_freed_memory()
    after_step = call_on_start(network)
    if settings.beats_start and history.start is None:
        rows, prefix = (source, "") if validation is None else (validation, "validation_")
        start_terms = evaluate(network, loss, rows, settings)
        history.start = {"epoch": 0, **{f"{prefix}{k}": v for k, v in start_terms.items()}}
        _check_finite(history.start, settings)

    try:
        while (epoch := len(epochs)) < settings.max_epochs:
            if _is_over(history, settings):
                history.ended = "early_stopping"
                break
            network.train()
            if not state.step:
                noise.manual_seed(epoch_seed(settings.seed, epoch, _of_process("noise", rank)))
            shuffling = epoch_seed(settings.seed, epoch, "shuffling")
            done, means = state.step, state.means
            batches = source.batches(
                settings.batch_size, seed=shuffling, rank=rank, world_size=world_size
            )
            for number, batch in enumerate(batches):
                learning_rate = rate(epoch * steps_per_epoch + number) * _rate_share(history)
                if number < done:  # before the run was interrupted in this epoch
                    for call in after_step:
                        call()
                    continue
                state.is_whole = False
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * group["share"]
                with products:
                    terms = step_loss(to_device(batch, device), noise)
                total = sum(terms.values(), start=zero)
                if world_size > 1:  # DistributedDataParallel averages over the processes
                    total = total * (len(batch) * world_size / ranks.total(len(batch)))
                optimizer.zero_grad(set_to_none=True)
                total.backward()  # type: ignore[no-untyped-call]
                if clipping is not None:
                    clipping.clip(network.parameters())
                optimizer.step()
                # Kept on the device until the epoch ends, so that no step waits for the host.
                means.add(terms, len(batch))
                state.step, state.is_whole = number + 1, True
                for call in after_step:
                    call()

            record: Record = {"epoch": epoch + 1, **means.read()}
            if history.initial_loss is None:
                history.initial_loss = means.first()
            if validation is not None:
                held_out = evaluate(network, loss, validation, settings, after_batch=after_step)
                record |= {f"validation_{name}": value for name, value in held_out.items()}
            state.is_whole = False
            record |= {"learning_rate": learning_rate, "seconds": time.monotonic() - start}
            is_finite = all(map(math.isfinite, record.values()))
            if is_finite or not state.best:
                _check_finite(record, settings)
                epochs.append(record)
                history.best_epoch = epoch + 1 - _epochs_since_best(history)
                if history.best_epoch == epoch + 1:
                    state.best = _copied_weights(network)
            state.step, state.means = 0, Means()
            if settings.cycle and (
                not is_finite or has_collapsed(history, at_input=settings.starts_at_input)
            ):
                history.restarts.append(len(epochs))
                if rank == 0:
                    _warn_of_collapse(history, epoch + 1, record["loss"])
                network.load_state_dict(state.best)
                optimizer.state.clear()
                if len(history.restarts) > _MOST_RESTARTS:
                    history.ended = "collapsed"
                    break
            state.is_whole = True
            if checkpoint is not None:
                checkpoint.write(state)
            call_on_epoch({**record, "max_epochs": settings.max_epochs}, callbacks)
        else:
            history.ended = "max_epochs"
    except KeyboardInterrupt:
        if world_size > 1:
            raise
        if on_end is not None and state.is_whole:
            left = Snapshot.of(state, lasting=True)
        if not epochs:
            means = state.means
            if not (settings.cycle and means):
                raise
            record = {"epoch": 1, **means.read(), "learning_rate": learning_rate}
            record["seconds"] = time.monotonic() - start
            _check_finite(record, settings)
            epochs.append(record)
            history.best_epoch = 1
        history.ended = "interrupted"
    else:
        if on_end is not None:
            left = Snapshot.of(state, lasting=True)
    if on_end is not None and left is not None and (left.epoch or left.step):
        on_end(left)
    if state.best and (validation is not None or history.ended == "collapsed"):
        network.load_state_dict(state.best)
    elif epochs:
        history.best_epoch = len(epochs)
    network.eval()
    if first and validation is not None and history.best_epoch:
        learned = _copied_weights(network)
        after = _losses_of_parts(network, loss, validation, settings)
        network.load_state_dict(first)
        if _are_smaller(after, _losses_of_parts(network, loss, validation, settings)):
            network.load_state_dict(learned)
        else:
            history.best_epoch = 0
    if epochs:
        # The loss after the last step is not computed. The weights themselves are checked instead:
        # those whose squares overflow give no finite codes.
        weights = {
            f"the sum of squares of {name}": float(weight.detach().square().sum())
            for name, weight in network.named_parameters()
        }
        _check_finite({"epoch": epochs[-1]["epoch"], **weights}, settings)
    return history


@torch.no_grad()
def evaluate(
    network: nn.Module,
    loss: LossFunction,
    source: Source,
    settings: TrainSettings,
    *,
    after_batch: Sequence[Callable[[], None]] = (),
) -> dict[str, float]:
    """Average a loss's terms over rows, in evaluation mode, with the same noise every time."""
    network.eval()
    noise = torch.Generator(settings.device)
    means = Means()
    rank, size = ranks.place.rank, ranks.place.size
    # Processes take whole batches in turn, each evaluated as by a single process.
    with ranks.placed(0, 1):
        for number, batch in enumerate(source.batches(_EVALUATION_BATCH, seed=None)):
            is_own = number % size == rank
            if is_own or number == 0:  # every process needs the names of the terms
                noise.manual_seed(epoch_seed(settings.seed, number, "validation"))
                terms = loss(network, batch.to(settings.device), noise)
                means.add(terms, len(batch) if is_own else 0)
            for call in after_batch:
                call()
    return means.read()


@torch.no_grad()
def _losses_of_parts(
    network: nn.Module,
    loss: LossFunction,
    source: Source,
    settings: TrainSettings,
) -> NDArray[np.float64]:
    """Return the loss of each of at most 64 parts of the rows, with the same noise every time."""
    noise = torch.Generator(settings.device)
    losses = []
    with ranks.placed(0, 1):
        for number, batch in enumerate(source.batches(-(-len(source) // _PARTS), seed=None)):
            noise.manual_seed(epoch_seed(settings.seed, number, "comparison"))
            terms = loss(network, batch.to(settings.device), noise)
            losses.append(sum(float(term) for term in terms.values()))
    return np.array(losses)


def _are_smaller(losses: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Return whether losses are significantly smaller than others of the same parts.

    Their mean has to be smaller. One-sided t tests look at the paired differences and at the
    relative ones: a single row of a huge loss inflates the variance of the former.
    """
    gain = others - losses
    with np.errstate(invalid="ignore"):
        shares = np.nan_to_num(gain / (np.abs(others) + np.abs(losses)))
    root, freedom = math.sqrt(len(gain)), len(gain) - 1

    def passed(sample: NDArray[np.float64], level: float) -> bool:
        least = float(student.ppf(1 - level, freedom)) / root
        return bool(sample.mean() > least * sample.std(ddof=1))

    both = passed(gain, _LIKELY) and passed(shares, _LIKELY)
    return bool(gain.mean() > 0) and (both or passed(gain, _SURE) or passed(shares, _SURE))


def one_cycle(peak: float, n_steps: int) -> Callable[[int], float]:
    """Return the learning rate of each step: rising, then falling to zero along a cosine.

    Smith & Topin (2018), "Super-convergence": one cycle, up and then down, reaches in a few epochs
    what a constant rate reaches in many. It rises along a line over the first tenth of the steps.

    Parameters
    ----------
    peak : float
        The highest learning rate.
    n_steps : int
        The planned number of steps.

    Returns
    -------
    callable
        From the step's number, 0 .. n_steps - 1, to its learning rate.

    Examples
    --------
    >>> rate = one_cycle(1.0, 100)
    >>> round(rate(0), 2), round(rate(10), 2), round(rate(99), 2)
    (0.04, 1.0, 0.0)
    """
    warmup = max(1, round(_WARMUP * n_steps))

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (_START + (1 - _START) * step / warmup)
        share = (step - warmup) / max(1, n_steps - warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    return rate


def new_optimizer(
    network: nn.Module,
    learning_rate: float,
    weight_decay: float,
    shares: Mapping[nn.Module, float] | None = None,
    *,
    beta2: float = BETA2,
) -> torch.optim.Optimizer:
    """Make AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, alg. 2), fused.

    Only matrices decay: a shrinking bias would pull the mean reconstruction off the data's mean,
    and linear maps beside networks that add to them would leave PCA. With ``shares``, each module
    learns at its share of the learning rate.
    """
    groups = []
    for module, share in (shares or {network: 1.0}).items():
        parameters = list(module.parameters())
        kept = {id(part.linear.weight) for part in module.modules() if isinstance(part, Residual)}
        for decays in (True, False):
            of_kind = [p for p in parameters if (p.ndim > 1 and id(p) not in kept) == decays]
            decay = weight_decay if decays else 0.0
            groups.append({"params": of_kind, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(_BETA1, beta2), fused=True)


def choose_device(name: str) -> torch.device:
    """Find the device that a user named.

    Parameters
    ----------
    name : str
        "auto" (a GPU where there is one, otherwise the CPU), or what torch calls a device:
        "cpu", "cuda", "cuda:1", "mps".

    Raises
    ------
    ParameterError
        If there is no such device here.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.ones(1, device=device).cpu()  # "meta" is a device that holds no numbers
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ParameterError(
            f"device={name!r} is not available here; use 'auto', 'cpu' or a GPU that torch sees"
        ) from error
    return device


def to_device_if_it_fits(source: Source, device: torch.device) -> Source:
    """Move rows in memory to a GPU that has room for them, so that steps wait for no copy."""
    if device.type != "cuda" or not isinstance(source, ArraySource):
        return source
    free, _ = torch.cuda.mem_get_info(device)
    return source.to(device) if source.n_bytes <= free * _SHARE_FOR_ROWS else source


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to the network's device; a GPU copies pinned memory while the CPU goes on."""
    if device.type == "cuda" and batch.device.type == "cpu":
        batch = batch.pin_memory()
    return batch.to(device, non_blocking=True)


def rounded_products(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a GPU multiplies in bfloat16 if it can, and sums in float32."""
    if device.type != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def keep_freed_memory() -> None:
    """Let the C library keep the memory that each step frees for the next one.

    glibc returns large blocks to the system, which has to clear each page when they are allocated
    again. Freeing a block raises the size from which it does so to that block's, up to 32 MiB. The
    block freed here is never written to, so that it takes no memory.
    """
    torch.empty(_BLOCK, dtype=torch.uint8)


def epoch_seed(seed: int, epoch: int, purpose: str) -> int:
    """Derive a random seed from a run's seed, an epoch's number and a purpose."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class _StepLoss(nn.Module):
    """A loss as the forward pass of a module, which DistributedDataParallel needs."""

    def __init__(self, network: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(self, x: Any, noise: torch.Generator) -> Loss:
        """Return the terms of a batch."""
        return self.loss(self.network, x, noise)


def _step_loss(
    network: nn.Module, loss: LossFunction, world_size: int
) -> Callable[[Any, torch.Generator], Loss]:
    """Return the loss of a batch, whose gradients are summed over all processes.

    All processes start from the weights of the first one. Buffers are not sent around: what enters
    them is summed over all processes.
    """
    if world_size == 1:
        return partial(loss, network)
    distributed: Callable[[Any, torch.Generator], Loss] = nn.parallel.DistributedDataParallel(
        _StepLoss(network, loss), forward_sync_buffers=False
    )
    return distributed


def _of_process(purpose: str, rank: int) -> str:
    """Name random numbers of a process; the first one's are those of a single process."""
    return f"{purpose}/{rank}" if rank else purpose


def _copied_weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _rate_share(history: History) -> float:
    """Return the share of the planned learning rate at which a run that went back goes on."""
    return _RESTART_SHARE ** len(history.restarts)


def has_collapsed(history: History, *, at_input: bool = False) -> bool:
    """Return whether training has collapsed since it last went back to its best weights.

    It has when it has lost more than half of all that it gained: its loss is nearer to that of its
    first step, at which a decoder gives the mean row, than to its own best. Networks that start at
    PCA, or at their input (``at_input``), have to lose as much as the first loss.

    Examples
    --------
    >>> def run(*losses):
    ...     return History([{"epoch": i + 1, "loss": x} for i, x in enumerate(losses)],
    ...                    initial_loss=9000)
    >>> has_collapsed(run(600, 250, 180, 170)), has_collapsed(run(600, 250, 180, 8700, 8800))
    (False, True)
    >>> from_pca = run(0.0264, 0.0257, 0.0261, 0.0274, 0.0282, 0.0282)
    >>> from_pca.initial_loss, from_pca.start = 0.0252, {"epoch": 0, "validation_loss": 0.0251}
    >>> has_collapsed(from_pca)
    False
    >>> of_few_pictures = run(3.4, 2.1, 3.3, 3.4)
    >>> of_few_pictures.initial_loss = 3.5
    >>> has_collapsed(of_few_pictures, at_input=True)
    False
    """
    losses, first = [record["loss"] for record in history.epochs], history.initial_loss
    since = len(losses) - (history.restarts[-1] if history.restarts else 0)
    if first is None or len(losses) < _COLLAPSED_EPOCHS + 2 or since < _COLLAPSED_EPOCHS:
        return False
    before, late = losses[:-_COLLAPSED_EPOCHS], losses[-_COLLAPSED_EPOCHS:]
    best = min(before)
    if first <= best:  # nothing was gained that could be lost
        return False
    usual = median(abs(b - a) for a, b in pairwise(before))
    # The first step of such a network is no mean row: it has little to gain or lose.
    own = abs(first) if at_input or history.start is not None else 0.0
    least = max((first - best) / 2, _COLLAPSED_TIMES * usual, own)
    return all(loss - best > least for loss in late)


def _warn_of_collapse(history: History, epoch: int, loss: float) -> None:
    """Warn that a run goes back to its best weights, or ends at them."""
    times = len(history.restarts)
    best = f"the weights of epoch {history.best_epoch}"
    what = f"its loss was {loss:.5g}" if math.isfinite(loss) else "its loss left the finite numbers"
    if times > _MOST_RESTARTS:
        message = f"training collapsed in epoch {epoch} once more ({what}); {best} are kept"
    else:
        message = (
            f"training collapsed in epoch {epoch} ({what}); it goes on from {best} at a learning "
            f"rate {1 / _RESTART_SHARE**times:.0f} times lower"
        )
    warn(
        f"{message}; lower learning_rate to avoid it",
        kind="training_collapsed",
        stacklevel=4,
        epoch=epoch,
        restarts=min(times, _MOST_RESTARTS),
    )


def _epochs_since_best(history: History) -> int:
    """Count the epochs since the smallest held-out loss, or loss where no rows are held out."""
    name = "validation_loss" if "validation_loss" in history.columns else "loss"
    losses = [record[name] for record in history.epochs if name in record]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def _is_over(history: History, settings: TrainSettings) -> bool:
    """Return whether the held-out loss has ceased to fall.

    While the learning rate is high, the noise of the steps hides what the weights have learned;
    only epochs after it has fallen below half its peak count.
    """
    is_validated = any("validation_loss" in record for record in history.epochs)
    if settings.n_iter_no_change is None or not is_validated:
        return False
    half = settings.learning_rate * _rate_share(history) / 2
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
