"""The use of fitted estimators: encoding, decoding and measuring rows, saving, and display."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

from narrows import storage
from narrows.errors import NotFittedError
from narrows.models import persistence, sensitivity
from narrows.models.encoder_decoder import Decoder, Encoder
from narrows.models.parameters import ModelAttributes
from narrows.models.units import warn_of_units
from narrows.models.validation import check_no_pairs, check_rows
from narrows.training.history import Ending, History
from narrows.training.state import Snapshot

# The text for each way in which training ends.
_ENDED: dict[Ending, str] = {
    "max_epochs": "after all epochs",
    "early_stopping": "early: held-out rows got no better",
    "collapsed": "early: it was unstable",
    "interrupted": "interrupted",
    "running": "still going on",
}
_DIGITS = 12  # the digits of the fingerprint that are shown
# The size of the loss curve in pixels, with a margin for the width of the line.
_WIDTH, _HEIGHT, _MARGIN = 260, 72, 4
# The number of rows whose reconstructions are held at once to be compared.
_ERROR_BLOCK = 1024
_LARGEST = float(np.finfo(np.float32).max)


class StorableEstimator(
    BaseEstimator,  # type: ignore[misc]  # untyped
    ABC,
):
    """The base of models and classifiers: saving, display, and the check that they are fitted."""

    history_: History

    @abstractmethod
    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the estimator is fitted."""

    @abstractmethod
    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        """Return the manifest and the tensors to be saved."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save the fitted estimator to a folder; :func:`narrows.load` reads it.

        Parameters
        ----------
        path : str or Path
            The folder, which holds safetensors and JSON. It is written atomically: after a crash
            it is complete, or as it was before. ``history.csv`` in it lists the epochs of what was
            trained in epochs; loading ignores it.
        overwrite : bool, default=False
            Whether an existing model is replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ParameterError
            If the labels of a classifier are of another type than numbers and texts.
        OutputExistsError, OutputError
            If the folder exists, or cannot be written.
        """
        self._check_fitted()
        return storage.write(path, *self._stored(), overwrite=overwrite, notes=self._notes())

    def _notes(self) -> dict[str, bytes]:
        """Return further files of the folder, which loading ignores, by their names."""
        return self.history_.files()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _check_fitted(self) -> None:
        """Refuse to be used before fitting.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet: it has learned nothing; "
                "call fit first, or load one"
            )

    def _repr_html_inner(self) -> str:
        """Return scikit-learn's diagram, followed by a table of the fitted estimator."""
        diagram: str = super()._repr_html_inner()
        return diagram + self._learned_html() if self.__sklearn_is_fitted__() else diagram

    def _learned_html(self) -> str:
        """Return a table about the fitted estimator, as HTML."""
        return _learned_html(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._repr_html_inner()
        return bundle


class FittedModelMethods(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # untyped
    TransformerMixin,  # type: ignore[misc]  # untyped
    StorableEstimator,
    ModelAttributes,
):
    """The methods of fitted models; :class:`BaseAutoencoder` adds training.

    Examples
    --------
    Every fitted model has these methods:

    >>> import tempfile
    >>> from narrows import Autoencoder, datasets, load
    >>> digits = datasets.load("digits")
    >>> X = digits.X_test
    >>> model = Autoencoder(8, max_epochs=5, random_state=0).fit(digits.X_train)
    >>> codes = model.transform(X)
    >>> decoded = model.inverse_transform(codes)
    >>> X.shape, codes.shape, decoded.shape
    ((360, 8, 8), (360, 8), (360, 8, 8))
    >>> bool((model.reconstruct(X) == decoded).all() and (model.denoise(X) == decoded).all())
    True
    >>> errors = model.reconstruction_error(X)
    >>> bool((model.score_samples(X) == -errors).all()), bool(model.score(X) < 0)
    (True, True)
    >>> encoder, decoder = model.split()
    >>> bool((decoder.inverse_transform(encoder.transform(X)) == decoded).all())
    True
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(model.save(f"{folder}/model")).fingerprint_ == model.fingerprint_
    True
    """

    # The training state, in memory or in the folder from which the model was loaded.
    _run_state: Snapshot | persistence.StoredState | None = None

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode rows.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, in the units of the training data.

        Returns
        -------
        ndarray of shape (n, K), float32
            The codes.

        Raises
        ------
        NotFittedError, DataError
            If the model is not fitted, or the rows differ from the training rows in shape, columns
            or type, or have values that are not finite.
        """
        return self._encode(self._check_rows(X))

    def inverse_transform(
        self, Z: Any, sample_shape: tuple[int, ...] | None = None
    ) -> NDArray[np.floating]:
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n, K)
            Codes.
        sample_shape : tuple of int, optional
            The shape of the encoded pictures, if a fully convolutional model encoded pictures of
            another shape than those of the training data.

        Returns
        -------
        ndarray of shape (n, *sample_shape_)
            Rows in the units of the training data; for uint8 pictures, numbers from 0 to 255.
            float64 where float32 cannot hold all values of the training data's type (float64,
            int32, int64), otherwise float32.

        Raises
        ------
        NotFittedError, DataError
            If the model is not fitted, or the codes have another width.
        """
        self._check_fitted()
        return persistence.halves(self)[1].inverse_transform(Z, sample_shape)

    def reconstruct(self, X: Any) -> NDArray[np.floating]:
        """Encode rows and decode their codes.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows.

        Returns
        -------
        ndarray of the shape of X
            Reconstructed rows, of the type that :meth:`inverse_transform` returns.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        rows = self._check_rows(X)
        decoded = self._decode(self._encode(rows), rows.shape[1:])
        return decoded.reshape(np.shape(X)) if np.ndim(X) > 1 else decoded

    def denoise(self, X: Any) -> NDArray[np.floating]:
        """Restore clean rows from damaged ones, with a model trained with ``corruption``.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Damaged rows, in the units of the training data.

        Returns
        -------
        ndarray of the shape of X
            Restored rows, of the type that :meth:`inverse_transform` returns.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.

        Warns
        -----
        NarrowsWarning
            "other_units", of pictures that cannot be in the units of the training data, such as
            16-bit ones where the model learned from 8 bits, or shades from 0 to 1.

        Notes
        -----
        A model that learned by ``corruption="blind_spot"`` predicts each pixel from the others, in
        as many passes as there are pixels to a hidden one (4 by default), and brings its own value
        back by the posterior mean, for noise of the standard deviations ``noise_at_black_`` and
        ``noise_at_white_``, which ``fit`` measured.
        """
        rows = self._check_rows(X)
        if self.spec_.shows_pictures:
            warn_of_units(self.scaling_, rows)
        restored = self._restore(rows)
        return restored.reshape(np.shape(X)) if np.ndim(X) > 1 else restored

    def _restore(self, rows: NDArray[Any]) -> NDArray[np.floating]:
        """Restore checked rows."""
        return self._decode(self._encode(rows), rows.shape[1:])

    def reconstruction_error(self, X: Any) -> NDArray[np.floating]:
        """Measure the error of the reconstruction of each row; lower is better.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows.

        Returns
        -------
        ndarray of shape (n,), float32
            The mean over features of the squared difference, in the data's units squared; float64
            if one of these exceeds 3.4e38.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        rows = self._check_rows(X)
        errors = np.empty(len(rows))
        for start in range(0, len(rows), _ERROR_BLOCK):
            block = slice(start, start + _ERROR_BLOCK)
            part = rows[block]  # rows on a disk are read once
            decoded = self._decode(self._encode(part), rows.shape[1:])
            difference = np.subtract(decoded, part, dtype=np.float64)
            errors[block] = np.square(difference, out=difference).mean(
                axis=tuple(range(1, difference.ndim))
            )
        # Single precision is as exact as the network, but may be too small for squares.
        return errors if errors.max() > _LARGEST else errors.astype(np.float32)

    def score_samples(self, X: Any) -> NDArray[np.floating]:
        """Return minus the reconstruction error of each row: higher is better.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows.

        Returns
        -------
        ndarray of shape (n,), float32
            At most 0, in the data's units squared.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        return -self.reconstruction_error(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean reconstruction error: higher is better, as model selection wants.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows.
        y : array-like of shape (n,) or (n, m), optional
            Labels, which are ignored. Rows like those of X are refused: only
            :class:`narrows.DenoisingAutoencoder` measures against clean rows.

        Returns
        -------
        float
            At most 0, in the data's units squared.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`; also if y has the shape of rows.
        """
        rows = self._check_rows(X)
        check_no_pairs(self, rows, y)
        return float(self.score_samples(rows).mean(dtype=np.float64))

    def jacobian_norm(self, X: Any) -> NDArray[np.float32]:
        """Measure the sensitivity of each row's code to changes of the row, exactly.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, in the units of the training data.

        Returns
        -------
        ndarray of shape (n,), float32
            The Frobenius norm of the Jacobian of the code, K by F, with respect to the scaled row.
            :class:`narrows.ContractiveAutoencoder` minimises the mean of its square.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        rows = self._check_rows(X)
        return sensitivity.measure(self.encoder_, self.scaling_, rows)

    def jacobian_singular_values(self, X: Any) -> NDArray[np.float32]:
        """Measure the sensitivity of each row's code along its principal directions.

        Rifai, Vincent, Muller, Glorot & Bengio (2011), "Contractive auto-encoders", section 5.3:
        the code of a contractive model is sensitive along few directions, those of the data's
        variation.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, in the units of the training data; each costs K passes.

        Returns
        -------
        ndarray of shape (n, min(K, F)), float32
            The singular values of the Jacobian of the code with respect to the scaled row, the
            largest first. The root of the sum of their squares is :meth:`jacobian_norm`.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        rows = self._check_rows(X)
        return sensitivity.measure_singular_values(self.encoder_, self.scaling_, rows)

    def split(self) -> tuple[Encoder, Decoder]:
        """Split the model into its two halves, each of which can be used and saved alone.

        Returns
        -------
        encoder : Encoder
        decoder : Decoder
            The halves, which share the model's weights until they are saved.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        """
        self._check_fitted()
        return persistence.halves(self, self.fingerprint_)

    @property
    def fingerprint_(self) -> str:
        """SHA-256, in hexadecimal, of weights, network description and scaling."""
        self._check_fitted()
        return persistence.fingerprint(self)

    @property
    def rate_(self) -> int | None:
        """Samples per second of the training signals; None if unknown."""
        self._check_fitted()
        return self.spec_.rate

    @property
    def takes_any_size_(self) -> bool:
        """Whether pictures of other sizes than those of the training data can be encoded."""
        self._check_fitted()
        return bool(self.spec_.is_map)

    @classmethod
    def restore(cls, manifest: Mapping[str, Any], parts: storage.Parts, path: str | Path) -> Self:
        """Build a saved model from the results of :func:`narrows.storage.read`.

        Parameters
        ----------
        manifest : mapping
            The contents of ``narrows.json``.
        parts : mapping of str to mapping of str to Tensor
            The tensors of each half.
        path : str or Path
            The folder, for messages.

        Returns
        -------
        BaseAutoencoder
            A fitted model of this class.

        Raises
        ------
        FormatError
            If the manifest and the tensors do not belong together.
        """
        return persistence.restore(cls, manifest, parts, path)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.spec_.code_width

    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        return persistence.stored(self)

    def _check_rows(self, X: Any) -> NDArray[Any]:
        """Check rows to be used, and reshape flat ones to the shape of the training rows."""
        self._check_fitted()
        return check_rows(self, X)

    def _encode(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        return persistence.halves(self)[0].encode(rows)

    def _decode(
        self, codes: NDArray[np.float32], sample_shape: tuple[int, ...] | None = None
    ) -> NDArray[np.floating]:
        return persistence.halves(self)[1].decode(codes, sample_shape)


def _learned_html(model: Any) -> str:
    """Return a table about a fitted estimator, and its loss by epoch, as HTML.

    The HTML loads nothing, runs no scripts, and uses the colours of the page.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder
    >>> X = np.random.default_rng(0).random((50, 6))
    >>> html = _learned_html(Autoencoder(2, max_epochs=3).fit(X))
    >>> "<td>2</td>" in html, "<svg" in html
    (True, True)
    """
    history = model.history_
    width = model.spec_.code_width
    summary = history.summary()
    name = "validation_loss" if "validation_loss" in history.columns else "loss"
    best = history.best.get(name) if history.epochs else None
    layers = [str(len(layer)) for layer in history.layers]
    figures = {
        "numbers in the code": str(width),
        "shape of a row": " x ".join(map(str, model.sample_shape_)),
        "epochs": str(len(history)) + (f" (layers: {', '.join(layers)})" if layers else ""),
        "training ended": _ENDED[history.ended],
        f"best {name.replace('_', ' ')}": "none" if best is None else f"{best:.5g}",
        "seconds": f"{summary['seconds']:.1f}",
        "fingerprint": model.fingerprint_[:_DIGITS],
    }
    return f'<div class="narrows-learned">{html_table(figures)}{_curve(history, name)}</div>'


def html_table(figures: Mapping[str, str]) -> str:
    """Return figures beside their titles, as HTML."""
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(title)}</th><td>{escape(figure)}</td></tr>'
        for title, figure in figures.items()
    )
    return f"<table>{lines}</table>"


def _curve(history: History, name: str) -> str:
    """Draw a loss by epoch, with a caption of both ends; nothing for fewer than two epochs."""
    values = np.array([record.get(name, np.nan) for record in history.epochs], float)
    epochs = np.flatnonzero(np.isfinite(values))
    if len(epochs) < 2:
        return ""
    values = values[epochs]
    x = _MARGIN + (_WIDTH - 2 * _MARGIN) * (epochs - epochs[0]) / (epochs[-1] - epochs[0])
    span = np.ptp(values) or 1.0
    y = _MARGIN + (_HEIGHT - 2 * _MARGIN) * (values.max() - values) / span
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    words = escape(
        f"{name.replace('_', ' ')} from {values[0]:.4g} in epoch {epochs[0] + 1} to "
        f"{values[-1]:.4g} in epoch {epochs[-1] + 1}"
    )
    return (
        f'<figure style="margin:0.5em 0"><svg width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-label="{words}"><polyline points="{points}" '
        f'fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
        f"<figcaption>{words}</figcaption></figure>"
    )
