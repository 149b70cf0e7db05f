"""The state of a training run between two steps, and its snapshot of tensors and facts.

Each epoch's generators are seeded by the run's seed and the epoch's number, so that of shuffling
and noise only the noise's generator within an epoch has to be kept.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from narrows import ranks
from narrows.errors import CheckpointError
from narrows.training.clipping import Clipping
from narrows.training.history import History
from narrows.training.means import Means

# What reading a damaged state may raise.
DAMAGES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)

_LAYER = "layer/"


@dataclass
class State:
    """A training run between two steps.

    Attributes
    ----------
    network : Module
        With the present weights.
    optimizer : Optimizer
        With its moments.
    best : dict of Tensor
        The best weights so far; empty before the end of the first epoch.
    history : History
        Of the finished epochs.
    seed : int
        The run's random seed.
    clipping : Clipping or None
        With the moving average of the norm of gradients.
    max_epochs : int
        The planned number of epochs.
    step : int
        Steps done in the epoch that follows those of the history.
    means : Means
        Of the losses of these steps.
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
        weights = _untied(state.network)
        tensors = {f"network.{k}": v for k, v in weights.items()}
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
            kind = state.noise.device.type
            facts["epoch"] = {"step": state.step, "device": kind, **state.means.as_json()}
        if lasting:
            tensors = {
                name: t.detach().to("cpu", copy=name.startswith("network."))
                for name, t in tensors.items()
            }
            facts = json.loads(json.dumps(facts))
            pairs = [(tensors[f"best.{k}"], tensors[f"network.{k}"]) for k in state.best]
            # A list, so that as many comparisons are made whatever their results.
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
        """The steps done in the epoch after these."""
        return int(self.facts.get("epoch", {}).get("step", 0))

    @property
    def plan(self) -> dict[str, int]:
        """What a history says of the plan, where it is replaced at this state."""
        return {"epoch": self.epoch, "step": self.step, "max_epochs": self.max_epochs}

    @property
    def layer(self) -> "Snapshot | None":
        """The state of the layer that is being trained, of a stack."""
        if "layer" not in self.facts:
            return None
        return Snapshot(_part(self.tensors, _LAYER), self.facts["layer"])

    def with_layer(self, layer: "Snapshot") -> "Snapshot":
        """Return the state of a stack, of which one layer is being trained."""
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
            If the tensors or facts are not those of such a run; it stays as it is.
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

    def go_on(self, state: State) -> None:
        """Bring a run to this state, which was saved with a model.

        Raises
        ------
        CheckpointError
            If it is not the state of such a run.
        """
        try:
            self.restore(state)
        except DAMAGES as error:
            raise CheckpointError(
                f"the model's training state is not that of such a run ({reason_of(error)}); train "
                "anew, without --resume"
            ) from error

    def _within(self, device: torch.device, state: State) -> tuple[int, Means]:
        """Return the steps done in the epoch and their means; restore the generator of noise."""
        facts = self.facts["epoch"]
        step = facts["step"]
        if type(step) is not int or not 0 < step < 2**63:
            raise ValueError(f"its step is {step!r}")
        means = Means.from_json(facts, device)
        noise = self.tensors["noise"]
        # Devices have generators of their own, and so have processes but the first one.
        if state.noise is not None and facts["device"] == device.type and ranks.rank() == 0:
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
        """Read what :meth:`to_bytes` gave.

        Raises
        ------
        SafetensorError, KeyError, TypeError, ValueError, RecursionError
            If it did not give this.
        """
        tensors = load(contents)
        size = int.from_bytes(contents[:8], "little")
        header = json.loads(contents[8 : 8 + size])
        return cls(tensors, checked(json.loads(header["__metadata__"]["narrows"])))


def reason_of(error: Exception) -> str:
    """Return what is wrong with a damaged state, on one line of at most 200 characters."""
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(reason.split())[:200]


def checked(facts: Any) -> dict[str, Any]:
    """Refuse facts that name no run.

    Raises
    ------
    KeyError, TypeError, ValueError
        Saying which.
    """
    if not isinstance(facts, dict):
        raise TypeError("its header names no run")
    for name in ("seed", "n_optimized"):
        if type(facts[name]) is not int or not 0 <= facts[name] < 2**63:
            raise ValueError(f"its {name} is {facts[name]!r}")
    return facts


def _check_shapes(tensors: dict[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Refuse tensors of other names or shapes than those they are to replace."""
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
