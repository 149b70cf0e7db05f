"""What ``narrows train --resume`` reads: the model whose run goes on, and the same data."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from narrows.cli.console import note
from narrows.cli.exchange import load_for
from narrows.cli.tables import read_table
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows import TableAutoencoder
    from narrows.data.formats import FileOptions
    from narrows.data.frames import Frame


# Epochs of which half are long enough to compare.
_EPOCHS_TO_HALVE = 4


def model_name_of(path: Path | str) -> str | None:
    """Return the name of a saved model for ``--model``; None if it is no whole model.

    Damage is ignored here, and reported when the model is loaded.
    """
    from narrows import MODELS
    from narrows.errors import NarrowsError
    from narrows.models.registry import class_named
    from narrows.storage import read_manifest

    try:
        saved = class_named(read_manifest(Path(path)).get("model"))
    except NarrowsError:
        return None
    return next((name for name, model in MODELS.items() if model is saved), None)


def load_to_resume(path: Path, model_name: str, parameters: dict[str, Any]) -> Any:
    """Load the model whose run is resumed; options of the command line replace its parameters.

    Raises
    ------
    ParameterError
        If it is of another kind than ``--model`` says.
    MissingFileError, FormatError
        If it is missing, damaged, a half, or a classifier.
    """
    from sklearn.base import clone

    from narrows import TableAutoencoder
    from narrows.errors import ParameterError

    model = load_for(path, "reconstruct", tables=True)
    found = model_name_of(path)
    source = click.get_current_context().get_parameter_source
    if found != model_name and source("model_name") is ParameterSource.COMMANDLINE:
        raise ParameterError(
            f"--model {model_name} contradicts --resume: '{path}' was trained by --model {found}; "
            "leave out --model"
        )
    changes = {n: v for n, v in parameters.items() if source(n) is ParameterSource.COMMANDLINE}
    changes["checkpoint"] = parameters["checkpoint"]  # which torchrun's processes always have
    if isinstance(model, TableAutoencoder):
        return model.set_params(model=clone(model.model_.set_params(**changes)))
    return model.set_params(**changes)


def note_resumed(path: Path, model: Any) -> dict[str, Any]:
    """Print where a run is resumed, and return it for the command's answer."""
    from narrows.models.runs import resumable_state

    model.check_parameters()
    record = {"model": path, "fingerprint": model.fingerprint_, "ended": model.history_.ended}
    if getattr(model, "imputer_", None) is not None and model.imputer_.is_interrupted:
        note(f"resumed: {path} goes on with learning to fill gaps")
        return record
    state = resumable_state(getattr(model, "model_", model))
    layer = state.layer
    at = state if layer is None else layer
    record |= at.epoch_plan
    where = f"after {counted(at.epoch, 'epoch')}"
    if layer is not None:
        record["layer"] = len(state.facts["history"].get("layers", [])) + 1
        where += f" of layer {record['layer']}"
    steps = f" and {counted(at.step, 'step')}" if at.step else ""
    note(f"resumed: {path} goes on {where}{steps} of {at.max_epochs} planned")
    return record


def shape_of(model: Any, pictures: dict[str, Any]) -> dict[str, Any]:
    """Return the options by which pictures get the shape that a resumed model learned from.

    Size and colour are returned unchanged if one of them was given.
    """
    if set(pictures.values()) != {"auto"} or hasattr(model, "column_encoder_"):
        return pictures
    if model.spec_.definition.starts_at_input and model.spec_.shows_pictures:
        return {**pictures, "crops": model.sample_shape_[0]}
    names = getattr(model, "feature_names_in_", None)
    return {
        "sample_shape": model.sample_shape_,
        "of_pictures": model.spec_.shows_pictures,
        "known": None if names is None else list(names),
    }


def read_to_resume(
    model: "TableAutoencoder",
    data: Path,
    window: int | None,
    asked: dict[str, Any],
    reading: "FileOptions",
) -> "Frame":
    """Read the table with which a run goes on.

    Raises
    ------
    ParameterError
        If options contradict the model, or training is shared out.
    """
    from narrows.errors import ParameterError

    check_one_process(None)
    given = [name for name, value in {**asked, "window": window}.items() if value]
    if given:
        raise ParameterError(
            f"--{given[0]} does not go with --resume of a table's model, which goes on with the "
            "columns of its run; leave it out"
        )
    return read_table(data, reading, model.column_encoder_.named)


def check_one_process(ray: str | None) -> None:
    """Refuse to share out the training of a model of a table.

    Raises
    ------
    ParameterError
        If this is one of several processes, or Ray was asked for.
    """
    from narrows.errors import ParameterError
    from narrows.ranks import is_launched

    if ray is not None or is_launched():
        raise ParameterError(
            "tables of categories, dates or gaps are learned by one process; leave out "
            f"{'torchrun' if ray is None else '--ray'}"
        )


def held_out_psnr(model: Any) -> dict[str, dict[str, float]]:
    """Return how well held-out rows are restored, after half of the epochs and at the end, in dB.

    The entry is missing where there are no such rows, for values without bounds, and for models
    that do not restore.
    """
    from narrows.corruption import hides

    spec = getattr(model, "spec_", None)
    if spec is None or not spec.definition.starts_at_input or not model.scaling_.bounded:
        return {}
    if hides(model.corruption):
        return {}
    width = math.prod(spec.sample_shape)
    name = "validation_reconstruction"
    errors = [epoch[name] / width for epoch in model.history_.epochs if epoch.get(name)]
    if len(errors) < _EPOCHS_TO_HALVE:
        return {}
    half, end = min(errors[: len(errors) // 2]), min(errors)
    found = {"after_half": -10 * math.log10(half), "at_end": -10 * math.log10(end)}
    return {"psnr_held_out": found}


def psnr_words(model: Any, to: Path) -> list[str]:
    """Say what was reached on held-out rows, what half of the epochs gave, and how to go on."""
    found = held_out_psnr(model).get("psnr_held_out")
    if found is None:
        return []
    return [
        f"held-out rows are restored at {found['at_end']:.2f} dB (after half of the epochs at "
        f"{found['after_half']:.2f} dB); --resume {to} --max-epochs {2 * len(model.history_)} "
        "goes on"
    ]
