"""The sentence on what parameters left to "auto" became in a run of training, and why."""

import math
from typing import Any

from narrows.models.parameters import Choice, Learned
from narrows.networks import NetworkSpec
from narrows.texts import counted
from narrows.training.loop import TrainSettings


def explain(
    model: Learned, settings: TrainSettings, n_rows: int, n_held_out: int
) -> dict[str, Choice]:
    """Say what the parameters that were left to "auto" became.

    Parameters
    ----------
    model : BaseAutoencoder
        With scaling, network and loss chosen.
    settings : TrainSettings
        Of the run.
    n_rows, n_held_out : int
        Number of all rows, and of those held out.

    Returns
    -------
    dict of str to Choice
        By parameter; ``validation_fraction`` has the number of rows held out.
    """
    spec = model.spec_
    steps = settings.max_epochs * -(-(n_rows - n_held_out) // settings.batch_size)
    batches = Choice(settings.batch_size, counted(n_rows, "row"))
    rate = "" if spec.has_hidden_layers else "no hidden layers"
    choices = {
        "architecture": Choice(spec.architecture, _why_architecture(model)),
        "hidden_layer_sizes": Choice(spec.hidden_layer_sizes, _why_layers(spec, n_rows)),
        "scaling": _scaling(model),
        "loss": Choice(model.loss_, ""),
        "batch_size": batches,
        "max_epochs": Choice(settings.max_epochs, _why_epochs(model, settings.max_epochs, steps)),
        "learning_rate": Choice(settings.learning_rate, rate),
        "weight_decay": Choice(settings.weight_decay, ""),
        "validation_fraction": Choice(n_held_out, f"rows of {n_rows}"),
        "device": Choice(settings.device.type, ""),
    }
    if "hidden_layer_sizes" not in spec.kind.parameters:
        del choices["hidden_layer_sizes"]
    chosen = {name: choice for name, choice in choices.items() if getattr(model, name) == "auto"}
    width = math.prod(spec.sample_shape)
    if spec.n_components >= width and not hasattr(model, "sparsity") and not spec.is_map:
        chosen["n_components"] = Choice(
            spec.n_components, f"a row has {width} values, so that nothing is compressed"
        )
    return chosen


def sentence(choices: dict[str, Choice]) -> str:
    """Write choices as one line.

    Examples
    --------
    >>> sentence({"scaling": Choice("unit", "values from 0 to 255"), "max_epochs": Choice(20, "")})
    'chosen: scaling unit (values from 0 to 255); max_epochs 20'
    """
    parts = []
    for name, (value, reason) in choices.items():
        shown = ",".join(map(str, value)) or "none" if isinstance(value, tuple) else f"{value}"
        if name == "validation_fraction":
            parts.append(f"{shown} {'row' if value == 1 else 'rows'} held out")
        else:
            parts.append(f"{name} {shown}" + (f" ({reason})" if reason else ""))
    return "chosen: " + "; ".join(parts)


def _why_architecture(model: Learned) -> str:
    spec = model.spec_
    shape = " x ".join(map(str, spec.sample_shape))
    if spec.kind.starts_at_pca:
        kind = "signal windows" if model.spec_.signal else "table"
        return f"{kind}; initialised with PCA"
    if spec.kind.n_axes(spec.sample_shape):
        return f"pictures of {shape}"
    if len(spec.sample_shape) > 1:
        small = model.hidden_layer_sizes == "auto"
        return f"rows of {shape}" + ("" if small else ", hidden_layer_sizes were given")
    return "values are bounded" if model.scaling_.bounded else "other parameters ask for it"


def _why_layers(spec: NetworkSpec, n_rows: int) -> str:
    if spec.kind.starts_at_pca:
        return counted(n_rows, "row")
    if spec.kind.n_axes(spec.sample_shape):
        return "channels per downsampling stage"
    return counted(math.prod(spec.sample_shape), "feature")


def _scaling(model: Learned) -> Choice:
    """Read off a scaling what it is, and why."""
    scaling = model.scaling_
    shape = model.sample_shape_
    of = "columns" if len(shape) == 1 else "channels"
    if scaling.scale.ndim:
        return Choice("standard", f"standard deviations of {of} differ by more than 3 times")
    if scaling.bounded:
        return Choice("unit", f"values from {scaling.low:g} to {scaling.high:g}")
    if model.spec_.shows_pictures:
        return Choice("global", "pictures of another range than 0 to 255 or 0 to 1")
    return Choice("global", f"standard deviations of {of} differ by at most 3 times")


def _why_epochs(model: Learned, epochs: int, steps: int) -> str:
    if epochs:
        return f"{steps} steps"
    if not model.spec_.hidden_layer_sizes:
        return "without hidden layers PCA is exact"
    return "PCA is kept: there are too few rows to hold some out and see whether a network beats it"


def restore(stored: Any) -> dict[str, Choice]:
    """Read choices as JSON holds them.

    Raises
    ------
    TypeError, ValueError
        If they are none.
    """
    return {
        str(name): Choice(tuple(value) if isinstance(value, list) else value, str(reason))
        for name, (value, reason) in dict(stored).items()
    }
