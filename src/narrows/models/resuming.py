"""Resuming of training: the state that a model keeps of its run, and the checks before it is used.

A resumed run starts as the first one did: rows are split, scaled and measured again, with the same
results, and then the state of network and optimiser replaces the initial weights. An interrupted
run therefore ends as the uninterrupted one does, bit for bit on the same machine.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.lazy import LazyRows
from narrows.data.text import counted, shortened
from narrows.errors import CheckpointError, DataError, FormatError, ParameterError, warn
from narrows.models import persistence
from narrows.models.learned_rows import NEW, HashSet, LearnedRows
from narrows.models.persistence import StoredState
from narrows.training.history import History
from narrows.training.state import Snapshot, checked

if TYPE_CHECKING:
    from narrows.models.base import BaseAutoencoder
    from narrows.models.runs import Run

# Parameters that may differ from those of the run that is resumed.
_FREE = {"checkpoint", "device", "verbose", "max_epochs", "n_iter_no_change"}
# To compare rows and their order, so many blocks of so many rows, evenly spread, are hashed.
_SAMPLES, _SAMPLED = 64, 16


def kept(model: "BaseAutoencoder", run: "Run") -> Snapshot | None:
    """Return the state that a model keeps of a run that has ended; None if it cannot be resumed."""
    if run.left is None:
        return None
    return run.left.with_facts(
        parameters=persistence.parameters(model),
        rows=order_of(*run.data),
        n_rows=len(run.X),
        ended=model.history_.ended,
    )


def order_of(*data: NDArray[Any] | LazyRows) -> str:
    """Hash the shapes and types of rows, a sample of them in their order, and all weights."""
    facts = [[list(X.shape), str(X.dtype)] for X in data]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for X in data:
        size = len(X) if X.ndim == 1 else _SAMPLED
        for start in range(0, len(X), max(size, -(-len(X) // _SAMPLES))):
            block = np.asarray(X[start : start + size])
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def stored_bytes(model: "BaseAutoencoder") -> bytes | None:
    """Return the state of a model's run as it is saved; a warning says if its file is damaged."""
    state = model._run_state
    if isinstance(state, StoredState):
        try:
            state = state.read()
        except FormatError as error:
            warn(
                f"the model is saved without what --resume needs: {error}",
                kind="not_resumable",
                stacklevel=3,
            )
            return None
    return None if state is None else state.to_bytes()


def begun(model: "BaseAutoencoder") -> Snapshot:
    """Return the state that a fitted model's run is resumed from.

    Raises
    ------
    CheckpointError
        If there is none.
    FormatError
        If its file is missing or damaged.
    ParameterError
        If a parameter differs from the run's, or no epochs are left.
    """
    model._check_parameters()
    name = type(model).__name__
    if isinstance(model._run_state, StoredState):
        model._run_state = model._run_state.read()
    state = model._run_state
    if state is None and not len(model.history_):
        raise CheckpointError(
            f"this {name} was trained for no epochs that could go on (it is PCA of its rows, or a "
            "stack without fine-tuning); train anew with the number of epochs wanted (max_epochs, "
            "--max-epochs), without --resume"
        )
    if state is None:
        raise CheckpointError(
            f"this {name} holds no training state: it was saved without one (resumable=False, "
            "--no-resumable, --ray or an older Narrows), interrupted within a step or changed by "
            "partial_fit; train anew without --resume, or learn from more rows by partial_fit"
        )
    try:
        _check_facts(state)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the model's training state is damaged ({type(error).__name__}: {error}); train anew, "
            "without --resume"
        ) from error
    _check_parameters(model, state)
    _check_end(model, state)
    return state


def _check_facts(state: Snapshot) -> None:
    """Refuse facts that :func:`kept` did not write.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        Saying what is wrong.
    """
    facts = state.facts
    History.from_json(dict(facts["history"]))
    if state.max_epochs < 0 or state.step < 0 or facts["n_rows"] < 0:
        raise ValueError("numbers below 0")
    if not isinstance(facts["parameters"], dict) or not isinstance(facts["rows"], str):
        raise TypeError("it names no parameters or rows")
    _ = facts["ended"], facts["parameters"]["max_epochs"]
    if not isinstance(facts["parameters"]["n_iter_no_change"], int):
        raise TypeError("n_iter_no_change is no number")
    checked(facts)
    if state.layer is not None:
        _check_facts(state.layer)


def _check_parameters(model: "BaseAutoencoder", state: Snapshot) -> None:
    """Refuse parameters that contradict the run's."""
    then = state.facts["parameters"]
    for name, value in persistence.parameters(model).items():
        if name in then and name not in _FREE and value != then[name]:
            raise ParameterError(
                f"{name}={shortened(repr(getattr(model, name)))} contradicts the run that is to go "
                f"on, which has {name}={shortened(repr(then[name]))}; leave out "
                f"--{name.replace('_', '-')} ({name}), or train anew without --resume"
            )


def _check_end(model: "BaseAutoencoder", state: Snapshot) -> None:
    """Refuse a run that is over, unless there are more epochs than were planned."""
    done, planned, ended = state.epoch, state.max_epochs, state.facts["ended"]
    if ended == "collapsed":
        raise CheckpointError(
            f"training collapsed after {counted(done, 'epoch')} and cannot go on; train anew, "
            "without --resume, at a lower learning rate (--learning-rate, learning_rate)"
        )
    wanted, was = model.max_epochs, state.facts["parameters"]["max_epochs"]
    same_plan = wanted in (was, planned)
    if ended == "interrupted" and same_plan:
        return
    if same_plan and ended == "max_epochs":
        raise ParameterError(
            f"all {planned} epochs that were planned have been done; give more "
            f"(--max-epochs {2 * planned}, max_epochs={2 * planned})"
        )
    if not isinstance(wanted, str) and wanted <= done and state.layer is None:
        raise ParameterError(
            f"max_epochs={wanted} have been done: the model was trained for "
            f"{counted(done, 'epoch')}; give more (--max-epochs {2 * done}, max_epochs={2 * done})"
        )
    patience = state.facts["parameters"]["n_iter_no_change"]
    if same_plan and ended == "early_stopping" and model.n_iter_no_change <= patience:
        raise ParameterError(
            f"early stopping ended training after {done} of {planned} epochs; give more than "
            f"{planned} (--max-epochs, max_epochs), or more than {patience} epochs without a "
            "smaller held-out loss (--n-iter-no-change, n_iter_no_change)"
        )


def plans(model: "BaseAutoencoder", state: Snapshot) -> list[dict[str, int]]:
    """Return the plans that were replaced, with the present one if ``max_epochs`` replaces it."""
    known: list[dict[str, int]] = list(state.facts["history"].get("plans", []))
    same = (state.max_epochs, state.facts["parameters"]["max_epochs"])
    return known if model.max_epochs in same else [*known, state.plan]


def check_given_rows(
    model: "BaseAutoencoder", state: Snapshot, *data: NDArray[Any] | LazyRows | None
) -> None:
    """Refuse rows that differ from those of a run or in their order, before any of them is used.

    Raises
    ------
    DataError
        With the number of rows that differ, where it is known.
    """
    given = [X for X in data if X is not None]
    if order_of(*given) == state.facts["rows"]:
        return
    raise _other_rows(model, given[0], int(state.facts["n_rows"]))


def check_learned_rows(model: "BaseAutoencoder", before: LearnedRows | None, run: "Run") -> None:
    """Refuse rows that differ from those of a run, once all of them have been hashed.

    Raises
    ------
    DataError
        With the number of rows that differ.
    """
    now = model.learned_rows_
    if before is None or now is None:
        return
    if before.order == now.order or (before.order is None and _all_of(before) == _all_of(now)):
        return
    model.learned_rows_ = before
    raise _other_rows(model, run.X, before.n_learned + before.n_held_out)


def _all_of(rows: LearnedRows) -> tuple[int, list[int]]:
    """Return the number of learned and held-out rows, and their comparable hashes."""
    both = (rows.learned, rows.held_out)
    together = HashSet(bound=min(hashes.bound for hashes in both))
    for hashes in both:
        together = together.with_rows(hashes.kept)
    return rows.n_learned + rows.n_held_out, together.kept.tolist()


def _other_rows(model: "BaseAutoencoder", X: NDArray[Any] | LazyRows, n_rows: int) -> DataError:
    n_new = 0
    if model.learned_rows_ is not None:
        n_new = int((model.learned_rows_.membership(X) == NEW).sum())
    if n_new:
        what = f"{n_new} of {len(X)} rows given are not among the {n_rows} that the run learns from"
    elif len(X) != n_rows:
        what = f"{len(X)} rows were given, and the run learns from {n_rows}"
    else:
        what = (
            f"the {len(X)} rows given are in another order or of another type, or have other pairs "
            "or weights"
        )
    return DataError(
        f"{what}; a run goes on with the same rows in the same order (read with the same options); "
        "learn from others by partial_fit, or train anew without --resume"
    )
