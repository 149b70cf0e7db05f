"""What parameters left to "auto" became, and why: said in training, stored, and taken up again."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from narrows.corruption import named_levels
from narrows.data.scaling import ONE_UNIT
from narrows.models.damage import corruption_of, level_of
from narrows.models.parameters import Choice, ModelAttributes
from narrows.networks import Architecture
from narrows.networks.activations import plain_output
from narrows.texts import counted
from narrows.training.loop import TrainSettings

# The parameters of steps whose choices a resumed run keeps.
_OF_STEPS = ("batch_size", "learning_rate", "weight_decay")


def explain(
    model: ModelAttributes, settings: TrainSettings, n_rows: int, n_held_out: int
) -> dict[str, Choice]:
    """Say what the parameters that were left to "auto" became, and why.

    Parameters
    ----------
    model : BaseAutoencoder
        A model whose scaling, network and loss are chosen.
    settings : TrainSettings
        The settings of the run.
    n_rows, n_held_out : int
        Number of all rows, and of those held out.

    Returns
    -------
    dict of str to Choice
        The choices by parameter; ``validation_fraction`` has the number of rows held out.
    """
    spec, kind = model.spec_, model.spec_.definition
    steps = settings.max_epochs * -(-(n_rows - n_held_out) // settings.batch_size)
    batches = Choice(settings.batch_size, f"{n_rows} rows")
    rate = "" if spec.has_hidden_layers else "no hidden layers"
    why_architecture, why_layers = _why_network(model, kind, n_rows)
    choices = {
        "architecture": Choice(spec.architecture, why_architecture),
        "n_components": Choice(
            spec.n_components, "channels of the map at each scale" if spec.is_map else ""
        ),
        "hidden_layer_sizes": Choice(spec.hidden_layer_sizes, why_layers),
        "scaling": _scaling_choice(model),
        "output": Choice(plain_output(spec.output), "values within bounds"),
        "loss": Choice(model.loss_, ""),
        "batch_size": batches,
        "max_epochs": Choice(settings.max_epochs, _why_epochs(model, settings.max_epochs, steps)),
        "learning_rate": Choice(settings.learning_rate, rate),
        "weight_decay": Choice(settings.weight_decay, ""),
        "validation_fraction": Choice(n_held_out, f"rows of {n_rows}"),
        "device": Choice(settings.device.type, ""),
    }
    if model.corruption is not None:
        levels = named_levels(corruption_of(model), level_of(model))
        of_each = tuple(level for _, level in levels if level is not None)
        names = ", ".join(name for name, level in levels if level is not None)
        if of_each:
            level = of_each[0] if len(of_each) == 1 else of_each
            choices["corruption_level"] = Choice(level, f"of {names}")
        choices["corruption"] = Choice(tuple(name for name, _ in levels), model._why_corruption)
    if "hidden_layer_sizes" not in kind.parameters:
        del choices["hidden_layer_sizes"]
    if plain_output(spec.output) != "clip":
        del choices["output"]
    chosen = {name: choice for name, choice in choices.items() if getattr(model, name) == "auto"}
    width = math.prod(spec.sample_shape)
    if spec.n_components >= width and not model._wide_code and not spec.is_map:
        chosen["n_components"] = Choice(
            spec.n_components, f"a row has {width} values, so that nothing is compressed"
        )
    return chosen


def sentence(choices: dict[str, Choice]) -> str:
    """Write choices in one line.

    Examples
    --------
    >>> sentence({"scaling": Choice("unit", "values from 0 to 255"), "max_epochs": Choice(20, "")})
    'chosen: scaling unit (values from 0 to 255); max_epochs 20'
    """
    choices, parts = dict(choices), []
    if {"corruption", "corruption_level"} <= set(choices):
        names, why = choices["corruption"]
        level: Any = choices.pop("corruption_level").value
        levels = level if isinstance(names, tuple) and len(names) > 1 else (level,)
        if isinstance(names, tuple) and isinstance(levels, tuple) and len(names) == len(levels):
            each = (f"{name} {own}" for name, own in zip(names, levels, strict=True))
            choices["corruption"] = Choice(", ".join(each), why)
    for name, (value, reason) in choices.items():
        shown = ",".join(map(str, value)) or "none" if isinstance(value, tuple) else f"{value}"
        if name == "validation_fraction":
            parts.append(f"{shown} {'row' if value == 1 else 'rows'} held out")
        else:
            parts.append(f"{name} {shown}" + (f" ({reason})" if reason else ""))
    return "chosen: " + "; ".join(parts)


def _why_network(model: ModelAttributes, kind: Architecture, n_rows: int) -> tuple[str, str]:
    """Say why a network has its architecture, and its hidden layers."""
    spec = model.spec_
    shape = " x ".join(map(str, spec.sample_shape))
    if kind.starts_at_pca:
        rows = "table" if len(spec.sample_shape) == 1 else f"{n_rows} rows of {shape}"
        rows = "signal windows" if spec.signal else rows
        return f"{rows}; initialised with PCA", f"{n_rows} rows"
    if kind.starts_at_input:
        what = "signals" if spec.signal else "pictures"
        return f"{what} of {shape} to restore", "channels at each scale"
    if kind.n_axes(spec.sample_shape):
        return f"pictures of {shape}", "channels per downsampling stage"
    features = counted(math.prod(spec.sample_shape), "feature")
    if len(spec.sample_shape) > 1:
        small = model.hidden_layer_sizes == "auto"
        return f"rows of {shape}" + ("" if small else ", hidden_layer_sizes were given"), features
    return (
        "values are bounded" if model.scaling_.bounded else "other parameters ask for it",
        features,
    )


def _scaling_choice(model: ModelAttributes) -> Choice:
    """Name a scaling, and say why it was chosen."""
    scaling = model.scaling_
    shape = model.sample_shape_
    of = "columns" if len(shape) == 1 else "channels"
    if scaling.scale.ndim:
        of_varying = scaling.scale[scaling.scale != 1]  # that of constant columns is 1
        ratio = float(of_varying.max() / of_varying.min()) if len(of_varying) else 1.0
        if of == "columns" and ratio <= ONE_UNIT:
            return Choice("standard", "columns of a table may have different units")
        times = f"{ratio:.3g}"
        differ = "by more than 3 times" if of == "columns" else f"up to {times} times"
        return Choice("standard", f"standard deviations of {of} differ {differ}")
    if scaling.bounded:
        return Choice("unit", f"values from {scaling.low:g} to {scaling.high:g}")
    if model.spec_.shows_pictures:
        return Choice("global", "pictures of another range than 0 to 255 or 0 to 1")
    if model.spec_.signal and len(shape) == 1:
        return Choice("global", "windows of one channel")
    return Choice("global", f"standard deviations of {of} differ by at most 3 times")


def _why_epochs(model: ModelAttributes, epochs: int, steps: int) -> str:
    if epochs:
        return f"{steps} steps"
    if not model.spec_.hidden_layer_sizes:
        return "without hidden layers PCA is exact"
    return "PCA is kept: there are too few rows to hold some out and see whether a network beats it"


def restore_choices(stored: Any) -> dict[str, Choice]:
    """Restore choices from what JSON held.

    Raises
    ------
    TypeError, ValueError
        If it holds something else.
    """
    return {
        str(name): Choice(tuple(value) if isinstance(value, list) else value, str(reason))
        for name, (value, reason) in dict(stored).items()
    }


@contextmanager
def chosen_as_before(model: ModelAttributes) -> Iterator[None]:
    """Let a fitted model choose its network and steps as it did, whatever "auto" means by now.

    So runs of older versions go on with the network that they began with.
    """
    spec = model.spec_
    before = {
        **{name: model.choices_[name].value for name in _OF_STEPS if name in model.choices_},
        "architecture": spec.architecture,
        "n_components": spec.n_components,
        "output": plain_output(spec.output),
        "scaling": _scaling_choice(model).value,
    }
    if "hidden_layer_sizes" in spec.definition.parameters:
        before["hidden_layer_sizes"] = spec.hidden_layer_sizes
    before = {name: value for name, value in before.items() if getattr(model, name) == "auto"}
    try:
        for name, value in before.items():
            setattr(model, name, value)
        yield
    finally:
        for name in before:
            setattr(model, name, "auto")
