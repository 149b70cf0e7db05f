"""The anomaly detector: scores of rows by an ensemble of autoencoders that have not seen them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, check_random_state

from narrows import storage
from narrows.data.arrays import check_finite
from narrows.data.column_encoder import ColumnEncoder
from narrows.data.frames import frame_of_kinds, read_frame
from narrows.data.lazy_rows import AnyRows
from narrows.data.signal_files import Windows
from narrows.errors import DataError, NotFittedError, ParameterError, warn
from narrows.models import conformal, persistence
from narrows.models.base import BaseAutoencoder
from narrows.models.committee import Committee
from narrows.models.drift import Drift
from narrows.models.ensembles import (
    CommitteeEnsemble,
    Ensemble,
    ModelEnsemble,
    restore_ensemble,
)
from narrows.models.feature_space import BLOCKS, FeatureSpace
from narrows.models.mahalanobis import MahalanobisDistance, slopes_of, split_whitened
from narrows.models.neighbours import TrainingRows
from narrows.models.parameters import RandomState
from narrows.models.persistence import parameter_from_json
from narrows.models.registry import class_named
from narrows.models.runs import unchanged_on_failure
from narrows.models.sample_scores import SampleScorer
from narrows.models.validation import check_flag, check_number, check_rows
from narrows.models.window_blocks import WindowPlaces, draw_windows

Matrix = NDArray[np.float64]

_MOST_ROWS = 20_000  # of more rows, so many are drawn to learn from
# Reference rows, among which neighbours are searched, at most, and their values.
_MOST_REFERENCES, _MOST_VALUES = 4_096, 1 << 23
_NEIGHBOURS = 5
# Parts below this share of the mean squared length of rows are rounding errors.
_LEAST = 1e-6
_UNKNOWN = 5.0  # a category that was not learned from, in standard deviations
# Heat at a place is divided by this quantile of the heat of so many normal pictures there. It is
# pooled over neighbourhoods of the shorter side divided by the last number.
_QUANTILE, _MOST_PICTURES, _POOLED = 0.99, 300, 10
_BLOCK = 4_096  # rows that are scored at a time
# The types of rows that are stored as they are.
_STORED = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
_SPACE = ("centre", "scale", "mean", "axes")


class AnomalyScores(NamedTuple):
    """Anomaly scores of n rows, and the parts that they are the sum of.

    Attributes
    ----------
    total : ndarray of shape (n,)
        The sum of the parts; higher is more anomalous.
    residual : ndarray of shape (n,)
        Q: the squared length of the residual.
    code : ndarray of shape (n,)
        T squared: the squared Mahalanobis distance of the code from those of normal rows.
    neighbours : ndarray of shape (n,)
        The mean squared distance to the five nearest rows learned from.
    """

    total: Matrix
    residual: Matrix
    code: Matrix
    neighbours: Matrix


@dataclass(kw_only=True, eq=False, repr=False)
class AnomalyDetector(
    OutlierMixin,  # type: ignore[misc]  # untyped
    BaseEstimator,  # type: ignore[misc]  # untyped
):
    """Find rows that are unlike the others, and say why they are.

    A committee of small autoencoders is trained, each on a few hundred rows; each row is scored by
    those that have not seen it, so that no outlier is memorised. The score is the sum of three
    parts, each divided by its median over the rows learned from: Q, the squared residual; T
    squared, the robust Mahalanobis distance of the code (both are those of statistical process
    monitoring: Jackson & Mudholkar 1979, Hotelling 1947); and the squared distance to the five
    nearest rows, which finds what is rare locally.

    Columns of tables are divided by their interquartile range and clipped at 5 standard deviations
    of the normal distribution. Pictures are smoothed a little, and divided by the root of their
    length, so that contrast counts half. Beside the samples of a window of a signal stand their
    differences and the spreads of both; each channel has its own scale. Pictures, windows of
    signals and tables of more than 128 values a row are represented by their first 128 principal
    components, and the residual includes what these leave.

    Parameters
    ----------
    model : model, path or None, default=None
        The model that restores the rows. ``None`` stands for the committee. A model that is not
        fitted is trained by 5-fold cross-validation. A fitted model, or the folder of one, is used
        as it is; the rows given to ``fit``, which it should not have learned from, then set the
        threshold. This is the only positional parameter.
    contamination : float or "auto", default="auto"
        The share of the training rows that is predicted as outliers, above 0 and at most 0.5.
        "auto" takes the threshold from ``false_alarms``.
    false_alarms : float, default=0.05
        The share of new rows like those learned from that is predicted as outliers, between 0 and
        1: the threshold is the ceil((n + 1)(1 - false_alarms))-th smallest score of the n training
        rows (Vovk et al. 2005; Laxhammar & Falkman 2010).
    novelty : bool, default=False
        Whether all rows to be scored are new. By default, training rows are recognised, and scored
        by the members that have not seen them.
    n_nets : int, default=30
        Networks in the committee.
    random_state : int, RandomState or None, default=None
        The random seed of the networks and of the rows that each of them sees.

    Attributes
    ----------
    offset_ : float
        The threshold: rows whose ``score_samples`` is below it are outliers.
    seen_ : ndarray of bool and shape (M, n)
        Which rows each of the M members has seen, of those in ``sample_indices_``; only after
        ``fit``.
    sample_indices_ : ndarray of int and shape (n,)
        The numbers of the rows learned from: all, or 20 000 drawn at random; only after ``fit``.
    calibration_scores_ : ndarray of shape (n,)
        The anomaly scores of these rows, ascending.
    column_encoder_ : ColumnEncoder or None
        The conversion of a DataFrame with categories, dates or gaps to numbers; None for other
        rows.
    committee_ : Committee or None
        The networks, on the scaled rows; None with a ``model``.
    n_features_in_ : int
        Values in one row.
    feature_names_in_ : ndarray of str
        The names of the columns, if the training table had names.
    sample_shape_ : tuple of int
        The shape of one row.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import AnomalyDetector
    >>> generator = np.random.default_rng(0)
    >>> X = generator.normal(size=(300, 1)) + 0.1 * generator.normal(size=(300, 4))
    >>> X[7, 2] += 2  # the other columns agree
    >>> detector = AnomalyDetector(random_state=0).fit(X)
    >>> int(detector.score_samples(X).argmin()), int(detector.contributions(X)[7].argmax())
    (7, 2)
    """

    model: BaseAutoencoder | str | Path | None = field(default=None, kw_only=False)
    contamination: float | Literal["auto"] = "auto"
    false_alarms: float = 0.05
    novelty: bool = False
    n_nets: int = 30
    random_state: RandomState = None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the ensemble, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            Rows, of which few may be anomalies.
        y : object
            Ignored, as by all of scikit-learn's outlier detectors.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError
            If a parameter or the rows cannot be used.
        """
        del y
        with unchanged_on_failure(self):
            self.check_parameters()
            seed = check_random_state(self.random_state).randint(2**31)
            generator = np.random.default_rng(seed)
            frame = frame_of_kinds(X)
            self.column_encoder_ = None if frame is None else ColumnEncoder.fit(frame)
            given = X if self.column_encoder_ is None else self._encode(self.column_encoder_, frame)
            rows: AnyRows = check_rows(self, given, fitting=True)
            self.sample_shape_ = tuple(rows.shape[1:])
            self.rate_ = rows.rate if isinstance(rows, Windows) else None
            self.sample_indices_ = np.arange(len(rows))
            if len(rows) > _MOST_ROWS and isinstance(rows, Windows):
                self.sample_indices_ = draw_windows(rows, _MOST_ROWS, generator)
            elif len(rows) > _MOST_ROWS:
                drawn = generator.choice(len(rows), _MOST_ROWS, replace=False)
                self.sample_indices_ = np.sort(drawn)
            training = np.asarray(rows[self.sample_indices_])
            if training.dtype not in _STORED:
                training = training.astype(np.float64)
            check_finite(training)
            places = None
            if isinstance(rows, Windows):
                places = WindowPlaces.of(rows, self.sample_indices_)
            self._learn(training, places, generator)
            if self.column_encoder_ is not None:
                self._name_columns(self.column_encoder_)
        return self

    def _learn(
        self, rows: NDArray[Any], places: WindowPlaces | None, generator: np.random.Generator
    ) -> None:
        """Learn from rows (n, ...) in memory; windows of signals have places."""
        flat, shape = rows.reshape(len(rows), -1), self.sample_shape_
        of_signals = places is not None
        self._space = FeatureSpace.fit(
            flat,
            picture=shape if len(shape) > 1 and not of_signals else (),
            window=shape if of_signals else (),
            seed=int(generator.integers(2**31)),
        )
        features = self._space(flat)
        self._ensemble, self.seen_ = self._train_ensemble(rows, features, places, generator)
        most = min(_MOST_REFERENCES, max(2, _MOST_VALUES // flat.shape[1]))
        chosen = np.sort(generator.permutation(len(rows))[:most])
        blocks = None if places is None else places.blocks()
        self._training_rows = TrainingRows.of(rows, self.seen_, chosen, blocks)
        least = _LEAST * (float(np.square(features).sum(axis=1).mean()) or 1.0)
        squares, codes = self._ensemble.measure(rows, features)
        unseen = ~self.seen_
        self._mahalanobis = MahalanobisDistance.fit(codes, unseen)
        lengths = np.square(self._mahalanobis.whiten(codes)).sum(axis=2)
        self._norms = np.stack(
            [_robust_norms(squares, unseen, least), _robust_norms(lengths, unseen, _LEAST)]
        )
        self._references, self._reference_numbers = rows[chosen], self.sample_indices_[chosen]
        every = np.arange(len(chosen))
        self._neighbours = self._training_rows.neighbours(features[chosen], _NEIGHBOURS, every)
        indices = self._training_rows.find(rows)
        distances = self._neighbours.squared_distances(
            features, self._training_rows.block_of(indices)
        )
        self._neighbour_norm = float(
            _robust_norms(distances[None], np.ones((1, len(rows)), np.bool_), least)[0]
        )
        scores = np.concatenate(
            [self._parts(block, self._training_rows.find(block)).total for block in _blocks(rows)]
        )
        self._reference_scores = scores[chosen]
        self.calibration_scores_ = np.sort(scores)
        self.offset_ = -conformal.threshold(
            self.calibration_scores_, self.false_alarms, self.contamination
        )
        if places is not None:
            errors = self._errors_of_samples(rows, self._training_rows.find)
            share = self.false_alarms if isinstance(self.contamination, str) else self.contamination
            self._sample_scorer = SampleScorer.fit(places.join(errors), places.length, share)

    def _name_columns(self, encoder: ColumnEncoder) -> None:
        """Keep the number of columns of a table, and their names if they are the table's own."""
        self.n_features_in_ = len(encoder.columns)
        if encoder.is_named:
            self.feature_names_in_ = np.asarray([c.name for c in encoder.columns], dtype=object)

    def _encode(self, encoder: ColumnEncoder, X: Any) -> Matrix:
        """Convert a table of columns of any kind to numbers: gaps are marked, and means fill them.

        A category that was not learned from stands apart from all others.
        """
        encoded = encoder.transform(read_frame(X, owner=type(self).__name__))
        encoder.warn_of_new_gaps(encoded.gaps)
        features = np.nan_to_num(encoded.features)
        for column, place in enumerate(encoder.slices):
            features[encoded.unknown[:, column], place.start] = _UNKNOWN
        return np.column_stack([features, encoded.marks])

    def _train_ensemble(
        self,
        rows: NDArray[Any],
        features: Matrix,
        places: WindowPlaces | None,
        generator: np.random.Generator,
    ) -> tuple[Ensemble, NDArray[np.bool_]]:
        """Train the ensemble, and return which rows each member has seen."""
        if self.model is None:
            return CommitteeEnsemble.fit(features, self._space, self.n_nets, generator, places)
        model = self.model
        if isinstance(model, str | Path):
            manifest, parts = storage.read(model)
            cls = class_named(manifest.get("model"))
            if manifest.get("kind") != "model" or cls is None:
                raise ParameterError(f"model='{model}' is no whole autoencoder; give one, or None")
            model = cls.restore(manifest, parts, model)
        if not isinstance(model, BaseAutoencoder):
            raise ParameterError(
                f"model={model!r} is not allowed; give an autoencoder of Narrows, its folder, or "
                "None for the committee",
                parameter="model",
            )
        ensemble, seen = ModelEnsemble.fit(model, rows, self._space, generator, places)
        if seen.all(axis=1).any():
            warn(
                "the model has learned from all rows given, whose errors are smaller than those of "
                "new rows: more than false_alarms of these will be reported; fit the detector on "
                "rows that the model has not seen, or give the model unfitted",
                kind="calibrated_on_learned_rows",
            )
        return ensemble, seen

    @property
    def kind_of_rows_(self) -> Literal["table", "pictures", "signals"]:
        """What was learned from: a table, pictures, or windows of signals."""
        self._check_fitted()
        return "signals" if self._space.window else "pictures" if self._space.picture else "table"

    @property
    def data_type_(self) -> str:
        """The type of the rows learned from."""
        self._check_fitted()
        return str(self._references.dtype)

    @property
    def committee_(self) -> Committee | None:
        """The networks, on the scaled rows; None with a ``model``."""
        self._check_fitted()
        return self._ensemble.committee if isinstance(self._ensemble, CommitteeEnsemble) else None

    def check_parameters(self) -> None:
        """Refuse parameters out of range."""
        check_number(
            "contamination", self.contamination, low=0, high=0.5, open_low=True, words=("auto",)
        )
        check_number(
            "false_alarms", self.false_alarms, low=0, high=1, open_low=True, open_high=True
        )
        check_flag("novelty", self.novelty)
        check_number("n_nets", self.n_nets, low=1, high=1_000, integral=True)

    def score_samples(self, X: Any) -> Matrix:
        """Return minus the anomaly score of each row: higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            Rows in the units of those learned from.

        Returns
        -------
        ndarray of shape (n,)
            At most 0; about -3 for the median of the rows learned from.

        Raises
        ------
        NotFittedError, DataError
            If the detector is not fitted, or the rows differ from those learned from in shape or
            columns, or have values that are not finite.
        """
        scores: Matrix = -self.score_parts(X).total
        return scores

    def score_parts(self, X: Any) -> AnomalyScores:
        """Return the anomaly scores of rows, and the parts that add up to them.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`.

        Returns
        -------
        AnomalyScores
            The total, and residual (Q), code (T squared) and neighbours, (n,) each.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`.
        """
        return self._score(self._check_rows(X))

    def _score(self, rows: AnyRows) -> AnomalyScores:
        """Score checked rows."""
        parts = [self._parts(block, self._recognise(block)) for block in _blocks(rows)]
        return AnomalyScores(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def decision_function(self, X: Any) -> Matrix:
        """Return ``score_samples`` less the threshold: below 0 for outliers.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`.
        """
        scores: Matrix = self.score_samples(X) - self.offset_
        return scores

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for outliers and 1 for other rows.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`.

        Returns
        -------
        ndarray of int and shape (n,)

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: Any) -> Matrix:
        """Return conformal p-values: the probability of at least such a score for normal rows.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`.

        Returns
        -------
        ndarray of shape (n,)
            Conformal p-values, from 1 / (n + 1) for n training rows: one more than the number of
            training rows with such a score or a higher one, divided by n + 1.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`.
        """
        return self.p_values_of(-self.score_samples(X))

    def p_values_of(self, scores: Matrix) -> Matrix:
        """Return the p-values of anomaly scores (n,); see :meth:`p_values`."""
        return conformal.p_values(self.calibration_scores_, scores)

    def contributions(self, X: Any) -> Matrix:
        """Split the anomaly score of each row between its columns.

        Residuals and distances to neighbours are sums over columns; T squared is split by the
        complete decomposition of Alcala & Qin (2009), with the slopes of codes.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`.

        Returns
        -------
        ndarray of the shape of X
            At least 0; the sum over a row is its anomaly score. Of a table with categories, dates
            or gaps, a number for each column in ``column_encoder_.used``.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`.
        """
        rows = self._check_rows(X)
        width = math.prod(self.sample_shape_)
        some = max(1, _MOST_VALUES // (len(self._norms[0]) * width))
        total = np.concatenate([self._contributions(block) for block in _blocks(rows, some)])
        if self.column_encoder_ is None:
            return total.reshape(rows.shape)
        encoder = self.column_encoder_
        sums = [total[:, place].sum(axis=1) for place in encoder.slices]
        by_column: Matrix = np.stack(sums, axis=1)
        by_column[:, encoder.marked] += total[:, encoder.n_features :]
        return by_column

    def heat(self, X: Any) -> Matrix:
        """Return where pictures are anomalous, relative to normal pictures at the same place.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape)
            Pictures.

        Returns
        -------
        ndarray of shape (n, H, W)
            The contributions, summed over channels and averaged over a neighbourhood of a tenth of
            the shorter side, divided by the 99th percentile of those of normal pictures there.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`; also if the detector did not learn from pictures.
        """
        rows = self._check_rows(X)
        if not self._space.picture:
            raise DataError(
                f"the detector learned from rows of shape {self.sample_shape_}, which are no "
                "pictures; contributions(X) tells what their scores come from"
            )
        normal = self._references[-self._reference_scores >= self.offset_][:_MOST_PICTURES]
        usual = np.quantile(self._pooled(normal), _QUANTILE, axis=0)
        heat: Matrix = self._pooled(rows) / np.maximum(usual, 1e-3 * usual.mean() + 1e-300)
        return heat

    def _pooled(self, rows: AnyRows) -> Matrix:
        """Return contributions (n, H, W), averaged over a neighbourhood."""
        each = self.contributions(rows)
        each = each.sum(axis=3) if each.ndim == 4 else each
        size = max(1, round(min(each.shape[1:]) / _POOLED))
        pooled: Matrix = uniform_filter(each, (0, size, size))
        return pooled

    def alike(self, X: Any, k: int = 3) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Find the nearest normal training rows, by the distance of scaled columns.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`.
        k : int, default=3
            The number of rows for each; fewer if fewer rows are normal.

        Returns
        -------
        numbers : ndarray of int and shape (n, k)
            Their numbers among the training rows, the nearest first.
        rows : ndarray of shape (n, k, *sample_shape)
            The rows.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`.
        """
        check_number("k", k, low=1, integral=True)
        rows = np.asarray(self._check_rows(X)[:])
        normal = np.flatnonzero(-self._reference_scores >= self.offset_)
        near = self._training_rows.neighbours(self._neighbours.rows[normal], k, normal)
        found = near.find(
            self._features(rows), self._training_rows.block_of(self._training_rows.find(rows))
        )
        return self._reference_numbers[normal][found], self._references[normal][found]

    def drift(self, X: Any) -> Drift:
        """Test whether new rows as a whole are unlike those learned from.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`; at least 2 rows, drawn independently, as the training
            rows were: the test assumes that rows do not depend on each other.

        Returns
        -------
        Drift
            P-values.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`.
        """
        rows = self._check_rows(X)
        generator = np.random.default_rng(0)
        drawn = np.sort(generator.permutation(len(rows))[:_MOST_REFERENCES])
        new = np.asarray(rows[drawn])
        scores = self.calibration_scores_, self._score(new).total
        return Drift.between(scores, (self._neighbours.rows, self._features(new)), generator)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save the detector to a folder; :func:`narrows.load` reads it.

        The folder holds up to 4 096 of the training rows, with which new rows are compared.

        Parameters
        ----------
        path : str or Path
            The folder, which holds safetensors and JSON, and is written atomically.
        overwrite : bool, default=False
            Whether an existing model is replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        NotFittedError
            If the detector is not fitted.
        OutputExistsError, OutputError
            If the folder exists, or cannot be written.
        """
        self._check_fitted()
        facts, parts = self._stored()
        manifest = {"fingerprint": storage.fingerprint(facts, parts), **facts}
        return storage.write(path, manifest, parts, overwrite=overwrite)

    @property
    def fingerprint_(self) -> str:
        """SHA-256, in hexadecimal, of all that scores depend on."""
        self._check_fitted()
        return storage.fingerprint(*self._stored())

    @classmethod
    def restore(cls, manifest: Mapping[str, Any], parts: storage.Parts, path: str | Path) -> Self:
        """Build a saved detector from the results of :func:`narrows.storage.read`.

        Raises
        ------
        FormatError
            If the manifest and the tensors do not belong together.
        """
        with storage.explain_damage("detector", path):
            given = manifest["parameters"]
            detector = cls(**{name: parameter_from_json(value) for name, value in given.items()})
            detector._restore(manifest, parts, path)
        storage.check_fingerprint(detector.fingerprint_, manifest, path)
        return detector

    def _restore(self, manifest: Mapping[str, Any], parts: storage.Parts, path: Any) -> None:
        """Take over what was stored."""
        arrays = {name: tensor.numpy() for name, tensor in parts["detector"].items()}
        self.n_features_in_ = int(manifest["n_features_in"])
        self.sample_shape_ = tuple(map(int, manifest["sample_shape"]))
        self.rate_ = manifest["rate"]
        width, table = math.prod(self.sample_shape_), manifest["table"]
        self.column_encoder_ = (
            None if table is None else ColumnEncoder.restore(table, parts["columns"])
        )
        if self.column_encoder_ is not None:
            self._name_columns(self.column_encoder_)
            encoded = self.column_encoder_.n_features + len(self.column_encoder_.marked)
            if encoded != width:
                raise ValueError(f"the columns make {encoded} numbers, not {width}")
        elif width != self.n_features_in_:
            raise ValueError(f"rows of shape {self.sample_shape_} have other features")
        if (names := manifest["feature_names_in"]) is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        of_pictures, of_signals = (manifest["rows"] == kind for kind in ("pictures", "signals"))
        self._space = FeatureSpace(
            self.sample_shape_ if of_pictures else (),
            self.sample_shape_ if of_signals else (),
            float(manifest["length"]),
            **{name: arrays[name] for name in _SPACE},
        )
        if self._space.scale.shape != ((BLOCKS if of_signals else 1) * width,):
            raise ValueError(f"there are scales of shape {self._space.scale.shape}")
        facts = manifest["judges"]
        self._ensemble = restore_ensemble(facts["kind"], facts, parts["judges"], self._space, path)
        if facts["fitted_before"]:
            self.model = self._ensemble.models[0]  # type: ignore[attr-defined]
        self._mahalanobis = MahalanobisDistance(arrays["centres"], arrays["whitenings"])
        self._norms = arrays["norms"]
        self._training_rows = TrainingRows(
            arrays["hashes"].view(np.uint64), arrays["saw"].view(np.bool_), arrays["known"],
            arrays["blocks"],
        )  # fmt: skip
        self._references = arrays["references"]
        self._reference_numbers = arrays["reference_numbers"]
        self._reference_scores = arrays["reference_scores"]
        self.calibration_scores_ = arrays["calibration_scores"]
        self._check_restored()
        features, every = self._features(self._references), np.arange(len(self._references))
        self._neighbours = self._training_rows.neighbours(features, _NEIGHBOURS, every)
        self._neighbour_norm = float(manifest["neighbour_norm"])
        if of_signals:
            self._sample_scorer = SampleScorer.restore(arrays)
        self.offset_ = float(manifest["offset"])

    def _check_restored(self) -> None:
        """Refuse parts that do not belong together.

        Raises
        ------
        ValueError
            For the first that does not.
        """
        squares, codes = self._ensemble.measure(
            self._references[:1], self._features(self._references[:1])
        )
        (count, _, width), n_training = codes.shape, len(self._training_rows.hashes)
        n_references = len(self._references)
        shapes = {
            "centres": (self._mahalanobis.centres, (count, width)),
            "whitenings": (self._mahalanobis.whitenings, (count, width, width)),
            "norms": (self._norms, (2, count)),
            "saw": (self._training_rows.seen, (count, n_training)),
            "known": (self._training_rows.references, (n_references,)),
            "reference_numbers": (self._reference_numbers, (n_references,)),
            "reference_scores": (self._reference_scores, (n_references,)),
        }
        for name, (array, shape) in shapes.items():
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"the {name} have the shape {array.shape}, not {shape}")
        if not (self._norms > 0).all() or not np.isfinite(squares).all():
            raise ValueError("the norms are not above zero")
        references, blocks = self._training_rows.references, self._training_rows.blocks
        if (
            references.min() < 0
            or references.max() >= n_training
            or len(blocks) not in (0, n_training)
        ):
            raise ValueError("the references are not among the training rows")
        scores = self.calibration_scores_
        if scores.ndim != 1 or not len(scores) or (np.diff(scores) < 0).any():
            raise ValueError("the calibration scores are not ascending")

    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        """Return what is saved, as JSON and as tensors."""
        facts, tensors = self._ensemble.stored()
        fitted_before = (
            isinstance(self._ensemble, ModelEnsemble) and len(self._ensemble.models) == 1
        )
        names = getattr(self, "feature_names_in_", None)
        manifest = {
            "kind": "detector",
            "parameters": persistence.parameters(self) | ({"model": None} if fitted_before else {}),
            "judges": {"kind": self._ensemble.kind, "fitted_before": fitted_before, **facts},
            "n_features_in": self.n_features_in_,
            "sample_shape": list(self.sample_shape_),
            "feature_names_in": None if names is None else list(names),
            "rate": self.rate_,
            "table": None if self.column_encoder_ is None else self.column_encoder_.facts(),
            "rows": self.kind_of_rows_,
            "length": self._space.length,
            "offset": self.offset_,
            "neighbour_norm": self._neighbour_norm,
        }
        own = {name: getattr(self._space, name) for name in _SPACE} | {
            "centres": self._mahalanobis.centres,
            "whitenings": self._mahalanobis.whitenings,
            "norms": self._norms,
            "hashes": self._training_rows.hashes.view(np.int64),
            "saw": self._training_rows.seen.view(np.uint8),
            "known": self._training_rows.references,
            "blocks": self._training_rows.blocks,
            "references": self._references,
            "reference_numbers": self._reference_numbers,
            "reference_scores": self._reference_scores,
            "calibration_scores": self.calibration_scores_,
        }
        if self._space.window:
            own |= self._sample_scorer.arrays()
        arrays = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in own.items()}
        columns = (
            {} if self.column_encoder_ is None else {"columns": self.column_encoder_.tensors()}
        )
        return manifest, {"judges": tensors, "detector": arrays, **columns}

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                "this AnomalyDetector is not fitted yet: it has learned nothing; call fit first, "
                "or load one"
            )

    def _check_rows(self, X: Any) -> AnyRows:
        """Check rows to be scored."""
        self._check_fitted()
        encoder = self.column_encoder_
        return check_rows(self, X) if encoder is None else self._encode(encoder, X)

    def _features(self, rows: NDArray[Any]) -> Matrix:
        return self._space(rows.reshape(len(rows), -1))

    def _recognise(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return the index of each row among the training rows; -1 for new rows."""
        return np.full(len(rows), -1) if self.novelty else self._training_rows.find(rows)

    def _parts(self, rows: NDArray[Any], indices: NDArray[np.int64]) -> AnomalyScores:
        """Score rows in memory by the members that have not seen them.

        ``indices`` are those of the training rows that they are; -1 for new rows.
        """
        features = self._features(rows)
        squares, codes = self._ensemble.measure(rows, features)
        lengths = np.square(self._mahalanobis.whiten(codes)).sum(axis=2)
        shares = self._training_rows.shares(indices)
        residual = (squares * shares / self._norms[0][:, None]).sum(axis=0)
        code = (lengths * shares / self._norms[1][:, None]).sum(axis=0)
        distances = self._neighbours.squared_distances(
            features, self._training_rows.block_of(indices)
        )
        neighbours = distances / self._neighbour_norm
        return AnomalyScores(residual + code + neighbours, residual, code, neighbours)

    def _contributions(self, rows: NDArray[Any]) -> Matrix:
        """Split the scores of some rows between columns, (n, F)."""
        indices, features = self._recognise(rows), self._features(rows)
        shares, space = self._training_rows.shares(indices), self._space
        width = math.prod(self.sample_shape_)
        total = np.zeros((len(rows), width))
        whitened = self._mahalanobis.whiten(self._ensemble.measure(rows, features)[1])
        residuals = self._ensemble.residuals(rows, features)
        for member, slopes in enumerate(self._slopes()):
            left = np.square(residuals[member]) / self._norms[0][member]
            left = space.sum_blocks(left) if left.shape[1] > width else left
            vectors = space.to_columns(split_whitened(whitened[member], slopes))
            distances = space.sum_blocks(np.square(vectors)) / self._norms[1][member]
            total += (left + distances) * shares[member][:, None]
        found = self._neighbours.find(features, self._training_rows.block_of(indices))
        away = space.to_columns(self._neighbours.differences(features, found))
        total += space.sum_blocks(np.square(away).mean(axis=1)) / self._neighbour_norm
        return total

    def _errors_of_samples(
        self, rows: AnyRows, recognise: Callable[[NDArray[Any]], NDArray[np.int64]]
    ) -> Matrix:
        """Return what the samples of windows add to residuals and distances to neighbours, (n, L).

        Members with narrow codes do not restore waves, and are left out.
        """
        wide, norms = self._ensemble.have_wide_codes(), self._norms[0]
        some = max(1, _MOST_VALUES // (len(norms) * len(self._space.scale)))
        errors = np.empty((len(rows), self.sample_shape_[0]))
        for start in range(0, len(rows), some):
            block = np.asarray(rows[start : start + some])
            indices, features = recognise(block), self._features(block)
            shares = self._training_rows.shares(indices)
            wide_shares = shares * wide[:, None]
            shares = np.where(wide_shares.sum(axis=0) > 0, wide_shares, shares)
            shares /= shares.sum(axis=0)
            squares = np.square(self._ensemble.residuals(block, features))
            residual = np.einsum("mnf,mn->nf", squares, shares / norms[:, None])
            if residual.shape[1] > self.n_features_in_:
                residual = self._space.sum_blocks(residual)
            found = self._neighbours.find(features, self._training_rows.block_of(indices))
            away = self._space.to_columns(self._neighbours.differences(features, found))
            distances = self._space.sum_blocks(np.square(away).mean(axis=1)) / self._neighbour_norm
            values = (residual + distances).reshape(len(block), self.sample_shape_[0], -1)
            errors[start : start + some] = values.sum(axis=2)
        return errors

    def score_over_time(self, windows: Windows) -> list[Matrix]:
        """Score each sample of signals.

        Residuals and distances to neighbours are split between the samples of windows, and cross-
        faded where windows overlap. These errors are averaged over one sample, an eighth of a
        window and two windows, and the mean that is farthest above normal counts, so that both
        spikes and slow drifts score high. In the two longer stretches, errors are clipped at the
        99th percentile of normal samples.

        Parameters
        ----------
        windows : Windows
            Those of one signal or several.

        Returns
        -------
        list of ndarray of shape (T,)
            For each signal, the scores of its samples. The share ``false_alarms`` of the samples
            learned from scores above 1, each by members that have not seen it; windows are held
            out in blocks, and those that overlap what a member has seen count as seen.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`score_samples`; also if the detector has not learned from windows, or these
            are no :class:`narrows.signals.Windows`.
        """
        rows = self._check_rows(windows)
        if not (self._space.window and isinstance(rows, Windows)):
            raise DataError(
                "scores over time are those of windows; learn from signals.Windows, and give such"
            )
        errors = self._errors_of_samples(rows, self._recognise)
        places = WindowPlaces.of(rows, np.arange(len(rows)))
        return [self._sample_scorer(one) for one in places.join(errors)]

    def _slopes(self) -> list[Matrix]:
        """Return the slopes of each member's whitened codes, from the reference rows."""
        features = self._neighbours.rows
        whitened = self._mahalanobis.whiten(self._ensemble.measure(self._references, features)[1])
        return [slopes_of(features, own) for own in whitened]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _blocks(rows: AnyRows, some: int = _BLOCK) -> Iterator[NDArray[Any]]:
    """Yield so many rows at a time, in memory."""
    for start in range(0, len(rows), some):
        yield np.asarray(rows[start : start + some])


def _robust_norms(values: Matrix, counted: NDArray[np.bool_], least: float) -> Matrix:
    """Return the median of the counted of values (M, n) of each line, (M,), or at least ``least``.

    Where more than half of them are zero, the mean takes its place.
    """
    norms = np.empty(len(values))
    for line, (own, which) in enumerate(zip(values, counted, strict=True)):
        used = own[which] if which.any() else own
        norms[line] = max(least, np.median(used) or used.mean())
    return norms
