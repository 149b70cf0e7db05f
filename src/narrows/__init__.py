"""Narrows: autoencoders as easy as PCA.

Names are imported when they are first used, so that ``import narrows`` is quick, and torch is
imported only by what needs it.

Importing narrows sets the environment variable ``OMP_WAIT_POLICY`` to ``PASSIVE``, unless it is set
already, so that training does not collapse on a busy machine. OpenMP reads the variable once, when
torch is first imported: import narrows before torch, or set the variable yourself.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# By default OpenMP's threads spin while they wait, which on a busy machine slows small steps by a
# factor of thirty.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from narrows import datasets, errors, plots, signals
    from narrows.data.lance_rows import pack
    from narrows.library import Library
    from narrows.models import (
        MODELS,
        AnomalyDetector,
        Autoencoder,
        ContractiveAutoencoder,
        Decoder,
        DenoisingAutoencoder,
        Encoder,
        EncoderClassifier,
        MatchingAutoencoder,
        PictureEncoder,
        SparseAutoencoder,
        StackedAutoencoder,
        TableAutoencoder,
        VariationalAutoencoder,
        load,
    )

__all__ = [
    "MODELS",
    "AnomalyDetector",
    "Autoencoder",
    "ContractiveAutoencoder",
    "Decoder",
    "DenoisingAutoencoder",
    "Encoder",
    "EncoderClassifier",
    "Library",
    "MatchingAutoencoder",
    "PictureEncoder",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "TableAutoencoder",
    "VariationalAutoencoder",
    "__version__",
    "datasets",
    "errors",
    "load",
    "pack",
    "plots",
    "signals",
]

_HOMES = {
    **dict.fromkeys(__all__, "narrows.models"),
    **{name: f"narrows.{name}" for name in ("datasets", "errors", "plots", "signals")},
    "Library": "narrows.library",
    "pack": "narrows.data.lance_rows",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'narrows' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    value = module if _HOMES[name] == f"narrows.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
