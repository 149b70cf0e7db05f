"""The anomaly detector: scores of rows by an ensemble of autoencoders that have not seen them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.base import OutlierMixin
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits

from narrows import storage
from narrows.data.arrays import check_finite
from narrows.data.column_encoder import ColumnEncoder
from narrows.data.frames import frame_of_kinds, read_frame
from narrows.data.lazy_rows import AnyRows
from narrows.data.signal_files import Windows
from narrows.errors import DataError, ParameterError, warn
from narrows.models import conformal, persistence
from narrows.models.anomaly_scorer import (
    MOST_REFERENCES,
    AnomalyScorer,
    AnomalyScores,
    KindOfRows,
    as_tensors,
)
from narrows.models.base import BaseAutoencoder
from narrows.models.committee import Committee
from narrows.models.discrete_columns import EncodedColumns
from narrows.models.drift import Drift
from narrows.models.ensembles import CommitteeEnsemble, Ensemble, ModelEnsemble
from narrows.models.feature_space import FeatureSpace
from narrows.models.fitted import StorableEstimator, html_table
from narrows.models.parameters import RandomState
from narrows.models.persistence import parameter_from_json
from narrows.models.registry import class_named
from narrows.models.runs import unchanged_on_failure
from narrows.models.sample_scores import SampleScorer
from narrows.models.validation import check_column_names, check_flag, check_number, check_rows
from narrows.models.window_blocks import WindowPlaces, draw_windows
from narrows.texts import counted

Matrix = NDArray[np.float64]

_MOST_ROWS = 20_000  # of more rows, so many are drawn to learn from
_UNKNOWN = 5.0  # a category that was not learned from, in standard deviations
# Heat at a place is divided by this quantile of the heat of so many normal pictures there. It is
# pooled over neighbourhoods of the shorter side divided by the last number.
_QUANTILE, _MOST_PICTURES, _POOLED = 0.99, 300, 10
# The types of rows that are stored as they are.
_STORED = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(kw_only=True, eq=False, repr=False)
class AnomalyDetector(
    OutlierMixin,  # type: ignore[misc]  # untyped
    StorableEstimator,
):
    """Find rows that are unlike the others, and say why they are.

    A committee of small autoencoders is trained, each on a few hundred rows; each row is scored by
    those that have not seen it, so that no outlier is memorised. The score is the sum of three
    parts, each divided by its median over the rows learned from: Q, the squared residual; T
    squared, the robust Mahalanobis distance of the code (both are those of statistical process
    monitoring: Jackson & Mudholkar 1979, Hotelling 1947); and, counted twice, the squared distance
    to the five nearest rows, as compared with their distances from their own neighbours, which
    finds what is rare locally (Breunig et al. 2000).

    Columns of tables are divided by their interquartile range and clipped at 4 standard deviations
    of the normal distribution; a value between the steps of a column of few values, such as 0.5
    among zeros and ones, counts as a residual. Pictures are smoothed a little, and divided by the
    root of their length, so that contrast counts half. Beside the samples of a window of a signal
    stand their differences and the spreads of both; each channel has its own scale. Pictures,
    windows of signals and tables of more than 128 values a row are represented by their first 128
    principal components, and the residual includes what these leave.

    A saved detector holds up to 4 096 of the training rows, with which new rows are compared.

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
    columns : sequence of str or None, default=None
        The columns of a DataFrame to learn from; by default all.
    drop : sequence of str, default=()
        Columns to leave out.
    categorical : sequence of str, default=()
        Columns that hold categories, such as codes that are numbers.
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
    rate_ : int or None
        Samples per second of the signals learned from; None if unknown, and for other rows.

    See Also
    --------
    narrows.signals.anomaly_scores : Scores each sample of a signal.
    narrows.evaluation.find_anomalies : Lists rows by their scores, on a page too.

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
    columns: Sequence[str] | None = None
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
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
        # Matrices are small: several threads would wait for each other.
        with unchanged_on_failure(self), threadpool_limits(1, user_api="blas"):
            self.check_parameters()
            seed = check_random_state(self.random_state).randint(2**31)
            generator = np.random.default_rng(seed)
            chooses = self.columns is not None or self.drop or self.categorical
            frame = read_frame(X, owner=type(self).__name__) if chooses else frame_of_kinds(X)
            self.column_encoder_ = None
            if frame is not None:
                self.column_encoder_ = ColumnEncoder.fit(
                    frame, only=self.columns, drop=self.drop, categorical=self.categorical
                )
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

        def train(
            given: NDArray[Any], features: Matrix, space: FeatureSpace
        ) -> tuple[Ensemble, NDArray[np.bool_]]:
            return self._train_ensemble(given, features, space, places, generator)

        self._scorer, self.seen_, scores = AnomalyScorer.fit(
            rows,
            self.sample_indices_,
            places,
            train,
            generator,
            encoded=self._encoded_columns(),
        )
        self.calibration_scores_ = np.sort(scores)
        self.offset_ = -conformal.threshold(
            self.calibration_scores_, self.false_alarms, self.contamination
        )
        if places is not None:
            errors = self._scorer.errors_of_samples(rows)
            share = conformal.share_above(self.false_alarms, self.contamination)
            self._sample_scorer = SampleScorer.fit(places.join(errors), places.length, share)

    def _encoded_columns(self) -> EncodedColumns:
        """Return how the columns of a table were turned into numbers."""
        if self.column_encoder_ is None:
            return EncodedColumns.as_they_are(math.prod(self.sample_shape_))
        return EncodedColumns.of(self.column_encoder_)

    def _name_columns(self, encoder: ColumnEncoder) -> None:
        """Keep the number of columns of a table, and their names if they are the table's own."""
        self.n_features_in_ = len(encoder.columns)
        if encoder.named is not None:
            self.feature_names_in_ = np.asarray(encoder.named, dtype=object)

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
        space: FeatureSpace,
        places: WindowPlaces | None,
        generator: np.random.Generator,
    ) -> tuple[Ensemble, NDArray[np.bool_]]:
        """Train the ensemble, and return which rows each member has seen."""
        if self.model is None:
            return CommitteeEnsemble.fit(features, space, self.n_nets, generator, places)
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
        ensemble, seen = ModelEnsemble.fit(model, rows, space, generator, places)
        if seen.all(axis=1).any():
            warn(
                "the model has learned from all rows given, whose errors are smaller than those of "
                "new rows: more than false_alarms of these will be reported; fit the detector on "
                "rows that the model has not seen, or give the model unfitted",
                kind="calibrated_on_learned_rows",
            )
        return ensemble, seen

    @property
    def kind_of_rows_(self) -> KindOfRows:
        """What was learned from: a table, pictures, or windows of signals."""
        self._check_fitted()
        return self._scorer.kind

    @property
    def data_type_(self) -> str:
        """The type of the rows learned from."""
        self._check_fitted()
        return str(self._scorer.references.dtype)

    @property
    def committee_(self) -> Committee | None:
        """The networks, on the scaled rows; None with a ``model``."""
        self._check_fitted()
        ensemble = self._scorer.ensemble
        return ensemble.committee if isinstance(ensemble, CommitteeEnsemble) else None

    @property
    def ensemble_(self) -> str:
        """What scores rows, in words: "30 networks", "5 models" or "1 model"."""
        networks, count = self.committee_, len(self._scorer.norms[0])
        return counted(count, "model" if networks is None else "network")

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
        check_column_names(self)

    def score_samples(self, X: Any) -> Matrix:
        """Return minus the anomaly score of each row: higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            Rows in the units of those learned from.

        Returns
        -------
        ndarray of shape (n,)
            At most 0; about -4 for the median of the rows learned from.

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
        rows = self._check_rows(X)
        return self._scorer.scores(rows, novelty=self.novelty)

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
        """Return the conformal p-values of anomaly scores; see :meth:`p_values`.

        Parameters
        ----------
        scores : ndarray of shape (n,)
            Anomaly scores, such as ``score_parts(X).total``; higher is more anomalous.

        Returns
        -------
        ndarray of shape (n,)
            Between 1 / (n_training_rows + 1) and 1.
        """
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
        total = self._scorer.contributions(rows, novelty=self.novelty)
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
        if self.kind_of_rows_ != "pictures":
            raise DataError(
                f"the detector learned from rows of shape {self.sample_shape_}, which are no "
                "pictures; contributions(X) tells what their scores come from"
            )
        normal = self._scorer.references[self._normal()][:_MOST_PICTURES]
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
        return self._scorer.nearest(rows, k, self._normal())

    def _normal(self) -> NDArray[np.int64]:
        """Return which of the reference rows are below the threshold."""
        return np.flatnonzero(-self._scorer.reference_scores >= self.offset_)

    def drift(self, X: Any) -> Drift:
        """Test whether new rows as a whole are unlike those learned from.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
            As :meth:`score_samples`; at least 2 rows, drawn independently, as the training
            rows were: the test assumes that rows do not depend on each other. Windows of signals
            do, so that blocks of them are compared: their median scores, and their mean rows.

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
        if isinstance(rows, Windows) and self.kind_of_rows_ == "signals":
            blocks = WindowPlaces.of(rows, np.arange(len(rows))).blocks()
            old_scores, old_rows = self._scorer.of_reference_blocks()
            scores = self._scorer.scores(rows, novelty=self.novelty).total
            new_scores, new_rows = self._scorer.of_blocks(rows, scores, blocks)
            return Drift.between((old_scores, new_scores), (old_rows, new_rows), generator)
        drawn = np.sort(generator.permutation(len(rows))[:MOST_REFERENCES])
        new = np.asarray(rows[drawn])
        scores = self._scorer.scores(new, novelty=self.novelty).total
        features = self._scorer.neighbours.rows, self._scorer.features(new)
        return Drift.between((self.calibration_scores_, scores), features, generator)

    @property
    def fingerprint_(self) -> str:
        """SHA-256, in hexadecimal, of all that scores depend on."""
        self._check_fitted()
        return storage.fingerprint(*self._facts())

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
        self.n_features_in_ = int(manifest["n_features_in"])
        self.sample_shape_ = tuple(map(int, manifest["sample_shape"]))
        self.rate_ = manifest["rate"]
        width, table = math.prod(self.sample_shape_), manifest["table"]
        self.column_encoder_ = None
        if table is not None:
            self.column_encoder_ = ColumnEncoder.restore(table, parts["columns"])
            self._name_columns(self.column_encoder_)
            encoded = self.column_encoder_.n_features + len(self.column_encoder_.marked)
            if encoded != width:
                raise ValueError(f"the columns make {encoded} numbers, not {width}")
        elif width != self.n_features_in_:
            raise ValueError(f"rows of shape {self.sample_shape_} have other features")
        if (names := manifest["feature_names_in"]) is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        self._scorer = scorer = AnomalyScorer.restore(
            manifest, parts, self._encoded_columns(), path
        )
        if manifest["fitted_before"]:
            if not isinstance(scorer.ensemble, ModelEnsemble):
                raise ValueError("a committee is no model that was fitted before")
            self.model = scorer.ensemble.models[0]
        arrays = {name: tensor.numpy() for name, tensor in parts["thresholds"].items()}
        scores = self.calibration_scores_ = arrays["calibration_scores"]
        if scores.ndim != 1 or not len(scores) or (np.diff(scores) < 0).any():
            raise ValueError("the calibration scores are not ascending")
        if scorer.kind == "signals":
            self._sample_scorer = SampleScorer.restore(arrays)
        self.offset_ = float(manifest["offset"])

    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        """Return what is saved: all that scores depend on, and its fingerprint."""
        facts, parts = self._facts()
        return {"fingerprint": storage.fingerprint(facts, parts), **facts}, parts

    def _facts(self) -> tuple[dict[str, Any], storage.Parts]:
        """Return all that scores depend on, as JSON and as tensors."""
        facts, parts = self._scorer.stored()
        ensemble, names = self._scorer.ensemble, getattr(self, "feature_names_in_", None)
        fitted_before = isinstance(ensemble, ModelEnsemble) and len(ensemble.models) == 1
        manifest = {
            "kind": "detector",
            "parameters": persistence.parameters(self) | ({"model": None} if fitted_before else {}),
            "fitted_before": fitted_before,
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else list(names),
            "rate": self.rate_,
            "table": None if self.column_encoder_ is None else self.column_encoder_.facts(),
            "offset": self.offset_,
            **facts,
        }
        arrays = {"calibration_scores": self.calibration_scores_}
        if self.kind_of_rows_ == "signals":
            arrays |= self._sample_scorer.arrays()
        if self.column_encoder_ is not None:
            parts = {**parts, "columns": self.column_encoder_.tensors()}
        return manifest, {**parts, "thresholds": as_tensors(arrays)}

    def _notes(self) -> dict[str, bytes]:
        return {}

    def _learned_html(self) -> str:
        figures = {
            "shape of a row": " x ".join(map(str, self.sample_shape_)),
            "rows learned from": f"{len(self.calibration_scores_):,}",
            "ensemble": self.ensemble_,
            "threshold": f"{-self.offset_:.4g}",
            "fingerprint": self.fingerprint_[:12],
        }
        return f'<div class="narrows-learned">{html_table(figures)}</div>'

    def _check_rows(self, X: Any) -> AnyRows:
        """Check rows to be scored."""
        self._check_fitted()
        encoder = self.column_encoder_
        return check_rows(self, X) if encoder is None else self._encode(encoder, X)

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
        if not (self.kind_of_rows_ == "signals" and isinstance(rows, Windows)):
            raise DataError(
                "scores over time are those of windows; learn from signals.Windows, and give such"
            )
        errors = self._scorer.errors_of_samples(rows, novelty=self.novelty)
        places = WindowPlaces.of(rows, np.arange(len(rows)))
        return [self._sample_scorer(one) for one in places.join(errors)]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")
