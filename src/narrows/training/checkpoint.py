"""A run's state on disk, from which it goes on bit for bit.

One safetensors file, so that one rename replaces it: weights, best weights and optimiser as
tensors, the rest as JSON in its header. Shuffling and noise need no state of their own: each
epoch's generators are seeded by the run's seed and the epoch's number.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from narrows import ranks
from narrows.atomic import atomic_file, check_output, explain_os_errors
from narrows.errors import CheckpointError
from narrows.training.clipping import Clipping
from narrows.training.history import History

# Writing may take at most this share of the time that training takes.
_COST = 0.05


@dataclass
class State:
    """What a run is, between two epochs.

    Attributes
    ----------
    network : Module
        With the weights reached.
    optimizer : Optimizer
        With its moments.
    best : dict of Tensor
        The best weights so far; empty before the first epoch.
    history : History
        Of the epochs done.
    seed : int
        The run's.
    clipping : Clipping or None
        What is usual of the gradients.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor]
    history: History
    seed: int
    clipping: Clipping | None = None


class Checkpoint:
    """A file that holds the last finished epoch of one run.

    Parameters
    ----------
    path : str or Path
        The file; it need not exist.
    identity : str
        Names the run: its data and settings. A file of another run is refused.
    """

    def __init__(self, path: str | Path, identity: str) -> None:
        self.path = Path(path)
        self.identity = identity
        self._due = 0.0

    def seed(self) -> int | None:
        """Return the seed of the run in the file, or ``None`` where there is no file."""
        return int(self._facts()["seed"]) if self._is_there() else None

    def restore(self, state: State) -> None:
        """Bring a run to where the file is, if there is one.

        Raises
        ------
        CheckpointError
            If the file is damaged or belongs to another run.
        OutputError, OutputExistsError
            If there is none, and none can be written.
        """
        if not self._is_there():
            check_output(self.path, overwrite=True, kind="file")
            return
        facts = self._facts()
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            history = History.from_json(facts["history"])
            best = _part(tensors, "best.")
            weights = state.network.state_dict()
            _check_shapes(best, weights if len(history) else {})
            moments = state.optimizer.state_dict()
            moments["state"] = {}
            optimized = [p for group in state.optimizer.param_groups for p in group["params"]]
            for i, parameter in enumerate(optimized[: facts["n_optimized"]]):
                moments["state"][i] = _part(tensors, f"optimizer.{i}.")
                like = {"step": torch.empty(()), "exp_avg": parameter, "exp_avg_sq": parameter}
                _check_shapes(moments["state"][i], like)
            _check_shapes(_part(tensors, "network."), weights)
            usual = {} if state.clipping is None else state.clipping.state_dict()
            _check_shapes(_part(tensors, "clipping."), usual)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise self._damaged(error) from error
        state.network.load_state_dict(_part(tensors, "network."))
        state.optimizer.load_state_dict(moments)
        if state.clipping is not None:
            state.clipping.load_state_dict(_part(tensors, "clipping."))
        state.best, state.history = best, history

    def write(self, state: State, *, at_once: bool = False) -> None:
        """Write the state, at once or unless the last writing was too recent for what it costs.

        Of processes that train together the first one writes; at once, the others wait for it.
        """
        if ranks.rank() == 0:
            self._write(state, at_once=at_once)
        if at_once:
            ranks.wait()

    def _write(self, state: State, *, at_once: bool) -> None:
        start = time.monotonic()
        if start < self._due and not at_once:
            return
        moments = state.optimizer.state_dict()["state"]
        tensors = {f"network.{k}": v for k, v in _untied(state.network).items()}
        tensors |= {f"best.{k}": v for k, v in state.best.items()}
        if state.clipping is not None:
            tensors |= {f"clipping.{k}": v for k, v in state.clipping.state_dict().items()}
        tensors |= {f"optimizer.{i}.{k}": v for i, m in moments.items() for k, v in m.items()}
        facts = {
            "identity": self.identity,
            "seed": state.seed,
            "n_optimized": len(moments),
            "history": state.history.as_json(),
        }
        with atomic_file(self.path, overwrite=True) as temporary:
            contents = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
            temporary.write_bytes(save(contents, metadata={"narrows": json.dumps(facts)}))
        end = time.monotonic()
        self._due = end + (end - start) / _COST

    def remove(self) -> None:
        """Delete the file: its run is over."""
        if ranks.rank() == 0:
            self.path.unlink(missing_ok=True)
        ranks.wait()

    def _is_there(self) -> bool:
        with explain_os_errors(self.path):  # looking is refused where one must not enter
            return self.path.exists()

    def _facts(self) -> dict[str, Any]:
        try:
            with safe_open(self.path, framework="pt") as file:
                facts: dict[str, Any] = json.loads((file.metadata() or {})["narrows"])
            _check_facts(facts)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
            raise self._damaged(error) from error
        if facts.get("identity") != self.identity:
            raise CheckpointError(
                f"'{self.path}' is the checkpoint of another run (other data or parameters); "
                "delete it to start anew, or name another file"
            )
        return facts

    def _damaged(self, error: Exception) -> CheckpointError:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        return CheckpointError(
            f"'{self.path}' is not a whole checkpoint of Narrows ({reason}); "
            "delete it to start anew"
        )


def _check_facts(facts: Any) -> None:
    """Refuse a header that names no run."""
    if not isinstance(facts, dict):
        raise TypeError("its header names no run")
    for name in ("seed", "n_optimized"):
        if type(facts[name]) is not int or not 0 <= facts[name] < 2**63:
            raise ValueError(f"its {name} is {facts[name]!r}")


def _check_shapes(tensors: dict[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Refuse tensors of other names or shapes than those they are to replace."""
    for name in tensors.keys() | like.keys():
        if name not in tensors or name not in like or tensors[name].shape != like[name].shape:
            raise ValueError(f"its '{name}' is missing or of another shape")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _untied(network: nn.Module) -> dict[str, Tensor]:
    """Give tied matrices a memory of their own each: safetensors refuses shared ones."""
    seen: set[int] = set()
    state = network.state_dict()
    for name, tensor in state.items():
        if tensor.data_ptr() in seen:
            state[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return state
