"""``narrows train --resume``: the model whose run is resumed, with its own options."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from narrows import Autoencoder


def kind_of(path: str) -> str | None:
    """Return the name of a saved model's kind for ``--model``; None if it is no whole model.

    Parameters
    ----------
    path : str
        The model's folder. Damage is ignored here, and reported when the model is loaded.
    """
    from narrows import MODELS
    from narrows.errors import NarrowsError
    from narrows.storage import read_manifest

    try:
        made = read_manifest(Path(path)).get("model")
    except NarrowsError:
        return None
    return next((name for name, model in MODELS.items() if model.__name__ == made), None)


def make_or_resume(
    kind: str, path: Path | None, parameters: dict[str, Any]
) -> "tuple[Autoencoder, dict[str, Any]]":
    """Make the model to train, or load the one whose run goes on.

    Parameters
    ----------
    kind : str
        The model named by ``--model``.
    path : Path or None
        The folder of the model whose run goes on.
    parameters : dict
        All options of a model.

    Returns
    -------
    model : BaseAutoencoder
    record : dict
        What the command's answer says about the resumed run; empty for a new one.

    Raises
    ------
    NarrowsError
        If the run cannot go on, or not with these parameters.
    """
    from narrows import MODELS

    if path is None:
        return MODELS[kind](**parameters), {}
    model = _load(path, kind, parameters)
    return model, {"resumed": _tell(path, model)}


def shape_of(model: "Autoencoder", **pictures: Any) -> dict[str, Any]:
    """Return the options of reading by which pictures get the shape that the model learned from.

    Parameters
    ----------
    model : BaseAutoencoder
        Whose run is resumed.
    **pictures : object
        ``image_size`` and ``color``; they are returned unchanged if one of them was given.
    """
    if set(pictures.values()) != {"auto"}:
        return pictures
    names = getattr(model, "feature_names_in_", None)
    return {
        "sample_shape": model.sample_shape_,
        "of_pictures": model.spec_.shows_pictures,
        "known": None if names is None else list(names),
    }


def _load(path: Path, kind: str, parameters: dict[str, Any]) -> "Autoencoder":
    """Load the model whose run is resumed; parameters that were given replace its own.

    Raises
    ------
    ParameterError
        If it is of another kind than the one given.
    MissingFileError, FormatError
        If it is missing, damaged, a half, or a classifier.
    """
    from narrows.cli.exchange import load_for
    from narrows.errors import ParameterError

    model = load_for(path, "reconstruct")
    found = kind_of(str(path))
    source = click.get_current_context().get_parameter_source
    if found != kind and source("model_name") is ParameterSource.COMMANDLINE:
        raise ParameterError(
            f"--model {kind} contradicts --resume: '{path}' was trained by --model {found}; leave "
            "out --model"
        )
    given = {n: v for n, v in parameters.items() if source(n) is ParameterSource.COMMANDLINE}
    given["checkpoint"] = parameters["checkpoint"]  # which torchrun's processes always have
    resumed: Autoencoder = model.set_params(**given)
    return resumed


def _tell(path: Path, model: "Autoencoder") -> dict[str, Any]:
    """Print where a run is resumed, and return it for the command's answer."""
    from narrows.cli.console import note
    from narrows.models.runs import resumable_state
    from narrows.texts import counted

    model.check_parameters()
    state = resumable_state(model)
    layer = state.layer
    at = state if layer is None else layer
    record = {
        "model": path,
        "fingerprint": model.fingerprint_,
        "ended": model.history_.ended,
        "epoch": at.epoch,
        "step": at.step,
        "max_epochs": at.max_epochs,
    }
    where = f"after {counted(at.epoch, 'epoch')}"
    if layer is not None:
        record["layer"] = len(state.facts["history"].get("layers", [])) + 1
        where += f" of layer {record['layer']}"
    steps = f" and {counted(at.step, 'step')}" if at.step else ""
    note(f"resumed: {path} goes on {where}{steps} of {at.max_epochs} planned")
    return record
