"""A classifier: an encoder that was trained without labels, and a softmax trained with them.

Hinton & Salakhutdinov (2006), "Reducing the dimensionality of data with neural networks"; Vincent
et al. (2010), "Stacked denoising autoencoders", section 6: pretraining without labels, then
fine-tuning by the cross-entropy of the classes.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin, clone
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor, nn
from torch.nn import functional

from narrows import networks, ranks, storage
from narrows.corruption import Corruption, Damage, Level
from narrows.data.arrays import as_rows, read_rows
from narrows.data.batches import RowWeights, anywhere_stored, numbers_of, without_zero_weights
from narrows.data.formats import is_numeric
from narrows.data.lazy_rows import strided
from narrows.data.scaling import Scaling, Statistics
from narrows.errors import DataError, NotFittedError, ParameterError
from narrows.losses import Loss
from narrows.models import persistence, resolve
from narrows.models.autoencoder import Autoencoder
from narrows.models.base import BaseAutoencoder
from narrows.models.damage import choose_damage, range_of
from narrows.models.encoder_decoder import Encoder, names_of, network_facts, run_in_blocks
from narrows.models.fitted import StorableEstimator
from narrows.models.parameters import RandomState
from narrows.models.persistence import label_to_json, parameter_from_json
from narrows.models.runs import split_rows, unchanged_on_failure, warn_of_interruption
from narrows.models.stacked import start_model
from narrows.models.validation import (
    check_damage,
    check_flag,
    check_number,
    check_rows,
    check_training,
)
from narrows.networks import NetworkSpec
from narrows.texts import is_text, is_word
from narrows.training.history import History
from narrows.training.loop import new_optimizer, train
from narrows.training.progress import print_epoch

# The default peak learning rates of the softmax and of the encoder. The first is at most one over
# the width of the code, since a step of Adam changes every weight equally.
_RATE, _RATE_OVER_WIDTH, _ENCODER_RATE = 1e-2, 1.0, 1e-3
# The number of rows whose codes determine the initial weights of the softmax.
_ROWS_TO_START = 10_000
# The smallest standard deviation that the softmax divides codes by.
_LEAST_SPREAD = 1e-6


@dataclass(kw_only=True, eq=False, repr=False)
class EncoderClassifier(
    ClassifierMixin,  # type: ignore[misc]  # untyped
    StorableEstimator,
):
    """A classifier on the codes of an encoder, which is fine-tuned with the labels or kept fixed.

    Parameters
    ----------
    encoder : model, Encoder, path or None, default=None
        A model trained without labels, its encoder, or the folder of either, of which a copy is
        used. ``None`` stands for the encoder of a new :class:`Autoencoder`, untrained. This is the
        only positional parameter.
    from_scratch : bool, default=False
        Whether the encoder gets new initial weights, which shows the benefit of its training. It
        may then be a model that is not fitted.
    fine_tune : bool, default=True
        Whether the encoder is trained too, or the softmax alone.
    corruption : str, callable, sequence of them, or None, default=None
        Damage to rows during training, as for the models. It needs ``fine_tune``.
    corruption_level : float, "auto", pair of float, or sequence of them, default="auto"
        Strength of that damage, from 0 to 1, or a range, as for the models.
    class_weight : dict, "balanced" or None, default=None
        Weight of the rows of each class, above 0, by label; other classes have the weight 1.
        "balanced" gives all classes the same total weight, whatever their number of rows. It
        multiplies ``sample_weight``.
    max_epochs : int or "auto", default="auto"
        Passes over the data; "auto" chooses 5 to 100 from the number of rows.
    batch_size : int or "auto", default="auto"
        Rows per step; "auto" chooses 32 to 512 from the number of rows.
    learning_rate : float or "auto", default="auto"
        The peak learning rate of the softmax, in a one-cycle schedule; "auto" takes 0.01, or one
        over the width of the code where that is less.
    encoder_learning_rate : float or "auto", default="auto"
        The peak learning rate of the encoder; "auto" takes 0.001.
    weight_decay : float, default=0.1
        Share of each weight, times the learning rate, that every step subtracts (AdamW).
    early_stopping : bool, default=False
        Whether rows are held out, training stops when their loss no longer falls, and the weights
        that were best on them are kept. The loss may rise while the share of errors still falls.
    validation_fraction : float or "auto", default="auto"
        Share of the rows held out, between 0 and 1; "auto" takes a tenth, at most 1 000 rows, and
        none of fewer than 95.
    n_iter_no_change : int, default=10
        Epochs without a smaller held-out loss after which training stops, counted from where the
        learning rate has fallen below half its peak.
    device : str, default="auto"
        "auto" (a GPU if available), "cpu", "cuda", ...
    random_state : int, RandomState or None, default=None
        The random seed of the initial weights, the held-out rows, shuffling and noise.
    verbose : int, default=0
        Whether a line is printed for each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    encoder_ : Encoder
        The encoder after training, with its original scaling.
    network_ : torch.nn.Module
        The network from scaled rows (B, ...) to logits (B, n_classes).
    history_ : History
        The cross-entropy, epoch by epoch.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Values in one row.
    fingerprint_ : str
        SHA-256 of the weights, the description of the network, the scaling and the labels.

    Examples
    --------
    >>> from narrows import DenoisingAutoencoder, EncoderClassifier, datasets
    >>> X, y, X_test, y_test = datasets.load("digits")
    >>> model = DenoisingAutoencoder(16, max_epochs=10, random_state=0).fit(X)
    >>> classifier = EncoderClassifier(model, max_epochs=10, random_state=0).fit(X[:500], y[:500])
    >>> bool(classifier.score(X_test, y_test) > 0.85)
    True
    >>> classifier.predict_proba(X_test).shape
    (360, 10)
    """

    encoder: BaseAutoencoder | Encoder | str | Path | None = field(default=None, kw_only=False)
    from_scratch: bool = False
    fine_tune: bool = True
    corruption: str | Corruption | Sequence[str | Corruption] | None = None
    corruption_level: Level | Sequence[Level] = "auto"
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None
    max_epochs: int | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    learning_rate: float | Literal["auto"] = "auto"
    encoder_learning_rate: float | Literal["auto"] = "auto"
    weight_decay: float = 0.1
    early_stopping: bool = False
    validation_fraction: float | Literal["auto"] = "auto"
    n_iter_no_change: int = 10
    device: str = "auto"
    random_state: RandomState = None
    verbose: int = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the classifier on labelled rows.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, in the units of the encoder's training data.
        y : array-like of shape (n,)
            Their labels: integers, strings, booleans.
        sample_weight : array-like of shape (n,), optional
            Weight of each row, at least 0; equal by default. A row of weight 2 counts as two rows
            of weight 1; a row of weight 0 is ignored.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError
            If a parameter, the rows or the labels cannot be used.
        NotFittedError
            If the encoder is not fitted, without ``from_scratch``.
        DivergedError
            If the loss or the weights became infinite or undefined.
        """
        with unchanged_on_failure(self):
            self.check_parameters()
            seed = ranks.agreed(int(check_random_state(self.random_state).randint(2**31)))
            half = _half_of(self.encoder, self.from_scratch)
            X = read_rows(X, half if isinstance(half, Encoder) else None)
            rows = check_rows(self, X, fitting=True)
            if isinstance(half, Encoder):
                rows = check_rows(half, X)
            labels = _check_labels(y, rows)
            (rows, labels), row_weights = without_zero_weights(
                sample_weight, rows, labels, at_least=1
            )
            self.classes_, numbers = np.unique(labels, return_inverse=True)
            if len(self.classes_) < 2:
                (only,) = self.classes_.tolist()
                raise DataError(
                    f"all {len(rows)} rows are of the class {only!r}; at least two classes are "
                    "needed; give rows of others too"
                )
            weights = _weigh_classes(self.class_weight, self.classes_, numbers, row_weights)
            self._start(half, rows, weights, seed)
            self._learn(rows, torch.from_numpy(numbers.astype(np.int64)), weights, seed)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, in the units of the training data.

        Returns
        -------
        ndarray of shape (n,)
            The most likely labels, of those in ``classes_``.

        Raises
        ------
        NotFittedError, DataError
            If the classifier is not fitted, or the rows differ from the training rows in shape,
            columns or type, or have values that are not finite.
        """
        logits = self._logits(X)
        labels: NDArray[Any] = self.classes_[logits.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Predict the probability of each class for each row.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, as for :meth:`predict`.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            Probabilities, which sum to 1 for each row.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`predict`.
        """
        probabilities: NDArray[np.float64] = softmax(self._logits(X).astype(np.float64), axis=1)
        return probabilities.astype(np.float32)  # as exact as the network

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Compute the logits, whose softmax is :meth:`predict_proba`.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, as for :meth:`predict`.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) of two classes, float32
            Logits; for two classes, the log of the odds of the second.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`predict`.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    @classmethod
    def restore(cls, manifest: Mapping[str, Any], parts: storage.Parts, path: str | Path) -> Self:
        """Build a saved classifier from the results of :func:`narrows.storage.read`.

        Its parameter ``encoder`` is then its trained encoder.

        Raises
        ------
        FormatError
            If the manifest and the tensors do not belong together.
        """
        encoder = Encoder.restore(manifest, parts, path)
        with storage.explain_damage("classifier", path):
            known = {
                name: parameter_from_json(value) for name, value in manifest["parameters"].items()
            }
            classifier = cls(**known | {"encoder": encoder})
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
        """SHA-256, in hexadecimal, of weights, network, scaling and labels."""
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
    def spec_(self) -> NetworkSpec:
        """The description of the encoder's network."""
        return self.encoder_.spec

    @property
    def scaling_(self) -> Scaling:
        """The map between the data's units and the network's."""
        return self.encoder_.scaling_

    @property
    def rate_(self) -> int | None:
        """Samples per second of the encoder's training signals; None if unknown."""
        self._check_fitted()
        return self.encoder_.rate_

    @property
    def sample_shape_(self) -> tuple[int, ...]:
        """The shape of one row: ``(F,)``, ``(H, W)`` or ``(H, W, C)``."""
        return self.encoder_.sample_shape_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_clone__(self) -> Self:
        """Clone the parameters, but keep a fitted encoder, which is part of them."""
        parameters = self.get_params(deep=False)
        encoder = parameters.pop("encoder")
        fresh = isinstance(encoder, BaseAutoencoder) and not encoder.__sklearn_is_fitted__()
        others = {name: clone(value, safe=False) for name, value in parameters.items()}
        return type(self)(clone(encoder) if fresh else encoder, **others)

    def check_parameters(self) -> None:
        """Refuse parameters out of range."""
        check_training(self)
        check_flag("from_scratch", self.from_scratch)
        check_flag("fine_tune", self.fine_tune)
        check_number("encoder_learning_rate", self.encoder_learning_rate, low=0, words=("auto",))
        _check_class_weight(self.class_weight)
        check_damage(self)
        if self.corruption is not None and not self.fine_tune:
            raise ParameterError(
                f"corruption={self.corruption!r} needs fine_tune=True: an encoder that stays as it "
                "is encodes each row once"
            )

    def _split(
        self, n_rows: int, has_hidden_layers: bool, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw the numbers of held-out rows and of training rows."""
        count = resolve.choose_held_out(self, n_rows, has_hidden_layers=has_hidden_layers)
        return split_rows(n_rows, count, seed)

    def _start(
        self, half: Encoder | BaseAutoencoder, rows: NDArray[Any], weights: RowWeights, seed: int
    ) -> None:
        """Copy the encoder, or draw its initial weights."""
        if not isinstance(half, Encoder):
            model = clone(half).set_params(device=self.device, random_state=seed)
            held_out, _ = self._split(len(rows), resolve.asks_for_hidden_layers(model), seed)
            start_model(model, rows, held_out, weights)
            self.encoder_: Encoder = model.split()[0]
            return
        module = copy.deepcopy(half.module)
        if self.from_scratch:
            held_out, _ = self._split(len(rows), half.spec.has_hidden_layers, seed)
            statistics = Statistics.of(rows, held_out, weights=weights)
            first = resolve.choose_start(
                half.spec, half.scaling_, statistics, rows, held_out, weights=weights
            )
            module = networks.build(half.spec, first, seed).encoder
        names = getattr(self, "feature_names_in_", None)
        self.encoder_ = Encoder(module, half.scaling_, half.spec, half.fingerprint_, names)

    def _choose_damage(self, rows: NDArray[Any], held_out: NDArray[np.int64]) -> Damage | None:
        """Make the damage to rows; the range of values is that of the training rows."""
        if self.corruption is None:
            return None
        columns_shape = resolve.columns_shape_of(self.encoder_.spec.definition, rows)
        data_range = None
        if columns_shape:
            data_range = range_of(Statistics.of(rows, held_out), rows, columns_shape)
        return choose_damage(self, data_range)

    def _learn(self, rows: NDArray[Any], numbers: Tensor, weights: RowWeights, seed: int) -> None:
        """Train the softmax, with the encoder if ``fine_tune``, on the numbers of classes."""
        spec, module, scaling = self.encoder_.spec, self.encoder_.module, self.encoder_.scaling_
        settings = replace(resolve.choose_settings(self, spec, len(rows), seed), beats_start=False)
        rate = (
            min(_RATE, _RATE_OVER_WIDTH / spec.code_width)
            if isinstance(self.learning_rate, str)
            else float(self.learning_rate)
        )
        settings = replace(settings, learning_rate=rate)
        device = settings.device
        module.to(device).eval()
        held_out, learned = self._split(len(rows), spec.has_hidden_layers, seed)
        to_start = strided(learned, _ROWS_TO_START)
        # A fixed encoder encodes all rows once.
        codes = torch.from_numpy(self.encoder_.encode(rows[to_start] if self.fine_tune else rows))
        head = SoftmaxHead(codes.shape[1], len(self.classes_)).to(device)
        head.start(
            codes if self.fine_tune else codes[torch.from_numpy(to_start)],
            None if weights is None else torch.from_numpy(weights[to_start]),
        )
        self.network_ = Classifier(module, head)
        damage = self._choose_damage(rows, held_out)
        source = as_rows(rows)
        counts: Tensor | None = None
        if weights is not None:
            counts = torch.empty(len(rows))
            for side in filter(len, (held_out, learned)):
                counts[side] = torch.from_numpy(weights[side] / weights[side].mean()).float()

        drawing = networks.drawing_of(spec)

        def loss(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Loss:
            chosen = batch.cpu()  # numbers of rows
            x = (scaling(source[chosen]) if self.fine_tune else codes[chosen]).to(device)
            if damage is not None and network.training:
                x = damage(x, generator).rows
            classes = numbers[chosen].to(device)
            with drawing(generator):
                logits = network(x)
            entropies = functional.cross_entropy(logits, classes, reduction="none")
            if counts is not None:
                entropies = entropies * counts[chosen].to(device)
            return {"cross_entropy": entropies.mean()}

        network: nn.Module = self.network_ if self.fine_tune else head
        shares: dict[nn.Module, float] = {head: 1.0}
        if self.fine_tune:
            slower = self.encoder_learning_rate
            shares[module] = (_ENCODER_RATE if isinstance(slower, str) else slower) / rate
        source_of = partial(numbers_of, rows, in_blocks=anywhere_stored(rows))
        self.history_ = train(
            network,
            loss,
            source_of(learned),
            settings=settings,
            validation=source_of(held_out) if len(held_out) else None,
            optimizer=new_optimizer(
                network, rate, settings.weight_decay, shares, beta2=settings.beta2
            ),
            callbacks=(print_epoch,) if self.verbose else (),
        )
        self.network_.eval()
        if self.history_.ended == "interrupted":
            warn_of_interruption("classifier", self.history_, stacklevel=3)

    def _logits(self, X: Any) -> NDArray[np.float32]:
        self._check_fitted()
        rows = check_rows(self, X)
        logits = np.empty((len(rows), len(self.classes_)), np.float32)
        network, spec = self.network_, self.encoder_.spec
        run_in_blocks(lambda x: network(self.scaling_(x)), rows, logits, network, spec)
        return logits

    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        manifest = {
            "kind": "classifier",
            "fingerprint": self.fingerprint_,
            # The encoder is saved below; its source may no longer exist.
            "parameters": {**persistence.parameters(self), "encoder": None},
            **network_facts(self.encoder_.spec),
            "scaling": self.scaling_.facts(),
            "classes": _plain_labels(self.classes_),
            "feature_names_in": names_of(self),
            "training": self.history_.as_json(),
        }
        return manifest, self._parts()

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        return {"encoder": self.encoder_.tensors(), "head": self.network_.head.state_dict()}


class SoftmaxHead(nn.Module):
    """A linear layer from codes to one number a class, whose softmax is the class probabilities.

    Codes are first brought to mean 0 and variance 1, so that one learning rate suits all encoders.

    Parameters
    ----------
    n_codes, n_classes : int
        The width of the codes, K, and the number of classes.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, n_codes: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(n_codes))
        self.register_buffer("scale", torch.ones(n_codes))
        with torch.device("meta"):  # torch's own draw would move its global generator
            linear = nn.Linear(n_codes, n_classes)
        self.linear = linear.to_empty(device="cpu")

    @torch.no_grad()
    def start(self, codes: Tensor, weights: Tensor | None = None) -> None:
        """Learn from codes (n, K) their mean and spread, and give all classes the same chance.

        Codes count by their weights (n,), if they have any.
        """
        codes = codes.double()
        shares = torch.ones(len(codes)).to(codes) if weights is None else weights.to(codes)
        shares = shares / shares.sum()
        mean = shares @ codes
        self.shift.copy_(mean)
        self.scale.copy_((shares @ (codes - mean).square()).sqrt().clamp(min=_LEAST_SPREAD))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes (B, K) to logits (B, classes)."""
        y: Tensor = self.linear((codes - self.shift) / self.scale)
        return y


class Classifier(nn.Module):
    """An encoder with a softmax head, from scaled rows (B, ...) to logits (B, classes).

    Parameters
    ----------
    encoder : Module
        From scaled rows to codes (B, K), or to maps of codes.
    head : SoftmaxHead
        From codes to logits.
    """

    def __init__(self, encoder: nn.Module, head: SoftmaxHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Classify scaled rows."""
        y: Tensor = self.head(self.encoder(x).flatten(1))
        return y


def _half_of(encoder: Any, from_scratch: bool) -> Encoder | BaseAutoencoder:
    """Return the encoder that the parameters specify, or the model of a new one."""
    if encoder is None:
        return Autoencoder()
    if isinstance(encoder, str | Path):
        manifest, parts = storage.read(encoder)
        return Encoder.restore(manifest, parts, encoder)
    if isinstance(encoder, Encoder):
        return encoder
    if not isinstance(encoder, BaseAutoencoder):
        raise ParameterError(
            f"encoder={encoder!r} is not allowed; give a trained model, its encoder, the folder "
            "of either, or None"
        )
    if encoder.__sklearn_is_fitted__():
        return encoder.split()[0]
    if from_scratch:
        return encoder
    raise NotFittedError(
        f"the encoder, {encoder!r}, has learned nothing yet; fit it first, or set "
        "from_scratch=True to start from fresh weights"
    )


def _check_labels(y: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """Check the labels (n,) of rows by scikit-learn's rules.

    Raises
    ------
    DataError
        If they are missing, or are not classes.
    """
    if y is None:
        raise DataError(
            "EncoderClassifier requires y to be passed, but the target y is None; give a label "
            "for each row"
        )
    try:
        y = read_rows(y)
        if isinstance(y, np.ndarray) and y.dtype.kind == "T":  # texts that scikit-learn lacks
            y = y.astype(object)
        labels: NDArray[Any] = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(rows, labels)
        check_classification_targets(labels)
    except ValueError as error:
        line = str(error).strip().splitlines()[0]
        raise DataError(f"{line.rstrip('.')}; give a class for each row") from error
    return labels


def _check_class_weight(class_weight: Any) -> None:
    """Refuse class weights that are of another form, or not above 0.

    Raises
    ------
    ParameterError
        For the first wrong value.
    """
    if class_weight is None or is_word(class_weight, "balanced"):
        return
    if not isinstance(class_weight, Mapping):
        raise ParameterError(
            f"class_weight={class_weight!r} is not allowed; give a dict from labels to numbers "
            "above 0, 'balanced', or None"
        )
    for label, weight in class_weight.items():
        check_number(f"class_weight[{label!r}]", weight, low=0, open_low=True)


def _weigh_classes(
    class_weight: Mapping[Any, float] | str | None,
    classes: NDArray[Any],
    numbers: NDArray[np.intp],
    weights: RowWeights,
) -> RowWeights:
    """Multiply the weights of rows by those of their classes.

    Parameters
    ----------
    class_weight : mapping, "balanced" or None
        Checked weights of classes.
    classes : ndarray of shape (n_classes,)
        The labels.
    numbers : ndarray of shape (n,)
        The number of each row's class.
    weights : ndarray of shape (n,) or None
        The weight of each row.

    Returns
    -------
    ndarray of shape (n,), or None
        ``None`` if all weights are equal.

    Raises
    ------
    ParameterError
        If a weight names a class that no row has, while an existing class is not named.
    """
    if class_weight is None:
        return weights
    row_weights = np.ones(len(numbers)) if weights is None else weights
    if isinstance(class_weight, str):
        class_weights = 1 / np.bincount(numbers, weights=row_weights)
    else:
        labels = classes.tolist()
        by_label = {label_to_json(label): weight for label, weight in class_weight.items()}
        unnamed = [label for label in labels if label not in by_label]
        unknown = [label for label in by_label if label not in labels]
        if unnamed and unknown:  # if all classes are named, a fold of the data may lack one of them
            raise ParameterError(
                f"class_weight names the class {unknown[0]!r}, which no row has, and not the class "
                f"{unnamed[0]!r}; name the classes by their labels in y"
            )
        class_weights = np.array([by_label.get(label, 1.0) for label in labels])
    product = row_weights * class_weights[numbers]
    return None if (product == product[0]).all() else product / product.max()


def _plain_labels(classes: NDArray[Any]) -> dict[str, Any]:
    """Convert labels to JSON."""
    if classes.ndim != 1 or not (is_text(classes) or is_numeric(classes.dtype)):
        raise ParameterError(
            f"labels of type {classes.dtype} cannot be stored; numbers and texts can; fit with "
            "labels of these"
        )
    dtype = "O" if classes.dtype.kind == "O" else classes.dtype.str
    return {"dtype": dtype, "labels": classes.tolist()}
