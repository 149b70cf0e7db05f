"""What a classifier does once it has learned: classify, save."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from narrows import storage
from narrows.data.arrays import read_rows
from narrows.data.scaling import Scaling
from narrows.errors import DataError, ParameterError
from narrows.models import persistence
from narrows.models.fitted import Fitted
from narrows.models.halves import Encoder, names_of, run_in_blocks
from narrows.models.persistence import plain_label, unplain
from narrows.models.validation import check_number, check_rows
from narrows.networks.classifier import Classifier, SoftmaxHead
from narrows.training.history import History


class FittedClassifier(
    ClassifierMixin,  # type: ignore[misc]  # untyped
    Fitted,
):
    """The using half of scikit-learn's contract; :class:`EncoderClassifier` adds the learning."""

    classes_: NDArray[Any]
    encoder_: Encoder
    network_: Classifier
    history_: History

    def _logits(self, X: Any) -> NDArray[np.float32]:
        self._check_fitted()
        rows = check_rows(self, X)
        logits = np.empty((len(rows), len(self.classes_)), np.float32)
        run_in_blocks(lambda x: self.network_(self.scaling_(x)), rows, logits, self.network_, "row")
        return logits

    def predict(self, X: Any) -> NDArray[Any]:
        """Tell the most likely class of each row.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Rows, in the units of the training data.

        Returns
        -------
        ndarray of shape (n,)
            Of the labels in ``classes_``.

        Raises
        ------
        NotFittedError, DataError
            If there is nothing learned yet, or the rows are not like those learned from.
        """
        logits = self._logits(X)
        labels: NDArray[Any] = self.classes_[logits.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Tell how likely each row is of each class.

        Parameters
        ----------
        X : array-like
            As :meth:`predict`.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            From 0 to 1; each row's sum is 1.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`predict`.
        """
        chances: NDArray[np.float64] = softmax(self._logits(X).astype(np.float64), axis=1)
        # The network is no more exact.
        return chances.astype(np.float32)

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Return the numbers whose softmax is :meth:`predict_proba`.

        Parameters
        ----------
        X : array-like
            As :meth:`predict`.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) of two classes, float32
            Of two classes, the log of the second's odds.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`predict`.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    @classmethod
    def restore(cls, manifest: Mapping[str, Any], parts: storage.Parts, path: str | Path) -> Self:
        """Build the classifier again from what :func:`narrows.storage.read` gave.

        Its parameter ``encoder`` is then its own encoder.

        Raises
        ------
        FormatError
            If the manifest and the tensors do not belong together.
        """
        encoder = Encoder.restore(manifest, parts, path)
        with storage.explain_damage("classifier", path):
            known = {name: unplain(value) for name, value in manifest["parameters"].items()}
            classifier = cls(**{**known, "encoder": encoder})
            labels, dtype = manifest["classes"]["labels"], np.dtype(manifest["classes"]["dtype"])
            classifier.classes_ = np.asarray(labels, dtype)
            _plain_labels(classifier.classes_)
            head = SoftmaxHead(encoder.spec.code_width, len(classifier.classes_))
            head.load_state_dict(dict(parts["head"]))
            classifier.encoder_ = encoder
            classifier.network_ = Classifier(encoder.module, head).eval()
            classifier.history_ = History.from_json(manifest["training"])
            classifier.n_features_in_ = math.prod(encoder.sample_shape_)
            if (names := names_of(encoder)) is not None:
                classifier.feature_names_in_ = np.asarray(names, dtype=object)
        storage.check_fingerprint(classifier.fingerprint_, manifest, path)
        return classifier

    @property
    def fingerprint_(self) -> str:
        """SHA-256, in hexadecimal, of the weights and of what decides their meaning."""
        self._check_fitted()
        facts = {
            "network": self.encoder_.spec.as_json(),
            "scaling": self.scaling_.facts(),
            "classes": _plain_labels(self.classes_),
        }
        return storage.fingerprint(facts, self._parts())

    @property
    def n_iter_(self) -> int:
        """Epochs trained."""
        return len(self.history_)

    @property
    def n_components(self) -> int:
        """The width of the encoder's code, K."""
        self._check_fitted()
        return self.encoder_.n_components

    @property
    def scaling_(self) -> Scaling:
        """Between the data's units and the network's."""
        return self.encoder_.scaling_

    @property
    def rate_(self) -> int | None:
        """Samples a second of the signals learned from, where they were known; otherwise None."""
        self._check_fitted()
        return self.encoder_.rate_

    @property
    def sample_shape_(self) -> tuple[int, ...]:
        """The shape of one row: ``(F,)``, ``(H, W)`` or ``(H, W, C)``."""
        return self.encoder_.sample_shape_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        manifest = {
            "kind": "classifier",
            "fingerprint": self.fingerprint_,
            # The encoder is the one below; where it came from may be gone.
            "parameters": {**persistence.parameters(self), "encoder": None},
            "network": self.encoder_.spec.as_json(),
            "scaling": self.scaling_.facts(),
            "classes": _plain_labels(self.classes_),
            "feature_names_in": names_of(self),
            "training": self.history_.as_json(),
        }
        return manifest, self._parts()

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        return {"encoder": self.encoder_.tensors(), "head": self.network_.head.state_dict()}


def check_labels(y: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """Check labels (n,) of rows by scikit-learn's rules.

    Raises
    ------
    DataError
        If they are missing, or no classes.
    """
    if y is None:
        raise DataError(
            "EncoderClassifier requires y to be passed, but the target y is None; give a label "
            "for each row"
        )
    try:
        labels: NDArray[Any] = column_or_1d(read_rows(y), warn=True)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(rows, labels)
        check_classification_targets(labels)
    except ValueError as error:
        line = str(error).strip().splitlines()[0]
        raise DataError(f"{line.rstrip('.')}; give a class for each row") from error
    return labels


def check_class_weight(given: Any) -> None:
    """Refuse what does not say how much the rows of each class count.

    Raises
    ------
    ParameterError
        Naming what is wrong.
    """
    if given is None or (isinstance(given, str) and given == "balanced"):
        return
    if not isinstance(given, Mapping):
        raise ParameterError(
            f"class_weight={given!r} is not allowed; give a dict from labels to numbers above 0, "
            "'balanced', or None"
        )
    for label, weight in given.items():
        check_number(f"class_weight[{label!r}]", weight, low=0, open_low=True)


def weigh_classes(
    class_weight: Mapping[Any, float] | str | None,
    classes: NDArray[Any],
    numbers: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Tell how much each row counts, by its class and by its own weight.

    Parameters
    ----------
    class_weight : mapping, "balanced" or None
        Checked.
    classes : ndarray of shape (n_classes,)
        The labels.
    numbers : ndarray of shape (n,)
        Of each row's class among them.
    weights : ndarray of shape (n,) or None
        Each row's own.

    Returns
    -------
    ndarray of shape (n,), or None
        ``None`` if all count the same.

    Raises
    ------
    ParameterError
        If there is a weight for a class that no row has, and none for one that there is.
    """
    if class_weight is None:
        return weights
    own = np.ones(len(numbers)) if weights is None else weights
    if isinstance(class_weight, str):
        of_each = 1 / np.bincount(numbers, weights=own)
    else:
        known = classes.tolist()
        given = {plain_label(label): weight for label, weight in class_weight.items()}
        unnamed = [label for label in known if label not in given]
        strange = [label for label in given if label not in known]
        if unnamed and strange:  # where all classes are named, a fold may lack one of them
            raise ParameterError(
                f"class_weight names the class {strange[0]!r}, which no row has, and not the class "
                f"{unnamed[0]!r}; name the classes by their labels in y"
            )
        of_each = np.array([given.get(label, 1.0) for label in known])
    both = own * of_each[numbers]
    return None if (both == both[0]).all() else both / both.max()


def _plain_labels(classes: NDArray[Any]) -> dict[str, Any]:
    """Turn labels into what JSON can hold."""
    texts = classes.dtype.kind == "O" and all(isinstance(label, str) for label in classes)
    if classes.ndim != 1 or not (texts or classes.dtype.kind in "biufU"):
        raise ParameterError(
            f"labels of type {classes.dtype} cannot be stored; numbers and texts can; fit with "
            "labels of these"
        )
    return {"dtype": "O" if texts else classes.dtype.str, "labels": classes.tolist()}
