"""Conversion of fitted models to manifests and tensors for storage, and back."""

import hashlib
import json
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from narrows import networks, storage
from narrows.corruption import Unstored
from narrows.data.lazy_rows import StoredRows
from narrows.errors import FormatError, ParameterError
from narrows.models.choices import restore_choices
from narrows.models.damage import check_range, known_range
from narrows.models.encoder_decoder import Decoder, Encoder, names_of, network_facts
from narrows.models.learned_rows import LearnedRows
from narrows.models.parameters import ModelAttributes
from narrows.models.registry import class_named, package_of
from narrows.texts import shortened
from narrows.training.history import History
from narrows.training.state import DAMAGES, Snapshot

Model = TypeVar("Model", bound=ModelAttributes)

STATE = "state"
"""The name, in a model's manifest, of the file that holds its training state."""

# Parameters that do not affect the result of a run.
_BESIDE_THE_RUN = {"checkpoint", "verbose", "device"}
# The number of rows that are copied at a time to be hashed.
_BLOCK = 4096

HASHED_BLOCKS, ROWS_PER_HASHED_BLOCK = 64, 16
"""The evenly spread blocks of rows, and the rows of each, that are hashed as a sample of rows."""


@dataclass(frozen=True)
class StoredState:
    """A training state in a model's folder, which is read when it is needed.

    Attributes
    ----------
    path : Path
        The folder.
    entry : dict of str to str
        The file's name and the SHA-256 of its contents.
    """

    path: Path
    entry: dict[str, str]

    def read(self) -> Snapshot:
        """Read the state.

        Raises
        ------
        FormatError
            If the file is missing or damaged.
        """
        contents = storage.read_file(self.path, self.entry)
        try:
            return Snapshot.from_bytes(contents)
        except DAMAGES as error:
            raise FormatError(
                f"'{self.path / self.entry['file']}' holds no training state "
                f"({type(error).__name__}); copy the model's folder again, whole, or train anew"
            ) from error


def halves(model: ModelAttributes, fingerprint: str = "") -> tuple[Encoder, Decoder]:
    """Return the two halves of a fitted model, which share its weights."""
    around = (model.scaling_, model.spec_, fingerprint, names_of(model))
    return Encoder(model.encoder_, *around), Decoder(model.decoder_, *around)


def stored(model: ModelAttributes) -> tuple[dict[str, Any], storage.Parts]:
    """Return a fitted model's manifest and tensors; :func:`restore` takes them."""
    encoder, decoder = halves(model, fingerprint(model))
    manifest: dict[str, Any] = {
        "kind": "model",
        "model": type(model).__name__,
        "fingerprint": encoder.fingerprint_,
        "parameters": parameters(model),
        **network_facts(model.spec_),
        "scaling": model.scaling_.facts(),
        "loss": model.loss_,
        "n_features_in": model.n_features_in_,
        "feature_names_in": names_of(model),
        "training": model.history_.as_json(),
        "findings": {
            name: getattr(model, name).tolist() for name in _findings(model) if hasattr(model, name)
        },
    }
    if (package := package_of(type(model))) is not None:
        manifest["versions"] = {**manifest.get("versions", {}), package: version(package)}
    parts = {"encoder": encoder.tensors(), "decoder": decoder.tensors()}
    manifest["choices"] = {name: list(choice) for name, choice in model.choices_.items()}
    if model.learned_rows_ is not None:
        manifest["rows"] = model.learned_rows_.facts()
        parts["rows"] = model.learned_rows_.tensors()
    return manifest, parts


def restore(
    cls: type[Model], manifest: Mapping[str, Any], parts: storage.Parts, path: str | Path
) -> Model:
    """Build a saved model; see :meth:`narrows.models.BaseAutoencoder.restore`."""
    encoder = Encoder.restore(manifest, parts, path)
    decoder = Decoder.restore(manifest, parts, path)
    with storage.explain_damage("model", path):
        _check_facts(manifest, encoder)
        model = cls(
            **{name: parameter_from_json(value) for name, value in manifest["parameters"].items()}
        )
        model.spec_ = encoder.spec
        model.scaling_ = encoder.scaling_
        model.sample_shape_ = encoder.sample_shape_
        model.loss_ = manifest["loss"]
        model.n_features_in_ = math.prod(model.sample_shape_)
        if (names := manifest["feature_names_in"]) is not None:
            model.feature_names_in_ = np.asarray(names, dtype=object)
        for name in _findings(model):
            if name in manifest["findings"]:
                # The index makes a scalar of an array without dimensions.
                setattr(model, name, np.asarray(manifest["findings"][name])[()])
        model.choices_ = restore_choices(manifest.get("choices", {}))
        model.learned_rows_ = (
            LearnedRows.restore(parts["rows"], manifest["rows"]) if "rows" in parts else None
        )
        if (ends := known_range(model)) is not None:
            check_range(ends, model.sample_shape_)
        network = networks.join(encoder.module, decoder.module, encoder.spec)
        model._keep(network, History.from_json(manifest["training"]))
        entry = manifest.get("files", {}).get(STATE)
        if entry is not None and isinstance(path, str | Path):
            model._run_state = StoredState(Path(path), entry)
    storage.check_fingerprint(model.fingerprint_, manifest, path)
    return model


def _check_facts(manifest: Mapping[str, Any], encoder: Encoder) -> None:
    """Refuse a manifest whose entries cannot belong to a model."""
    if not isinstance(manifest["parameters"], dict):
        raise TypeError("the parameters are not named values")
    if not isinstance(manifest["loss"], str):
        raise TypeError(f"the loss is {manifest['loss']!r}, not a word")
    if manifest["n_features_in"] != math.prod(encoder.sample_shape_):
        raise ValueError(f"n_features_in is not that of rows of shape {encoder.sample_shape_}")


def fingerprint(model: ModelAttributes) -> str:
    """Hash a model's weights, the description of its network and its scaling."""
    facts = {"network": model.spec_.as_json(), "scaling": model.scaling_.facts()}
    return storage.fingerprint(facts, {half.kind: half.tensors() for half in halves(model)})


def parameters(model: BaseEstimator) -> dict[str, Any]:
    """Return the constructor's parameters as JSON; a checkpoint's path is left out.

    Raises
    ------
    ParameterError
        If a parameter has a type that JSON has no place for, such as a set.
    """
    found: dict[str, Any] = {}
    for name, value in model.get_params(deep=False).items():
        try:
            found[name] = None if name == "checkpoint" else parameter_to_json(value)
        except TypeError as error:
            raise ParameterError(
                f"{name}={shortened(repr(value))} cannot be stored in a saved model, as it has "
                f"{error}; give numbers, texts, None, or tuples and dicts of them",
                parameter=name,
            ) from None
    return found


def parameter_to_json(value: Any) -> Any:
    """Convert a parameter to JSON; a function becomes its name.

    Random generators and paths, which mean nothing on another machine, become None.

    Raises
    ------
    TypeError
        If there is a value of another type than numbers, texts, sequences and mappings.
    """
    if isinstance(value, BaseEstimator):
        return {"model": type(value).__name__, "parameters": parameters(value)}
    if isinstance(value, Mapping):
        return {
            "by_label": [
                [label_to_json(key), parameter_to_json(item)] for key, item in value.items()
            ]
        }
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__name__)
        return {"function": value.name if isinstance(value, Unstored) else name}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [parameter_to_json(item) for item in value]
    return _scalar_to_json(value)


def _scalar_to_json(value: Any) -> bool | float | str | None:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, np.random.RandomState | np.random.Generator | Path):
        return None
    raise TypeError(f"a value of type {type(value).__name__!r}")


def label_to_json(label: Any) -> Any:
    """Convert the label of a class from a NumPy type to a Python type."""
    return label.item() if isinstance(label, np.generic) else label


def parameter_from_json(value: Any) -> Any:
    """Convert JSON back to a parameter."""
    if isinstance(value, list):
        return tuple(map(parameter_from_json, value))
    if not isinstance(value, dict):
        return value
    if "by_label" in value:
        return {
            parameter_from_json(key): parameter_from_json(item) for key, item in value["by_label"]
        }
    if "model" not in value:
        return Unstored(str(value.get("function")))
    cls = class_named(value["model"])
    if cls is None:
        raise ValueError(f"there is no model {value['model']!r}")
    return cls(**{k: parameter_from_json(v) for k, v in value["parameters"].items()})


def _instructions(corruption: Any) -> list[str]:
    """Return the bytecode of user-defined corruptions, which tells equal names apart."""
    kinds = corruption if isinstance(corruption, list | tuple) else [corruption]
    codes = (getattr(kind, "__code__", None) for kind in kinds)
    return [f"{code.co_code.hex()} {code.co_names}" for code in codes if code is not None]


def _findings(model: ModelAttributes) -> list[str]:
    """Return the names of the fitted arrays that a model's class and its bases save."""
    names = (name for base in type(model).__mro__ for name in vars(base).get("_findings", ()))
    return list(dict.fromkeys(names))


def run_identity(model: ModelAttributes, *data: NDArray[Any]) -> str:
    """Hash the parameters and rows of a run; of rows on a disk, a sample and their files."""
    settings = {k: v for k, v in parameters(model).items() if k not in _BESIDE_THE_RUN}
    shapes = [[X.shape, str(X.dtype)] for X in data]
    facts = [type(model).__name__, settings, _instructions(model.corruption), shapes]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for X in data:
        stamp = X.stamp() if isinstance(X, StoredRows) else None
        if stamp is not None:
            digest.update(repr(stamp).encode())
        step = _BLOCK if stamp is None else max(ROWS_PER_HASHED_BLOCK, -(-len(X) // HASHED_BLOCKS))
        for start in range(0, len(X), step):
            block = X[start : start + (_BLOCK if stamp is None else ROWS_PER_HASHED_BLOCK)]
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()
