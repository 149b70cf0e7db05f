"""The state of a training run between two steps, and the checkpoint that keeps it on disk.

Each epoch's generators are seeded by the run's seed and the epoch's number. Of all random numbers,
only the state of the generator of noise within an epoch therefore has to be kept.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from narrows import ranks
from narrows.atomic import atomic_file, check_output, explain_os_errors
from narrows.errors import CheckpointError
from narrows.losses import Loss
from narrows.training.history import History, Record

# The exceptions that reading a damaged state may raise.
DAMAGES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError,
    SafetensorError, TypeError, ValueError,
)  # fmt: skip

_LAYER = "layer/"
# Gradients may be this many times as long as usual. A step keeps this share of the usual norm. The
# first steps only measure it.
_TIMES, _MEMORY, _FIRST_STEPS = 5.0, 0.98, 20
# The largest share of training time that is spent on writing checkpoints.
_COST = 0.05


class Means:
    """Means over rows of a loss's terms, read from the device once an epoch.

    Only sums are kept: a small tensor per step between the large blocks that steps allocate and
    free would fragment the heap, which would grow with the number of steps.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._first: list[Tensor] = []
        self._rows = 0

    def __bool__(self) -> bool:
        return self._rows > 0

    def add(self, terms: Loss, rows: int) -> None:
        """Add the terms of a batch of ``rows`` rows, which stay on their device."""
        if not self._first:
            self._first = [term.detach().double() for term in terms.values()]
        for name, term in terms.items():
            if name not in self._sums:
                self._sums[name] = _as_sum(0.0, term.device)
            self._sums[name].add_(term.detach(), alpha=rows)
        self._rows += rows

    def first(self) -> float:
        """Return the loss of the first batch that was added."""
        return sum(float(ranks.add(term)) for term in self._first) / ranks.place.size

    def read(self) -> Record:
        """Return the loss and its terms, of the rows of all processes."""
        rows = ranks.total(self._rows)
        means = {name: float(ranks.add(total)) / rows for name, total in self._sums.items()}
        return {"loss": sum(means.values()), **means}

    def as_json(self) -> dict[str, Any]:
        """Return the sums in JSON types, for :meth:`from_json`."""
        sums = {name: float(total) for name, total in self._sums.items()}
        return {"rows": self._rows, "sums": sums, "first": [float(term) for term in self._first]}

    @classmethod
    def from_json(cls, facts: dict[str, Any], device: torch.device) -> Self:
        """Restore the means; of several processes, the first one gets all that was added.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the facts are not those of means.
        """
        rows, sums, first = facts["rows"], dict(facts["sums"]), list(facts["first"])
        if type(rows) is not int or not 0 <= rows < 2**63:
            raise ValueError(f"its number of rows of an epoch is {rows!r}")
        share = int(ranks.place.rank == 0)
        means = cls()
        means._rows = rows * share
        means._sums = {str(k): _as_sum(float(v) * share, device) for k, v in sums.items()}
        means._first = [_as_sum(float(term), device) for term in first]
        return means


def _as_sum(value: float, device: torch.device) -> Tensor:
    kind = torch.float32 if device.type == "mps" else torch.float64
    return torch.tensor(value, dtype=kind, device=device)


class Clipping(nn.Module):
    """Scales gradients down to a norm that follows the run.

    Pascanu, Mikolov & Bengio (2013), "On the difficulty of training recurrent neural networks",
    alg. 1, scale gradients down to a fixed norm. Here the bound is a multiple of the usual norm at
    this stage of the run, which is the exponential moving average of its logarithm. The bound needs
    no tuning, and leaves ordinary steps alone.

    It is a module of buffers, which a checkpoint keeps.
    """

    usual: Tensor
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("usual", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def clip(self, parameters: Iterable[nn.Parameter]) -> None:
        """Scale down gradients that are far longer than usual; nothing is read off the device."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        counted = self.steps.clamp(min=1)
        usual = self.usual / (1 - _MEMORY**counted)  # without the bias of its start at zero
        bound = torch.where(self.steps < _FIRST_STEPS, torch.inf, _TIMES * usual.exp())
        torch._foreach_mul_(gradients, (bound / norm).clamp(max=1))
        seen = torch.minimum(norm, bound).clamp(min=torch.finfo(norm.dtype).tiny).log()
        self.usual.lerp_(seen.to(self.usual), 1 - _MEMORY)
        self.steps += 1


@dataclass
class State:
    """A training run between two steps.

    Attributes
    ----------
    network : Module
        The network with its present weights.
    optimizer : Optimizer
        The optimiser with its moments.
    best : dict of Tensor
        The best weights so far; empty before the end of the first epoch.
    history : History
        The history of the finished epochs.
    seed : int
        The run's random seed.
    clipping : Clipping or None
        The clipping, which holds the moving average of the gradients' norm.
    max_epochs : int
        The planned number of epochs.
    step : int
        Steps done in the epoch that follows those of the history.
    means : Means
        The means of the losses of these steps.
    noise : torch.Generator or None
        The generator of noise in this epoch.
    is_whole : bool
        Whether the run is between two steps; within a step, no snapshot can be taken.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor]
    history: History
    seed: int
    clipping: Clipping | None = None
    max_epochs: int = 0
    step: int = 0
    means: Means = field(default_factory=Means)
    noise: torch.Generator | None = None
    is_whole: bool = True


@dataclass(frozen=True)
class Snapshot:
    """A state as tensors and facts in JSON types.

    Attributes
    ----------
    tensors : dict of str to Tensor
        The weights ("network."), the best ones ("best."), the moments of the optimiser
        ("optimizer.i."), the usual norm of gradients ("clipping.") and, within an epoch, the state
        of the noise's generator ("noise"). Names of tensors of the layer of a stack that is being
        trained begin with "layer/".
    facts : dict
        The seed, the history, the planned epochs and, within an epoch, the steps done.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @classmethod
    def of(cls, state: State, *, lasting: bool = False) -> Self:
        """Describe a state.

        Parameters
        ----------
        state : State
            Between two steps.
        lasting : bool, default=False
            Whether the snapshot is to outlive the run: tensors are moved to the CPU, and the
            weights are copied, since the best ones are about to replace them. Moments are not.
        """
        moments = state.optimizer.state_dict()["state"]
        tensors = {f"network.{k}": v for k, v in _untied(state.network).items()}
        tensors |= {f"best.{k}": v for k, v in state.best.items()}
        if state.clipping is not None:
            tensors |= {f"clipping.{k}": v for k, v in state.clipping.state_dict().items()}
        tensors |= {f"optimizer.{i}.{k}": v for i, m in moments.items() for k, v in m.items()}
        facts: dict[str, Any] = {
            "seed": state.seed,
            "n_optimized": len(moments),
            "history": state.history.as_json(),
            "max_epochs": state.max_epochs,
        }
        if state.step and state.noise is not None:
            tensors["noise"] = state.noise.get_state()
            at = {"step": state.step, "device": state.noise.device.type}
            facts["epoch"] = {**at, **state.means.as_json()}
        if lasting:
            tensors = {
                name: t.detach().to("cpu", copy=name.startswith("network."))
                for name, t in tensors.items()
            }
            facts = json.loads(json.dumps(facts))
            pairs = [(tensors[f"best.{k}"], tensors[f"network.{k}"]) for k in state.best]
            # A list, so that the number of comparisons does not depend on their results.
            if pairs and all([torch.equal(best, last) for best, last in pairs]):  # noqa: C419
                tensors = {k: t for k, t in tensors.items() if not k.startswith("best.")}
                facts["best_is_last"] = True
        return cls(tensors, facts)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.facts["seed"])

    @property
    def max_epochs(self) -> int:
        """The epochs that were planned."""
        return int(self.facts["max_epochs"])

    @property
    def epoch(self) -> int:
        """The epochs done."""
        return len(self.facts["history"]["epochs"])

    @property
    def step(self) -> int:
        """The steps done in the epoch that follows."""
        return int(self.facts.get("epoch", {}).get("step", 0))

    @property
    def epoch_plan(self) -> dict[str, int]:
        """The record of the planned epochs for a history, where they are replaced at this state."""
        return {"epoch": self.epoch, "step": self.step, "max_epochs": self.max_epochs}

    @property
    def layer(self) -> "Snapshot | None":
        """The state of the layer of a stack that is being trained; None outside of one."""
        if "layer" not in self.facts:
            return None
        return Snapshot(_part(self.tensors, _LAYER), self.facts["layer"])

    def with_layer(self, layer: "Snapshot") -> "Snapshot":
        """Return the state of a stack together with that of the layer that is being trained."""
        own = {f"{_LAYER}{name}": tensor for name, tensor in layer.tensors.items()}
        return Snapshot({**self.tensors, **own}, {**self.facts, "layer": layer.facts})

    def with_facts(self, **facts: Any) -> "Snapshot":
        """Return the same state with more facts about its run."""
        return Snapshot(self.tensors, {**self.facts, **facts})

    def restore(self, state: State) -> None:
        """Bring a run to this state.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the tensors or facts are not those of such a run, which then stays as it is.
        """
        history = History.from_json(json.loads(json.dumps(self.facts["history"])))
        weights, own = state.network.state_dict(), _part(self.tensors, "network.")
        best = own if self.facts.get("best_is_last") is True else _part(self.tensors, "best.")
        _check_shapes(best, weights if len(history) else {})
        moments = state.optimizer.state_dict()
        moments["state"] = {}
        optimized = [p for group in state.optimizer.param_groups for p in group["params"]]
        if self.facts["n_optimized"] > len(optimized):
            raise ValueError(f"its n_optimized is {self.facts['n_optimized']!r}")
        for i, parameter in enumerate(optimized[: self.facts["n_optimized"]]):
            moments["state"][i] = _part(self.tensors, f"optimizer.{i}.")
            like = {"step": torch.empty(()), "exp_avg": parameter, "exp_avg_sq": parameter}
            _check_shapes(moments["state"][i], like)
        _check_shapes(own, weights)
        usual = {} if state.clipping is None else state.clipping.state_dict()
        _check_shapes(_part(self.tensors, "clipping."), usual)
        device = next(iter(weights.values())).device
        step, means = 0, Means()
        if "epoch" in self.facts:
            step, means = self._within(device, state)
        state.network.load_state_dict(own)
        state.optimizer.load_state_dict(deepcopy(moments))  # which steps change in place
        if state.clipping is not None:
            state.clipping.load_state_dict(_part(self.tensors, "clipping."))
        state.best = {name: tensor.to(device, copy=True) for name, tensor in best.items()}
        state.history, state.step, state.means = history, step, means
        history.ended = "running"

    def restore_saved(self, state: State) -> None:
        """Bring a run to this state, which was saved with a model.

        Raises
        ------
        CheckpointError
            If it is not the state of such a run.
        """
        what = "the model's training state is not that of such a run"
        with _explain_damage(what, "train anew, without --resume"):
            self.restore(state)

    def _within(self, device: torch.device, state: State) -> tuple[int, Means]:
        """Return the steps done in the epoch and their means; restore the generator of noise."""
        facts = self.facts["epoch"]
        step = facts["step"]
        if type(step) is not int or not 0 < step < 2**63:
            raise ValueError(f"its step is {step!r}")
        means = Means.from_json(facts, device)
        noise = self.tensors["noise"]
        # The generator of another device, or of a process other than the first, has another state.
        if state.noise is not None and facts["device"] == device.type and ranks.place.rank == 0:
            try:
                state.noise.set_state(noise.cpu())
            except RuntimeError as error:
                raise ValueError("its generator's state is of another kind") from error
        return step, means

    def to_bytes(self) -> bytes:
        """Return the contents of a safetensors file, with the facts in its header."""
        contents = {name: t.detach().cpu().contiguous() for name, t in self.tensors.items()}
        return save(contents, metadata={"narrows": json.dumps(self.facts)})

    @classmethod
    def from_bytes(cls, contents: bytes) -> Self:
        """Read a snapshot from what :meth:`to_bytes` returned.

        Raises
        ------
        SafetensorError, KeyError, TypeError, ValueError, RecursionError
            If the contents are not those of a snapshot.
        """
        tensors = load(contents)
        size = int.from_bytes(contents[:8], "little")
        header = json.loads(contents[8 : 8 + size])
        return cls(tensors, checked(json.loads(header["__metadata__"]["narrows"])))


class Checkpoint:
    """A file that holds the state of one run after its last finished epoch.

    It is one safetensors file, so that a single rename replaces it: weights, best weights and
    optimiser as tensors, the rest as JSON in its header.

    Parameters
    ----------
    path : str or Path
        The file; it need not exist.
    identity : str
        The name of the run, made of its data and settings. The file of another run is refused.
    """

    def __init__(self, path: str | Path, identity: str) -> None:
        self.path = Path(path)
        self.identity = identity
        self._due = 0.0

    def seed(self) -> int | None:
        """Return the seed of the run in the file, or ``None`` where there is no file."""
        return int(self._facts()["seed"]) if self._is_there() else None

    def restore(self, state: State) -> None:
        """Bring a run to the state in the file, if there is one.

        Raises
        ------
        CheckpointError
            If the file is damaged or belongs to another run.
        OutputError, OutputExistsError
            If there is no file, and none can be written.
        """
        if not self._is_there():
            check_output(self.path, overwrite=True, kind="file")
            return
        facts = self._facts()
        if len(facts["history"]["epochs"]) < len(state.history):
            return  # the run goes on from a later epoch of a model that was saved
        with self._explain_damage(), safe_open(self.path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            Snapshot(tensors, facts).restore(state)

    def write(self, state: State, *, at_once: bool = False) -> None:
        """Write the state, unless it was written too recently for what that costs.

        Of processes that train together, the first one writes.

        Parameters
        ----------
        state : State
            Between two steps.
        at_once : bool, default=False
            Whether to write in any case, with the other processes waiting for it.
        """
        start = time.monotonic()
        if ranks.place.rank == 0 and (at_once or start >= self._due):
            contents = Snapshot.of(state).with_facts(identity=self.identity).to_bytes()
            with atomic_file(self.path, overwrite=True) as temporary:
                temporary.write_bytes(contents)
            end = time.monotonic()
            self._due = end + (end - start) / _COST
        if at_once:
            ranks.wait()

    def remove(self) -> None:
        """Delete the file of a run that is over."""
        if ranks.place.rank == 0:
            self.path.unlink(missing_ok=True)
        ranks.wait()

    def _is_there(self) -> bool:
        with explain_os_errors(self.path):  # the folder may not be ours to look into
            return self.path.exists()

    def _facts(self) -> dict[str, Any]:
        with self._explain_damage(), safe_open(self.path, framework="pt") as file:
            facts = checked(json.loads((file.metadata() or {})["narrows"]))
            if not isinstance(facts["history"]["epochs"], list):
                raise TypeError("its history has no epochs")
        if facts.get("identity") != self.identity:
            raise CheckpointError(
                f"'{self.path}' is the checkpoint of another run (other data or parameters); "
                "delete it to start anew, or name another file"
            )
        return facts

    def _explain_damage(self) -> AbstractContextManager[None]:
        what = f"'{self.path}' is not a whole checkpoint of Narrows"
        return _explain_damage(what, "delete it to start anew")


@contextmanager
def _explain_damage(what: str, remedy: str) -> Iterator[None]:
    """Raise the exceptions of reading a damaged state as a CheckpointError of one line."""
    try:
        yield
    except DAMAGES as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        reason = " ".join(reason.split())[:200]
        raise CheckpointError(f"{what} ({reason}); {remedy}") from error


def checked(facts: Any) -> dict[str, Any]:
    """Refuse facts that do not describe a run.

    Raises
    ------
    KeyError, TypeError, ValueError
        Naming the fact that is missing or wrong.
    """
    if not isinstance(facts, dict):
        raise TypeError("its header names no run")
    for name in ("seed", "n_optimized"):
        if type(facts[name]) is not int or not 0 <= facts[name] < 2**63:
            raise ValueError(f"its {name} is {facts[name]!r}")
    return facts


def _check_shapes(tensors: dict[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Refuse tensors whose names or shapes differ from those that they are to replace."""
    for name in tensors.keys() | like.keys():
        if name not in tensors or name not in like or tensors[name].shape != like[name].shape:
            raise ValueError(f"its '{name}' is missing or of another shape")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _untied(network: nn.Module) -> dict[str, Tensor]:
    """Copy tied matrices, since safetensors refuses tensors that share memory."""
    seen: set[int] = set()
    state = network.state_dict()
    for name, tensor in state.items():
        if tensor.data_ptr() in seen:
            state[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return state
