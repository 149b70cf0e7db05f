"""An autoencoder of tables of numbers, categories, dates, and yes and no, with gaps.

The columns become numbers (:mod:`narrows.data.column_encoder`), from which any model of Narrows
learns. Gaps are imputed from the other columns (:mod:`narrows.models.filling`), and marked.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from narrows import storage
from narrows.data.batches import without_zero_weights
from narrows.data.column_encoder import ColumnEncoder, Encoded
from narrows.data.columns import Column
from narrows.data.frames import Frame, read_frame
from narrows.errors import DataError, FormatError, ParameterError
from narrows.models import filling, persistence
from narrows.models.autoencoder import Autoencoder
from narrows.models.base import BaseAutoencoder
from narrows.models.denoising import DenoisingAutoencoder
from narrows.models.filling import Imputer
from narrows.models.fitted import StorableEstimator
from narrows.models.parameters import RandomState
from narrows.models.persistence import StoredState, parameter_from_json
from narrows.models.registry import MODELS, class_named, model_named
from narrows.models.runs import state_bytes, unchanged_on_failure
from narrows.models.validation import check_column_names
from narrows.networks import NetworkSpec
from narrows.training.history import History
from narrows.training.progress import on_step

Floats = NDArray[np.float64]

# The name of the file of the training state of the network that imputes, if it was interrupted.
_IMPUTATION_STATE = "imputation_state"


def _learns_density(table: "TableAutoencoder") -> bool:
    """Tell whether a table's model can draw new rows."""
    given = table.model_ if table.__sklearn_is_fitted__() else table.model
    return hasattr(MODELS.get(given) if isinstance(given, str) else given, "sample")


@dataclass(kw_only=True, eq=False, repr=False)
class TableAutoencoder(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # untyped
    TransformerMixin,  # type: ignore[misc]  # untyped
    StorableEstimator,
):
    """A model of a table with columns of any kind, and with gaps.

    Numbers and dates are standardised; a category becomes a column of zeros and ones for each of
    its values, which together count as much as one number; yes and no become one such column.
    Identifiers, free texts, and columns that are empty are left out with a warning, and constant
    columns are restored as they are. Cells that are gaps (None, NaN, NaT, "", "NA", "?") are filled
    from the other cells of the row, and marked in further columns.

    Parameters
    ----------
    model : model, str or None, default=None
        The model that learns from the encoded rows, of which a copy is fitted: any model of
        Narrows, or its name on the command line. ``None`` takes an :class:`Autoencoder`. Its
        ``scaling="auto"`` means "none", as the columns are scaled already. The only positional
        parameter.
    columns : sequence of str or None, default=None
        The columns to learn from; by default all. Integers that all differ are then numbers.
    drop : sequence of str, default=()
        Columns to leave out.
    categorical : sequence of str, default=()
        Columns that hold categories, such as codes that are numbers.
    random_state : int, RandomState or None, default=None
        The random seed of the cells that are hidden to measure how gaps are filled, and of the
        model, unless it has its own.

    Attributes
    ----------
    model_ : BaseAutoencoder
        The fitted model of the encoded rows, whose features ``model_.feature_names_in_`` names.
    columns_ : list of Column
        What each column of the table holds; see :class:`narrows.data.columns.Column`.
    imputer_ : Imputer
        The imputation of gaps.
    n_features_in_ : int
        Columns of the table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if the table has names that are texts.
    history_ : History
        Every term of the model's loss, epoch by epoch.
    fingerprint_ : str
        SHA-256 of the weights, the columns, and what fills gaps.

    See Also
    --------
    Autoencoder : For tables of numbers without gaps, which it learns from as they are.

    Notes
    -----
    A gap is first given its expectation under a Gaussian with few axes (probabilistic PCA, Tipping
    & Bishop 1999), learned by EM. Where there are gaps in training, a
    :class:`DenoisingAutoencoder` learns to restore whole columns that are hidden in rows filled in
    this way, and corrects it; its loss counts the hidden cells alone, which are known. How far
    either is followed is measured for each column on hidden cells of held-out rows, so that columns
    that do not depend on the others get their mean or their most frequent category. The model
    then learns from filled rows.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from narrows import TableAutoencoder
    >>> rng = np.random.default_rng(0)
    >>> width = rng.normal(50, 10, 300)
    >>> table = pd.DataFrame({
    ...     "width": width,
    ...     "area": width**2 + rng.normal(0, 50, 300),
    ...     "size": np.where(width > 50, "large", "small"),
    ... })
    >>> with_gaps = table.mask(rng.random(table.shape) < 0.1)
    >>> model = TableAutoencoder(random_state=0).fit(with_gaps)
    >>> filled = model.impute(with_gaps)
    >>> bool(filled.notna().all(axis=None)), list(filled.dtypes) == list(table.dtypes)
    (True, True)
    >>> is_gap = with_gaps["size"].isna()
    >>> bool((filled["size"] == table["size"])[is_gap].mean() > 0.8)
    True
    """

    model: BaseAutoencoder | str | None = field(default=None, kw_only=False)
    columns: Sequence[str] | None = None
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    random_state: RandomState = None

    # As for the other models, weights are passed on to the model only where this is requested.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sample_weight": False}
    __metadata_request__partial_fit: ClassVar[dict[str, bool]] = {"sample_weight": False}

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from a table.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            The table; arrays may be structured, or hold objects.
        y : array-like, optional
            Labels, which are ignored.
        sample_weight : array-like of shape (n,), optional
            Weight of each row, at least 0; see :meth:`Autoencoder.fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError
            If a parameter or the table cannot be used.
        DivergedError
            As the model's ``fit``.

        Warns
        -----
        NarrowsWarning
            "columns_left_out" if columns hold nothing to learn from, "columns_guessed" if texts
            were read as numbers or dates in a way that is not certain, "extreme_values" if values
            are so far from the others of their column that these are restored badly.
        """
        del y
        with unchanged_on_failure(self):
            rows, weights, inner = self._begin(X, sample_weight)
            self._fit_model(inner, rows, weights)
        return self

    def _begin(self, X: Any, sample_weight: Any) -> tuple[Any, Any, BaseAutoencoder]:
        """Learn what columns hold and how gaps are imputed; return rows, weights and a model."""
        self.check_parameters()
        seed = int(check_random_state(self.random_state).randint(2**31))
        frame, weights = _weighted(read_frame(X, at_least=2), sample_weight)
        self._know(frame)
        self.column_encoder_ = ColumnEncoder.fit(
            frame, weights, only=self.columns, drop=self.drop, categorical=self.categorical
        )
        self.column_encoder_.warn_of_extremes()
        encoded = self.column_encoder_.transform(frame, warns=False)
        self.imputer_ = filling.fit(self.column_encoder_, encoded.features, weights, seed)
        return self._rows(encoded), weights, self._model(seed)

    def _fit_model(self, inner: BaseAutoencoder, rows: Any, weights: Any) -> None:
        """Fit the model to encoded rows; not further than its first step, if one was asked for."""
        stop = on_step(_interrupt) if self.imputer_.is_interrupted else nullcontext()
        with stop:
            self.model_ = inner.fit(rows, sample_weight=weights)

    def resume(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, max_epochs: int | None = None
    ) -> Self:
        """Continue the run of ``fit``, after an interruption or for more epochs.

        What columns hold, their scales, and a complete imputation stay as they are. With the same
        epochs, the result is that of a run without a stop, bit for bit.

        Parameters
        ----------
        X, y, sample_weight
            The arguments of ``fit``: the same rows, in the same order.
        max_epochs : int, optional
            The total number of epochs of the model, as of :meth:`Autoencoder.resume`.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError, CheckpointError, FormatError, ParameterError, DataError, DivergedError
            As :meth:`Autoencoder.resume`. ``columns``, ``drop`` and ``categorical`` must be those
            of ``fit``. After any of these errors the model is unchanged.

        See Also
        --------
        partial_fit : Learns from other rows.

        Examples
        --------
        >>> import numpy as np
        >>> from narrows import Autoencoder, TableAutoencoder
        >>> table = np.random.default_rng(0).random((100, 4))
        >>> table[3, 1] = np.nan
        >>> model = TableAutoencoder(Autoencoder(2, max_epochs=2), random_state=0).fit(table)
        >>> len(model.resume(table, max_epochs=5).history_)
        5
        """
        del y
        self._check_fitted()
        with unchanged_on_failure(self):
            self.check_parameters()
            if max_epochs is not None:
                self.model = clone(self._inner()).set_params(max_epochs=max_epochs)
            asked = self._model(None).get_params(deep=False)
            if asked["random_state"] is None:
                asked["random_state"] = self.model_.random_state
            inner = copy(self.model_).set_params(**asked)
            frame, weights = _weighted(read_frame(X), sample_weight)
            self._check_kinds(frame)
            encoded = self.column_encoder_.transform(frame)
            if self.imputer_.is_interrupted:
                self.imputer_ = filling.resume(self.imputer_, encoded.features, weights)
                self._fit_model(clone(inner), self._rows(encoded), weights)
            else:
                self.model_ = inner.resume(self._rows(encoded), sample_weight=weights)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Continue training by one pass over more rows, at a constant learning rate.

        The first call also learns what columns hold, their scales and how gaps are imputed, which
        stay as they are in later calls: its rows should be many, and like all others.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table; in later calls as for :meth:`transform`.
        y : array-like, optional
            Labels, which are ignored.
        sample_weight : array-like of shape (n,), optional
            Weight of each of these rows, as in :meth:`fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError, DivergedError
            As :meth:`fit`, or :meth:`transform` in later calls.

        Warns
        -----
        NarrowsWarning
            As :meth:`fit` in the first call, as :meth:`transform` in later ones.
        """
        del y
        with unchanged_on_failure(self):
            if self.__sklearn_is_fitted__():
                self.check_parameters()
                frame, weights = _weighted(read_frame(X), sample_weight)
                rows, inner = self._rows(self.column_encoder_.transform(frame)), copy(self.model_)
            else:
                rows, weights, inner = self._begin(X, sample_weight)
            if self.imputer_.is_interrupted:  # nothing goes on with a run that this changes
                self.imputer_ = replace(self.imputer_, network=None)
            self.model_ = inner.partial_fit(rows, sample_weight=weights)
        return self

    @property
    def is_resumable_(self) -> bool:
        """Whether the model holds the training state that :meth:`resume` needs."""
        self._check_fitted()
        return self.imputer_.is_interrupted or self.model_.is_resumable_

    def save(self, path: str | Path, *, overwrite: bool = False, resumable: bool = True) -> Path:
        """Save the fitted model to a folder; :func:`narrows.load` reads it.

        Parameters
        ----------
        path, overwrite, resumable
            As for :meth:`Autoencoder.save`.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        NotFittedError, OutputExistsError, OutputError
            As :meth:`Autoencoder.save`.
        """
        self._check_fitted()
        runs = {persistence.STATE: self.model_}
        if self.imputer_.network is not None and self.imputer_.is_interrupted:
            runs[_IMPUTATION_STATE] = self.imputer_.network
        states = {name: state_bytes(run) if resumable else None for name, run in runs.items()}
        return storage.write(
            path,
            *self._stored(),
            overwrite=overwrite,
            notes=self.history_.files(),
            files={name: state for name, state in states.items() if state is not None},
        )

    def _know(self, frame: Frame) -> None:
        """Keep the number of columns, and their names if they are the table's own."""
        self.n_features_in_ = len(frame.names)
        self.__dict__.pop("feature_names_in_", None)
        if frame.is_named:
            self.feature_names_in_ = np.asarray(frame.names, dtype=object)

    def _check_kinds(self, frame: Frame) -> None:
        """Refuse a table, or parameters, by which columns hold something else than in the run.

        Raises
        ------
        DataError
            If the kind of a column differs.
        """
        found = ColumnEncoder.find(
            frame, only=self.columns, drop=self.drop, categorical=self.categorical
        )
        kinds = {column.name: column.kind for column in found}
        for column in self.columns_:
            if (now := kinds.get(column.name)) != column.kind:
                raise DataError(
                    f"column {column.name!r} was read as {column.kind} by the run, and "
                    f"{'is not there' if now is None else f'as {now}'} now; a run goes on with the "
                    "same table, and the same columns=, drop= and categorical=",
                    column=column.name,
                )

    def _inner(self) -> BaseAutoencoder:
        """Return the model that was given, by its name too, or the default."""
        given: Any = Autoencoder() if self.model is None else self.model
        inner: BaseAutoencoder = MODELS[given]() if isinstance(given, str) else given
        return inner

    def _model(self, seed: int | None) -> BaseAutoencoder:
        """Return a copy of the model to be fitted."""
        inner: BaseAutoencoder = clone(self._inner())
        if inner.scaling == "auto":
            inner.scaling = "none"
        if inner.random_state is None and self.random_state is not None:
            inner.random_state = seed
        return inner

    def _rows(self, encoded: Encoded) -> Any:
        """Return rows for the model: features whose gaps are filled, and marks, with names."""
        matrix = np.column_stack([self.imputer_.impute(encoded.features), encoded.marks])
        names = self.column_encoder_.feature_names()
        return pa.table([pa.array(column) for column in matrix.T], names=names)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode the rows of a table.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table with the columns learned from, found by their names if it has names; others
            have no effect. Gaps are allowed in all columns.

        Returns
        -------
        ndarray of shape (n, K), float32
            The codes.

        Raises
        ------
        NotFittedError, DataError
            If the model is not fitted, or a column is missing or of another kind.

        Warns
        -----
        NarrowsWarning
            "unknown_categories", "constants_changed" and "columns_unknown" if the table holds what
            was not learned from.
        """
        _, rows, _ = self._encode(X)
        codes: NDArray[np.float32] = self.model_.transform(rows)
        return codes

    def encode_columns(self, X: Any) -> Any:
        """Convert a table to the rows that the network learns from.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table, as for :meth:`transform`.

        Returns
        -------
        pyarrow.Table of n rows
            A column for each feature and each mark of gaps, by the names of
            ``model_.feature_names_in_``; gaps are filled.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        return self._encode(X)[1]

    def inverse_transform(self, Z: Any, *, as_arrow: bool = False) -> Any:
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n, K)
            Codes.
        as_arrow : bool, default=False
            Whether to return an Arrow table, whatever was learned from: its columns have names, and
            those of values of several types are texts of JSON.

        Returns
        -------
        table of n rows
            Of the kind that was learned from, with the columns that were, and constant ones;
            columns that were left out are not in it.

        Raises
        ------
        NotFittedError, DataError
            If the model is not fitted, or the codes have another width.
        MissingDependencyError
            If pandas or polars is needed for this and not installed.
        """
        self._check_fitted()
        restored = self.model_.inverse_transform(Z)[:, : self.column_encoder_.n_features]
        arrays = self.column_encoder_.inverse(restored)
        return self.column_encoder_.table(arrays, "arrow" if as_arrow else None)

    def reconstruct(self, X: Any, *, fill_only: bool = False) -> Any:
        """Encode the rows of a table and decode their codes.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table, as for :meth:`transform`.
        fill_only : bool, default=False
            Whether only gaps are new, and all other cells stay as they are.

        Returns
        -------
        table like X
            Of the same kind, with the same columns in the same order and of the same types.
            Whole numbers are rounded, dates are dates, categories are the most likely ones. Columns
            that were left out in training are those of X. A path gives an Arrow table.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        frame, rows, encoded = self._encode(X)
        if fill_only:
            filled = self.imputer_.values(self.imputer_.impute(encoded.features))
            return self.column_encoder_.rows(frame, filled, encoded.gaps)
        restored = self.model_.reconstruct(rows)[:, : self.column_encoder_.n_features]
        return self.column_encoder_.rows(frame, self.column_encoder_.inverse(restored))

    @available_if(_learns_density)  # type: ignore[untyped-decorator]  # untyped
    def sample(self, n: int, random_state: RandomState = None, *, as_arrow: bool = False) -> Any:
        """Draw new rows from a model of a density; only those of variational models have it.

        Parameters
        ----------
        n : int
            The number of rows.
        random_state : int, RandomState or None
            The random seed of the draws.
        as_arrow : bool, default=False
            As for :meth:`inverse_transform`.

        Returns
        -------
        table of n rows
            As :meth:`inverse_transform` returns. Categories are the most likely ones, numbers are
            means, whole where all that were learned from were, and of the sign that all of these
            had.

        Raises
        ------
        NotFittedError, ParameterError
            As :meth:`VariationalAutoencoder.sample`.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from narrows import TableAutoencoder
        >>> x = np.random.default_rng(0).normal(size=200)
        >>> table = pd.DataFrame({"x": x, "sign": np.where(x > 0, "plus", "minus")})
        >>> model = TableAutoencoder("variational", random_state=0).fit(table)
        >>> drawn = model.sample(100, random_state=0)
        >>> drawn.shape, sorted(set(drawn["sign"]))
        ((100, 2), ['minus', 'plus'])
        """
        self._check_fitted()
        model: Any = self.model_
        drawn = model.sample(n, random_state)[:, : self.column_encoder_.n_features]
        arrays = self.imputer_.values(drawn)
        return self.column_encoder_.table(arrays, "arrow" if as_arrow else None)

    def impute(self, X: Any) -> Any:
        """Fill the gaps of a table.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table, as for :meth:`transform`.

        Returns
        -------
        table like X
            As :meth:`reconstruct` with ``fill_only=True``. Gaps of columns that were left out in
            training stay.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        return self.reconstruct(X, fill_only=True)

    def imputation_errors(self) -> dict[str, float]:
        """Return the error of filling each column, as measured in training; lower is better.

        Returns
        -------
        dict of str to float
            By the name of each column that was learned from, the squared error of cells that were
            hidden on purpose, over that of the mean: 1 where it does not depend on the others.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        """
        self._check_fitted()
        errors = self.imputer_.errors.get("imputed", self.imputer_.errors["gaussian"])
        return {c.name: float(e) for c, e in zip(self.column_encoder_.used, errors, strict=True)}

    def column_errors(self, X: Any) -> dict[str, float]:
        """Measure the error of the reconstruction of each column; lower is better.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table, as for :meth:`transform`.

        Returns
        -------
        dict of str to float
            By the name of each column that was learned from, the mean over its known cells of the
            squared error over the variance in training: 1 is the error of the mean. Categories
            count by their zeros and ones. NaN if no cell is known.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        _, rows, encoded = self._encode(X)
        means = errors_by_column(self.column_encoder_, encoded, self.model_.reconstruct(rows))
        return {c.name: float(m) for c, m in zip(self.column_encoder_.used, means, strict=True)}

    def reconstruction_error(self, X: Any) -> NDArray[np.float64]:
        """Measure the error of the reconstruction of each row; lower is better.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table, as for :meth:`transform`.

        Returns
        -------
        ndarray of shape (n,), float64
            The mean over the row's known cells of the squared error over the column's variance;
            0 if no cell is known.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        _, rows, encoded = self._encode(X)
        restored = self.model_.reconstruct(rows)
        squares, known = _squared_errors(self.column_encoder_, encoded, restored)
        errors: NDArray[np.float64] = squares.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return errors

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return minus the reconstruction error of each row: higher is better.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table, as for :meth:`transform`.

        Returns
        -------
        ndarray of shape (n,), float64
            At most 0; see :meth:`reconstruction_error`.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        return -self.reconstruction_error(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean reconstruction error of the rows: higher is better.

        Parameters
        ----------
        X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
            A table, as for :meth:`transform`.
        y : array-like, optional
            Labels, which are ignored.

        Returns
        -------
        float
            At most 0.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        del y
        return float(self.score_samples(X).mean())

    def check_parameters(self) -> None:
        """Refuse parameters that are not allowed.

        Raises
        ------
        ParameterError
            For the first one.
        """
        given: Any = self.model
        if isinstance(given, str):
            if model_named(given) is None:
                raise ParameterError(
                    f"model={given!r} is not known; use one of {', '.join(MODELS)}, a model, or "
                    "None",
                    parameter="model",
                )
        elif given is not None and not isinstance(given, BaseAutoencoder):
            raise ParameterError(
                f"model={given!r} is not allowed; give a model of Narrows, its name, or None",
                parameter="model",
            )
        elif given is not None:
            given.check_parameters()
        check_column_names(self)

    @property
    def columns_(self) -> list[Column]:
        """What each column of the table holds."""
        self._check_fitted()
        return self.column_encoder_.columns

    @property
    def history_(self) -> History:  # type: ignore[override]  # which the model keeps
        """Every term of the model's loss, epoch by epoch."""
        self._check_fitted()
        history = self.model_.history_
        return replace(history, ended="interrupted") if self.imputer_.is_interrupted else history

    @property
    def n_iter_(self) -> int:
        """Epochs trained."""
        return len(self.history_)

    @property
    def n_components(self) -> int:
        """The width of the code, K."""
        self._check_fitted()
        return self.model_.spec_.n_components

    @property
    def sample_shape_(self) -> tuple[int, ...]:
        """The shape of a row of the table, ``(n_features_in_,)``."""
        self._check_fitted()
        return (self.n_features_in_,)

    @property
    def spec_(self) -> NetworkSpec:
        """The description of the model's network."""
        self._check_fitted()
        return self.model_.spec_

    @property
    def fingerprint_(self) -> str:
        """SHA-256, in hexadecimal, of weights, columns, and what fills gaps."""
        self._check_fitted()
        facts, parts = {"model": self.model_.fingerprint_, "table": self._facts()}, self._own()[1]
        return storage.fingerprint(facts, parts)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = False
        tags.input_tags.allow_nan = True
        tags.input_tags.string = tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.spec_.code_width)

    def _encode(self, X: Any) -> tuple[Frame, Any, Encoded]:
        """Read a table, and convert it to rows for the model."""
        self._check_fitted()
        frame = read_frame(X)
        encoded = self.column_encoder_.transform(frame)
        return frame, self._rows(encoded), encoded

    def _facts(self) -> dict[str, Any]:
        return {**self.column_encoder_.facts(), "n_features_in": self.n_features_in_}

    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        manifest, parts = self.model_._stored()
        own, own_parts = self._own()
        facts = {
            "kind": "table",
            "fingerprint": self.fingerprint_,
            "fingerprint_of_model": manifest["fingerprint"],
            "parameters_of_table": persistence.parameters(self),
        }
        return {**manifest, **own, **facts}, {**parts, **own_parts}

    def _own(self) -> tuple[dict[str, Any], dict[str, Mapping[str, Tensor]]]:
        """Return what is stored beside the model: the columns, and what fills gaps."""
        facts: dict[str, Any] = {"table": self._facts()}
        parts: dict[str, Mapping[str, Tensor]] = {
            "columns": self.column_encoder_.tensors(),
            "imputation": self.imputer_.tensors(),
        }
        if self.imputer_.network is not None:
            facts["imputation_network"], halves = self.imputer_.network._stored()
            parts |= {f"imputation_{name}": halves[name] for name in ("encoder", "decoder")}
            facts["imputation_network"].pop("rows", None)
        return facts, parts

    @classmethod
    def restore(cls, manifest: Mapping[str, Any], parts: storage.Parts, path: str | Path) -> Self:
        """Build a saved model from the results of :func:`narrows.storage.read`.

        Raises
        ------
        FormatError
            If the manifest and the tensors do not belong together.
        """
        with storage.explain_damage("table model", path):
            inner = class_named(manifest["model"])
            if inner is None:
                raise ValueError(f"this Narrows has no model {manifest['model']!r}")
            as_model = {"kind": "model", "fingerprint": manifest["fingerprint_of_model"]}
            known = {
                name: parameter_from_json(value)
                for name, value in manifest["parameters_of_table"].items()
            }
            table = cls(**known)
            encoder = ColumnEncoder.restore(manifest["table"], parts["columns"])
            network = None
            if "imputation_network" in manifest:
                halves = {name: parts[f"imputation_{name}"] for name in ("encoder", "decoder")}
                network = DenoisingAutoencoder.restore(manifest["imputation_network"], halves, path)
                entry = manifest.get("files", {}).get(_IMPUTATION_STATE)
                if entry is not None:
                    network._run_state = StoredState(Path(path), entry)
            table.column_encoder_ = encoder
            table.imputer_ = Imputer.restore(parts["imputation"], encoder, network)
            table.n_features_in_ = len(encoder.columns)
            if encoder.named is not None:
                table.feature_names_in_ = np.asarray(encoder.named, dtype=object)
        table.model_ = inner.restore({**manifest, **as_model}, parts, path)
        wide = encoder.n_features + len(encoder.marked)
        if table.model_.sample_shape_ != (wide,):
            raise FormatError(
                f"the table model in '{path}' is damaged: its columns make {wide} features, and "
                f"its network takes {table.model_.sample_shape_}; copy its folder again, whole"
            )
        storage.check_fingerprint(table.fingerprint_, manifest, path)
        return table


def errors_by_column(encoder: ColumnEncoder, encoded: Encoded, restored: Any) -> Floats:
    """Return the mean squared error of the known cells of each column.

    Parameters
    ----------
    encoder : ColumnEncoder
    encoded : Encoded
        n rows.
    restored : array-like of shape (n, P or more)
        Their features as a model restores them; marks of gaps behind them are ignored.

    Returns
    -------
    ndarray of shape (C,)
        In units of the columns' variance in training; NaN if no cell is known.
    """
    squares, known = _squared_errors(encoder, encoded, restored)
    counts = known.sum(axis=0)
    return np.where(counts > 0, squares.sum(axis=0) / np.maximum(counts, 1), math.nan)


def _squared_errors(
    encoder: ColumnEncoder, encoded: Encoded, restored: Any
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the squared error of each cell (n, C), 0 where it is not known, and which are."""
    difference = np.nan_to_num(encoded.features - restored[:, : encoder.n_features])
    known = ~(encoded.gaps | encoded.unknown)
    return encoder.sums(difference**2) * known, known


def _weighted(frame: Frame, sample_weight: Any) -> tuple[Frame, Any]:
    """Return the rows of a table whose weights are not 0, and their weights."""
    (numbers,), weights = without_zero_weights(sample_weight, np.arange(len(frame)))
    return frame if len(numbers) == len(frame) else frame.rows(numbers), weights


def _interrupt() -> None:
    raise KeyboardInterrupt
