"""``narrows info``: what a model or a library is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli import options
from narrows.cli.console import answered, recall_record, table

if TYPE_CHECKING:
    from narrows import AnomalyDetector, Autoencoder, Decoder, Encoder, PictureEncoder
    from narrows.remote import Place

_KINDS = {
    "AnomalyDetector": "detector",
    "Encoder": "encoder",
    "Decoder": "decoder",
    "EncoderClassifier": "classifier",
    "PictureEncoder": "encoder",
}


@options.verb("info")
@click.argument("path", type=options.PATH, metavar="MODEL|LIBRARY", required=False)
@click.option(
    "--built-in",
    is_flag=True,
    help="Describe the denoisers that ship with Narrows, and what they were made from.",
)
def command(*, path: Path | None, built_in: bool) -> None:
    """Describe a model or a library."""
    from narrows import AnomalyDetector, Library, TableAutoencoder, load
    from narrows.errors import ParameterError
    from narrows.library.folder import LIBRARY, LibraryManifest
    from narrows.remote import place

    if (path is None) != built_in:
        raise ParameterError("give either the folder of a model or library, or --built-in")
    if path is None:
        _describe_built_in()
        return
    if LIBRARY.is_at(path):
        library = Library.open(path)
        record = {
            "kind": "library",
            "rows": len(library),
            "columns": library.columns,
            **_describe(library.model),
            **recall_record(library.recall),
        }
        folder: Place = place(path) / LibraryManifest.read(place(path)).model
    else:
        model = load(path)
        record = {"kind": _KINDS.get(type(model).__name__, "model")}
        if isinstance(model, AnomalyDetector):
            record |= _describe_detector(model)
        else:
            record |= _describe(model)
        if isinstance(model, TableAutoencoder):
            record = {**record, "kind": "table", "fingerprint": model.fingerprint_}
            record["columns"] = {c.name: c.kind for c in model.columns_}
            if extremes := model.column_encoder_.extremes():
                record["extreme_values"] = extremes
        folder = path
    record |= _manifest(folder)
    if answered(record):
        return
    # One line tells both.
    record = {n: v for n, v in record.items() if n not in {"corruption", "corruption_level"}}
    for number, layer in enumerate(record.pop("layers", []), 1):
        record[f"layer {number}"] = {name: _shown(layer[name]) for name in ("epochs", "loss")}
    table(
        ["", str(path)], [[key.replace("_", " "), _shown(value)] for key, value in record.items()]
    )


def _describe_built_in() -> None:
    """Print what the shipped models are, and what they were made from."""
    from narrows import builtin

    records = []
    for channels in builtin.CHANNELS:
        model = builtin.denoiser(channels)
        described = {k: v for k, v in _describe(model).items() if not k.startswith("corruption")}
        records.append(
            {"channels": channels, **described, "provenance": builtin.provenance(channels)}
        )
    matcher = {**_describe(builtin.matcher()), "provenance": builtin.provenance("matcher")}
    if answered({"kind": "built-in", "denoisers": records, "matcher": matcher}):
        return
    titles = ("denoiser of grey pictures", "denoiser of colours", "matcher of pictures")
    for title, record in zip(titles, (*records, matcher), strict=True):
        made = record.pop("provenance")
        rows = {**record, **made}
        table(
            ["", title],
            [[key.replace("_", " "), _shown(value)] for key, value in rows.items()],
        )


def _describe(model: "Autoencoder | Encoder | Decoder | PictureEncoder") -> dict[str, Any]:
    from narrows import PictureEncoder

    if isinstance(model, PictureEncoder):
        return model.describe()
    model = getattr(model, "model_", model)  # of a table
    names = ("network_",) if hasattr(model, "classes_") else ("module", "encoder_", "decoder_")
    modules = [getattr(model, name) for name in names if hasattr(model, name)]
    # Tied weights belong to both halves and count once.
    weights = {id(weight): weight.numel() for module in modules for weight in module.parameters()}
    spec = model.spec_
    record: dict[str, Any] = {
        "model": type(model).__name__,
        "architecture": spec.architecture,
        "hidden_layer_sizes": spec.hidden_layer_sizes,
        "n_components": model.spec_.n_components,
        "sample_shape": model.sample_shape_,
        "data_type": model.scaling_.dtype,
        "weights": sum(weights.values()),
        "metric": spec.metric,
    }
    if spec.rate is not None:
        record["rate"] = spec.rate
    if hasattr(model, "classes_"):
        record["classes"] = len(model.classes_)
    corruption = getattr(model, "corruption", None)
    if corruption is not None:
        from narrows.corruption import described
        from narrows.models.damage import corruption_of, level_of
        from narrows.models.persistence import parameter_to_json

        level = getattr(model, "corruption_level", None)
        record["corruption"] = parameter_to_json(corruption)
        record["corruption_level"] = parameter_to_json(level)
        record["damage"] = described(corruption_of(model), level_of(model))
    history = getattr(model, "history_", None)
    if history is not None and (len(history) or history.layers):
        record |= history.summary()
    return record | {"fingerprint": model.fingerprint_}


def _describe_detector(detector: "AnomalyDetector") -> dict[str, Any]:
    return {
        "model": type(detector).__name__,
        "ensemble": detector.ensemble_,
        "rows": detector.kind_of_rows_,
        "sample_shape": detector.sample_shape_,
        "data_type": detector.data_type_,
        "learned_from": len(detector.calibration_scores_),
        "threshold": -detector.offset_,
        "contamination": detector.contamination,
        "false_alarms": detector.false_alarms,
        "fingerprint": detector.fingerprint_,
    }


def _manifest(folder: "Place") -> dict[str, Any]:
    """Return what the manifest of a model tells beside the model itself."""
    from narrows.storage import read_manifest

    manifest = read_manifest(folder)
    findings = manifest.get("findings", {}).items()
    figures = {name.rstrip("_"): _figure(value) for name, value in findings}
    return {
        **{name: figure for name, figure in figures.items() if figure is not None},
        # The names of states are "state", and "imputation_state" of a table's model.
        **({"resumable": bool(manifest.get("files"))} if "training" in manifest else {}),
        "created": manifest["created"],
        "versions": manifest["versions"],
    }


def _figure(value: Any) -> Any:
    """Return what fits a line: a number as it is, a list of yes and no as a count, or None."""
    if not isinstance(value, list):
        return value
    if value and all(isinstance(item, bool) for item in value):
        return f"{sum(value)} of {len(value)}"
    return None


def _shown(value: Any) -> str:
    if isinstance(value, dict) and value:
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None or value == {} else str(value)
