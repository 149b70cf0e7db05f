"""The models, scikit-learn estimators with one file each; a new model needs an import below."""

from pathlib import Path

from narrows import storage
from narrows.errors import FormatError
from narrows.models.anomalies import AnomalyDetector
from narrows.models.autoencoder import Autoencoder
from narrows.models.base import BaseAutoencoder
from narrows.models.classifier import EncoderClassifier
from narrows.models.contractive import ContractiveAutoencoder
from narrows.models.denoising import DenoisingAutoencoder
from narrows.models.encoder_decoder import Decoder, Encoder
from narrows.models.matching import MatchingAutoencoder
from narrows.models.picture_encoder import CodeEncoder, CodeSpec, PictureEncoder
from narrows.models.registry import MODELS, class_named
from narrows.models.sparse import SparseAutoencoder
from narrows.models.stacked import StackedAutoencoder
from narrows.models.table import TableAutoencoder
from narrows.models.variational import VariationalAutoencoder

__all__ = [
    "MODELS",
    "AnomalyDetector",
    "Autoencoder",
    "BaseAutoencoder",
    "CodeEncoder",
    "CodeSpec",
    "ContractiveAutoencoder",
    "Decoder",
    "DenoisingAutoencoder",
    "Encoder",
    "EncoderClassifier",
    "MatchingAutoencoder",
    "PictureEncoder",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "TableAutoencoder",
    "VariationalAutoencoder",
    "load",
]


def load(
    path: str | Path,
) -> (
    BaseAutoencoder
    | TableAutoencoder
    | Encoder
    | Decoder
    | EncoderClassifier
    | AnomalyDetector
    | PictureEncoder
):
    """Read a model, a half of one, a classifier, a detector or an encoder from its folder.

    The folder is data: nothing in it is run as code, so that it may come from a stranger.

    Parameters
    ----------
    path : str or Path
        A folder that ``save`` wrote.

    Returns
    -------
    BaseAutoencoder, or another of these classes
        The saved object; its codes or scores equal the original's bit for bit on the same machine.

    Raises
    ------
    MissingFileError
        If the folder does not exist.
    FormatError
        If it is damaged, of another program, or of a newer version of Narrows.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from narrows import Autoencoder, load
    >>> X = np.random.default_rng(0).random((100, 8), dtype=np.float32)
    >>> model = Autoencoder(2, max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = load(model.save(f"{folder}/model"))
    >>> bool((again.transform(X) == model.transform(X)).all())
    True
    """
    manifest, parts = storage.read(path)
    kind, name = manifest.get("kind"), manifest.get("model")
    for part in (Encoder, Decoder):
        if kind == part.kind:
            return part.restore(manifest, parts, path)
    if kind == "classifier":
        return EncoderClassifier.restore(manifest, parts, path)
    if kind == "detector":
        return AnomalyDetector.restore(manifest, parts, path)
    if kind == "picture_encoder":
        return PictureEncoder.restore(manifest, path)
    if kind == "table":
        return TableAutoencoder.restore(manifest, parts, path)
    if kind != "model":
        raise FormatError(
            f"'{path}' says it holds a {kind!r}; a model, an encoder, a decoder, a classifier or a "
            "detector is allowed; name a folder that a model was saved to"
        )
    model = class_named(name)
    if model is None:
        classes = ", ".join(model.__name__ for model in MODELS.values())
        raise FormatError(
            f"'{path}' holds a model {name!r}; this Narrows has {classes}; install a Narrows that "
            f"has it, or {storage.packages_needed(manifest)}"
        )
    restored: BaseAutoencoder = model.restore(manifest, parts, path)
    return restored
