"""The encoding of tables as matrices of numbers for a network, and its inverse.

scikit-learn's ``ColumnTransformer`` standardises numbers and one-hot encodes categories, whose
columns are then scaled so that the sum of their variances is 1. Gaps are marked beside them.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.columns import USED, Column
from narrows.data.extremes import described, find_extremes, warn_of_extremes
from narrows.data.frames import FRAME_KINDS, Frame, FrameKind, Values, build, find_gaps
from narrows.errors import DataError, ParameterError, warn
from narrows.texts import listed

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import StandardScaler

MARK = 0.3
"""The value of the marks of gaps, beside numbers of variance 1: small, so that they take little of
the code.
"""

_SHOWN = 4  # columns in a message


class Encoded(NamedTuple):
    """The rows of a table as numbers.

    Attributes
    ----------
    features : ndarray of shape (n, P)
        Scaled numbers, and the zeros and ones of categories; NaN where a cell is a gap or unknown.
    marks : ndarray of shape (n, M)
        Which cells are gaps, of the columns that had gaps when they were learned from.
    gaps : ndarray of bool and shape (n, C)
        Which cells are missing, by used column.
    unknown : ndarray of bool and shape (n, C)
        Which cells hold a category that was not learned from.
    """

    features: NDArray[np.float64]
    marks: NDArray[np.float64]
    gaps: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


class ColumnEncoder:
    """The conversion of one table's columns to numbers and back.

    Parameters
    ----------
    columns : list of Column
        All columns of the table learned from, in its order.
    kind : str
        The kind of that table; see :class:`narrows.data.frames.Frame`.
    is_named : bool
        Whether its columns have names.

    Attributes
    ----------
    used : list of Column
        Those that are learned from, C of them.
    slices : list of slice
        The place of each used column among the P features.
    marked : list of int
        The places, among the used columns, of those whose gaps are marked.
    """

    def __init__(self, columns: Sequence[Column], kind: FrameKind, *, is_named: bool) -> None:
        self.columns, self.kind, self.is_named = list(columns), kind, is_named
        self.used = [column for column in columns if column.kind in USED]
        self._numbers = [i for i, c in enumerate(self.used) if c.kind in ("number", "date")]
        self._categories = [i for i in range(len(self.used)) if i not in set(self._numbers)]
        self.marked = [i for i, c in enumerate(self.used) if c.n_gaps]
        widths = dict.fromkeys(self._numbers, 1)
        for i in self._categories:
            n_levels = len(self.used[i].levels)
            widths[i] = 1 if n_levels == 2 else n_levels
        starts = np.cumsum([0, *(widths[i] for i in (*self._numbers, *self._categories))])
        places = dict(zip((*self._numbers, *self._categories), starts, strict=False))
        self.slices = [
            slice(int(places[i]), int(places[i]) + widths[i]) for i in range(len(self.used))
        ]
        self.n_features = int(starts[-1])
        self._transformer = self._build()
        self._mean = np.zeros(self.n_features)
        self._scale = np.ones(self.n_features)

    @classmethod
    def fit(
        cls,
        frame: Frame,
        weights: NDArray[np.float64] | None = None,
        *,
        only: Collection[str] | None = None,
        drop: Collection[str] = (),
        categorical: Collection[str] = (),
    ) -> Self:
        """Learn from a table what its columns hold.

        Parameters
        ----------
        frame : Frame
            The table.
        weights : ndarray of shape (n,), optional
            The weights of its rows.
        only : collection of str, optional
            The columns to learn from.
        drop : collection of str
            Columns to leave out.
        categorical : collection of str
            Columns that hold categories, whatever they look like.

        Raises
        ------
        ParameterError
            If a column is named that the table does not have.
        DataError
            If no column can be learned from, or one has infinite numbers.

        Warns
        -----
        NarrowsWarning
            "columns_left_out" and "columns_guessed".
        """
        columns = cls.find(frame, only=only, drop=drop, categorical=categorical)
        encoder = cls(columns, frame.kind, is_named=frame.is_named)
        encoder._warn_of_choices()
        if not encoder.used:
            raise DataError(
                "no column of the table can be learned from: "
                f"{listed((f'{c.name!r} ({c.why})' for c in columns), _SHOWN)}; give columns of "
                "numbers, dates or categories of few values"
            )
        cells = encoder._cells(frame)[0]
        encoder._learn(cells, weights)
        encoder._find_extremes(cells)
        return encoder

    @staticmethod
    def find(
        frame: Frame,
        *,
        only: Collection[str] | None = None,
        drop: Collection[str] = (),
        categorical: Collection[str] = (),
    ) -> list[Column]:
        """Find what the columns of a table hold; see :meth:`fit`."""
        asked = {"columns": only or (), "drop": drop, "categorical": categorical}
        for option, named in asked.items():
            if unknown := [name for name in named if name not in frame.names]:
                has_commas = any("," in name or name != name.strip() for name in frame.names)
                raise ParameterError(
                    f"{option} names {unknown[0]!r}, which is no column of the table; it has "
                    f"{listed(map(repr, frame.names), _SHOWN)}"
                    + "; names with commas or blanks around them are in double quotes on the "
                    "command line" * has_commas,
                    parameter=option,
                )
        for name in categorical:
            if name in drop or (only is not None and name not in only):
                raise ParameterError(
                    f"categorical names {name!r}, which {'drop' if name in drop else 'columns'} "
                    "leaves out; name it in one of them",
                    parameter="categorical",
                )
        columns = []
        for name, values in zip(frame.names, frame.columns, strict=True):
            if name in drop or (only is not None and name not in only):
                columns.append(Column(name=name, kind="dropped", why="as asked"))
                continue
            found = Column.find(
                name,
                values,
                is_category=name in categorical,
                is_wanted=only is not None,
                marks=frame.marks,
            )
            columns.append(found)
        return columns

    @property
    def named(self) -> list[str] | None:
        """The names of all columns, if they are the table's own."""
        return [column.name for column in self.columns] if self.is_named else None

    def _build(self) -> "ColumnTransformer":
        """Make scikit-learn's transformer, with statistics that :meth:`_learn` replaces."""
        # They are slow to import.
        from sklearn.compose import ColumnTransformer
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        levels = [np.arange(len(self.used[i].levels)) for i in self._categories]
        parts: list[tuple[str, Any, list[int]]] = []
        if self._numbers:
            parts.append(("numbers", StandardScaler(), self._numbers))
        if self._categories:
            one_hot = OneHotEncoder(categories=levels, drop="if_binary", sparse_output=False)
            parts.append(("categories", one_hot, self._categories))
        transformer = ColumnTransformer(parts, sparse_threshold=0)
        return transformer.fit(np.zeros((2, len(self.used)))) if parts else transformer

    def _learn(self, cells: NDArray[np.float64], weights: NDArray[np.float64] | None) -> None:
        """Learn means and spreads from the cells (n, C) of a table."""
        if self._numbers:
            self._scaler.fit(cells[:, self._numbers], sample_weight=weights)
        for i in self._categories:
            known = ~np.isnan(cells[:, i])
            shares = np.bincount(
                cells[known, i].astype(np.int64),
                None if weights is None else weights[known],
                minlength=len(self.used[i].levels),
            )
            shares = shares / shares.sum()
            own = shares[1:] if len(shares) == 2 else shares
            self._mean[self.slices[i]] = own
            self._scale[self.slices[i]] = max(float((own * (1 - own)).sum()), 1e-12) ** 0.5

    def _find_extremes(self, cells: NDArray[np.float64]) -> None:
        """Keep which columns have values far from all others."""
        for i in self._numbers:
            known = cells[~np.isnan(cells[:, i]), i]
            if (found := find_extremes(known)) is not None:
                column = self.used[i]
                far = known[found[1]]
                number = f"{far + column.offset:g}"
                date = str(column.write(np.array([far]))[0])
                example = number if column.kind == "number" else date
                changed = replace(column, far=described(found[0], example))
                self.columns[self.columns.index(column)] = self.used[i] = changed

    def warn_of_extremes(self) -> None:
        """Warn of columns with values far from all others ("extreme_values")."""
        warn_of_extremes(self.extremes(), stacklevel=4)

    def extremes(self) -> dict[str, str]:
        """Return which columns have values far from all others, and which these are."""
        return {column.name: column.far for column in self.used if column.far}

    @property
    def _scaler(self) -> "StandardScaler":
        return self._transformer.named_transformers_["numbers"]

    def transform(self, frame: Frame, *, warns: bool = True) -> Encoded:
        """Convert a table to numbers.

        Raises
        ------
        DataError
            If a column is missing, or holds something else than what was learned from.

        Warns
        -----
        NarrowsWarning
            "unknown_categories" and "columns_unknown", with ``warns``.
        """
        cells, gaps, unknown = self._cells(frame)
        if warns:
            self._warn_of_unknown(frame, unknown)
        missing = np.isnan(cells)
        features = np.asarray(self._transformer.transform(np.where(missing, 0, cells)), np.float64)
        features = (features - self._mean) / self._scale
        for i, place in enumerate(self.slices):
            features[missing[:, i], place] = np.nan
        return Encoded(features, MARK * gaps[:, self.marked].astype(np.float64), gaps, unknown)

    def _cells(
        self, frame: Frame
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Read the used columns of a table as numbers (n, C), gaps and unknown categories."""
        places = self.places(frame)
        read = [
            column.read(frame.columns[place])
            for column, place in zip(self.columns, places, strict=True)
            if column.kind in USED
        ]
        numbers, gaps, unknown = map(np.column_stack, zip(*read, strict=True))
        return numbers, gaps, unknown

    def places(self, frame: Frame) -> list[int]:
        """Return the place in a table of each column that was learned from; -1 if it is not there.

        Raises
        ------
        DataError
            If a used column is not there.
        """
        if not (frame.is_named and self.is_named):
            if len(frame.names) != len(self.columns):
                raise DataError(
                    f"X has {len(frame.names)} features, but TableAutoencoder is expecting "
                    f"{len(self.columns)} features as input; give the columns learned from"
                )
            return list(range(len(self.columns)))
        where = {name: place for place, name in enumerate(frame.names)}
        missing = [c.name for c in self.used if c.name not in where]
        if missing:
            raise DataError(
                f"the table lacks the column{'s' * (len(missing) > 1)} "
                f"{listed(map(repr, missing), _SHOWN)} that the model learned from; give all of "
                "them, with gaps where nothing is known",
                column=missing[0],
            )
        return [where.get(column.name, -1) for column in self.columns]

    def inverse(self, features: NDArray[np.floating]) -> list[Any]:
        """Convert features (n, P) to Arrow arrays, one for each used column."""
        return [column.write(self.numbers_of(features, i)) for i, column in enumerate(self.used)]

    def numbers_of(self, features: NDArray[np.floating], i: int) -> NDArray[np.float64]:
        """Return the numbers (n,) of one used column: in its units, or places of levels."""
        part = np.asarray(features[:, self.slices[i]], np.float64)
        if i in self._numbers:
            mean, scale = self.scale_of(i)
            own: NDArray[np.float64] = part[:, 0] * scale + mean
            return own
        return np.asarray(self.shares_of(features, i).argmax(axis=1), np.float64)

    def scale_of(self, i: int) -> tuple[float, float]:
        """Return the mean and the scale of one used column in its units; 0 and 1 of categories."""
        if i not in self._numbers:
            return 0.0, 1.0
        place = self._numbers.index(i)
        return float(self._scaler.mean_[place]), float(self._scaler.scale_[place])

    def shares_of(self, features: NDArray[np.floating], i: int) -> NDArray[np.float64]:
        """Return how far each level of a category is restored, (n, levels), 1 for the whole."""
        place = self.slices[i]
        part = np.asarray(features[:, place], np.float64) * self._scale[place] + self._mean[place]
        return np.column_stack([1 - part, part]) if part.shape[1] == 1 else part

    def feature_names(self) -> list[str]:
        """Name the features and marks of encoded rows, each differently."""
        names = [""] * self.n_features
        for column, place in zip(self.used, self.slices, strict=True):
            if place.stop - place.start > 1:
                names[place] = [f"{column.name}={level}" for level in column.levels]
            else:
                names[place.start] = column.name
        names += [f"{self.used[i].name} is missing" for i in self.marked]
        taken = Counter(names)
        return [f"{n} ({i})" if taken[n] > 1 else n for i, n in enumerate(names)]

    def is_category(self, i: int) -> bool:
        """Return whether a used column is a category."""
        return i in self._categories

    def spread(self, shares: NDArray[Any]) -> NDArray[Any]:
        """Repeat a number of each used column, (..., C), for its features, (..., P)."""
        wide = np.empty((*shares.shape[:-1], self.n_features), shares.dtype)
        for i, place in enumerate(self.slices):
            wide[..., place] = shares[..., i, None]
        return wide

    def sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum features, (..., P), over those of each used column, to (..., C)."""
        return np.stack([values[..., place].sum(axis=-1) for place in self.slices], axis=-1)

    def table(self, arrays: Sequence[Any], kind: FrameKind | None = None) -> Any:
        """Build a table, by default of the kind learned from, of used and constant columns."""
        found = dict(zip((c.name for c in self.used), arrays, strict=True))
        names, columns = [], []
        for column in self.columns:
            array = found.get(column.name)
            if column.kind == "constant":
                array = column.write(np.zeros(len(arrays[0])))
            if array is not None:
                names.append(column.name)
                columns.append(Values(array, is_tagged=column.is_tagged))
        return build(kind or self.kind, names, columns)

    def rows(self, frame: Frame, arrays: Sequence[Any], cells: Any = None) -> Any:
        """Put values of the used and the constant columns into a table.

        Parameters
        ----------
        frame : Frame
            The table; other columns stay as they are.
        arrays : sequence of pyarrow.Array
            New values of the used columns.
        cells : ndarray of bool and shape (n, C), optional
            Which are replaced; by default all, and all values of constant columns.

        Warns
        -----
        NarrowsWarning
            "gaps_left" if gaps are filled, and columns that were left out have some.
        """
        places = self.places(frame)
        new: dict[int, tuple[Any, NDArray[np.bool_] | None]] = {}
        order = {column.name: i for i, column in enumerate(self.used)}
        for column, place in zip(self.columns, places, strict=True):
            if place < 0:
                continue
            if (i := order.get(column.name)) is not None:
                new[place] = arrays[i], None if cells is None else cells[:, i]
            elif column.kind == "constant":
                gaps = None if cells is None else find_gaps(frame.columns[place].array)
                new[place] = column.write(np.zeros(len(frame))), gaps
        if cells is not None:
            self._warn_of_left(self.count_gaps(frame)[1])
        return frame.replaced(new)

    def count_gaps(self, frame: Frame) -> tuple[dict[str, int], dict[str, int]]:
        """Count the gaps of a table by column, zero included.

        Returns
        -------
        filled : dict of str to int
            Of columns that were learned from, and of constant ones.
        left : dict of str to int
            Of columns that were left out.
        """
        filled: dict[str, int] = {}
        left: dict[str, int] = {}
        for column, place in zip(self.columns, self.places(frame), strict=True):
            if place >= 0:
                values = frame.columns[place]
                is_used = column.kind in USED
                gaps = column.read(values).gaps if is_used else find_gaps(values.array)
                counts = filled if is_used or column.kind == "constant" else left
                counts[column.name] = int(gaps.sum())
        return filled, left

    def summary(self) -> str:
        """Describe in one line how many columns of which kinds were found."""
        kinds = [column.kind for column in self.used]
        left = sum(column.kind not in USED for column in self.columns)
        plural = {"number": "numbers", "date": "dates", "category": "categories"}
        counts = [
            f"{kinds.count(kind)} {plural.get(kind, kind) if kinds.count(kind) > 1 else kind}"
            for kind in USED
            if kind in kinds
        ]
        gaps = len(self.marked)
        return (
            f"{len(self.columns)} columns: {', '.join(counts)}"
            + (f"; {gaps} with gaps" if gaps else "")
            + (f"; {left} left out" if left else "")
        )

    def as_json(self) -> list[dict[str, Any]]:
        """Return what was found of each column, for answers of the command line."""
        return [
            {"name": c.name, "kind": c.kind, "gaps": c.n_gaps}
            | ({"levels": len(c.levels)} if c.kind in ("category", "yes/no") else {})
            | ({"why": c.why} if c.why else {})
            | ({"extreme_values": c.far} if c.far else {})
            for c in self.columns
        ]

    def facts(self) -> dict[str, Any]:
        """Return all but the statistics in JSON types."""
        return {
            "columns": [column.facts() for column in self.columns],
            "kind": self.kind,
            "is_named": self.is_named,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the statistics as tensors, to be saved beside the weights."""
        arrays = {"share": self._mean, "spread": self._scale}
        if self._numbers:
            arrays |= {"mean": self._scaler.mean_, "scale": self._scaler.scale_}
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    @classmethod
    def restore(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Build an encoder from the results of :meth:`facts` and :meth:`tensors`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If they do not belong together.
        """
        if facts["kind"] not in FRAME_KINDS or not isinstance(facts["is_named"], bool):
            raise ValueError(f"the table is of kind {facts['kind']!r}")
        columns = [Column.restore(column) for column in facts["columns"]]
        encoder = cls(columns, facts["kind"], is_named=facts["is_named"])
        found = {name: tensor.numpy() for name, tensor in tensors.items()}
        sizes = {"share": encoder.n_features, "spread": encoder.n_features}
        if encoder._numbers:
            sizes |= dict.fromkeys(("mean", "scale"), len(encoder._numbers))
        for name, size in sizes.items():
            array = found[name]
            if array.shape != (size,) or array.dtype != np.float64 or not np.isfinite(array).all():
                raise ValueError(f"the {name} of the columns does not fit them")
        encoder._mean, encoder._scale = found["share"], found["spread"]
        if encoder._numbers:
            scaler = encoder._scaler
            scaler.mean_, scaler.scale_ = found["mean"], found["scale"]
            scaler.var_ = scaler.scale_**2
        return encoder

    def _warn_of_choices(self) -> None:
        """Warn of columns that are left out, and of guesses."""
        left = [c for c in self.columns if c.kind not in (*USED, "constant", "dropped")]
        if left:
            named = (f"{c.name!r} ({c.kind}: {c.why})" for c in left)
            warn(
                f"left out, and handed through: {listed(named, _SHOWN)}; {_remedy(left)}",
                kind="columns_left_out",
                stacklevel=5,
                columns={c.name: c.kind for c in left},
            )
        guessed = [c for c in self.used if c.why]
        if guessed:
            named = (f"{c.name!r}: {c.why}" for c in guessed)
            warn(
                f"columns were read by guess: {listed(named, _SHOWN, '; ')}; convert them first if "
                "that is wrong",
                kind="columns_guessed",
                stacklevel=5,
                columns={c.name: c.why for c in guessed},
            )

    def _warn_of_left(self, counts: dict[str, int]) -> None:
        """Warn of gaps that are not filled."""
        left = [column for column in self.columns if counts.get(column.name)]
        if left:
            named = (f"{column.name!r} ({counts[column.name]})" for column in left)
            warn(
                f"gaps stay in columns that the model did not learn from: {listed(named, _SHOWN)}; "
                f"fill them yourself{_or_learn(left)}",
                kind="gaps_left",
                stacklevel=5,
                columns={column.name: counts[column.name] for column in left},
            )

    def _warn_of_unknown(self, frame: Frame, unknown: NDArray[np.bool_]) -> None:
        """Warn of categories and columns that were not learned from."""
        counts = {self.used[i].name: int(count) for i, count in enumerate(unknown.sum(0)) if count}
        if counts:
            named = (f"{name!r} ({count})" for name, count in counts.items())
            warn(
                f"categories that were not learned from are encoded as unknown: "
                f"{listed(named, _SHOWN)}; train on a table that has them",
                kind="unknown_categories",
                stacklevel=5,
                columns=counts,
            )
        if frame.is_named and self.is_named:
            known = {column.name for column in self.columns}
            if more := [name for name in frame.names if name not in known]:
                warn(
                    f"columns that were not learned from play no part: "
                    f"{listed(map(repr, more), _SHOWN)}; leave them out if they are not wanted",
                    kind="columns_unknown",
                    stacklevel=5,
                    columns=more,
                )
        self._warn_of_constants(frame)

    def warn_of_new_gaps(self, gaps: NDArray[np.bool_]) -> None:
        """Warn of gaps (n, C) in columns that had none, and that are therefore not marked."""
        counts = {
            column.name: int(count)
            for i, (column, count) in enumerate(zip(self.used, gaps.sum(axis=0), strict=True))
            if count and i not in self.marked
        }
        if counts:
            named = (f"{name!r} ({count})" for name, count in counts.items())
            warn(
                f"columns without gaps in the training table have gaps now: "
                f"{listed(named, _SHOWN)}; the mean stands in for them, and they do not add to the "
                "scores; look for such rows yourself, or train on a table with such gaps",
                kind="new_gaps",
                stacklevel=5,
                columns=counts,
            )

    def _warn_of_constants(self, frame: Frame) -> None:
        """Warn of other values in columns that were constant."""
        changed = {}
        for column, place in zip(self.columns, self.places(frame), strict=True):
            if column.kind == "constant" and place >= 0 and not frame.columns[place].other:
                cells = replace(column, kind="category").read(frame.columns[place])
                if cells.unknown.any():
                    changed[column.name] = int(cells.unknown.sum())
        if changed:
            named = (f"{name!r} ({count})" for name, count in changed.items())
            warn(
                f"columns that were constant have other values, of which the model knows nothing: "
                f"{listed(named, _SHOWN)}; train on a table that has them",
                kind="constants_changed",
                stacklevel=6,
                columns=changed,
            )


def _remedy(left: Sequence[Column]) -> str:
    """Tell what can be done about columns that were left out, for messages."""
    has_others = any(column.kind == "other" for column in left)
    convert = ", values of other types can be converted to numbers, dates or texts" * has_others
    return f"--drop NAME (drop=) does so without this line{_or_learn(left)}{convert}"


def _or_learn(left: Sequence[Column]) -> str:
    can_learn = any(column.kind in ("identifier", "text") for column in left)
    return ", --categorical NAME (categorical=) takes a column for a category" * can_learn
