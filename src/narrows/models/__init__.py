"""The models: scikit-learn estimators, one file each. A new one is a file and a line below."""

from pathlib import Path

from narrows import storage
from narrows.errors import FormatError
from narrows.models.autoencoder import Autoencoder
from narrows.models.base import BaseAutoencoder
from narrows.models.classifier import EncoderClassifier
from narrows.models.contractive import ContractiveAutoencoder
from narrows.models.denoising import DenoisingAutoencoder
from narrows.models.encoder_decoder import Decoder, Encoder
from narrows.models.registry import MODELS, class_named
from narrows.models.sparse import SparseAutoencoder
from narrows.models.stacked import StackedAutoencoder
from narrows.models.variational import VariationalAutoencoder

__all__ = [
    "MODELS",
    "Autoencoder",
    "BaseAutoencoder",
    "ContractiveAutoencoder",
    "Decoder",
    "DenoisingAutoencoder",
    "Encoder",
    "EncoderClassifier",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "VariationalAutoencoder",
    "load",
]


def load(path: str | Path) -> BaseAutoencoder | Encoder | Decoder | EncoderClassifier:
    """Read a model, one half of one, or a classifier, from its folder.

    Nothing in the folder is run as code: it may come from a stranger.

    Parameters
    ----------
    path : str or Path
        A folder that ``save`` wrote.

    Returns
    -------
    BaseAutoencoder, Encoder, Decoder or EncoderClassifier
        What was saved; its codes are equal to the saved one's bit for bit on the same machine.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    FormatError
        If it is damaged, foreign, or of a newer version of Narrows.

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
    match manifest.get("kind"):
        case "encoder":
            return Encoder.restore(manifest, parts, path)
        case "decoder":
            return Decoder.restore(manifest, parts, path)
        case "classifier":
            return EncoderClassifier.restore(manifest, parts, path)
        case "model":
            if (known := class_named(name := manifest.get("model"))) is not None:
                restored: BaseAutoencoder = known.restore(manifest, parts, path)
                return restored
            classes = ", ".join(model.__name__ for model in MODELS.values())
            raise FormatError(
                f"'{path}' holds a model {name!r}; this Narrows has {classes}; install a Narrows "
                "that has it, or the package that brings it"
            )
        case kind:
            raise FormatError(
                f"'{path}' says it holds a {kind!r}; a model, an encoder, a decoder or a "
                "classifier is allowed; name a folder that a model was saved to"
            )
