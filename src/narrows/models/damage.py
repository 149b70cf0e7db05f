"""The corruption of training rows, and the range of values that it may set them to."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import corruption
from narrows.data.lazy_rows import AnyRows, in_blocks
from narrows.data.scaling import Scaling, Statistics
from narrows.data.signal_files import Windows
from narrows.models.parameters import ModelAttributes
from narrows.networks import NetworkSpec
from narrows.texts import is_word

AUTO = "auto"
"""The corruption that a model's class chooses for the rows that it learns from."""


class Corrupting(Protocol):
    """A model or a classifier that may learn from corrupted rows."""

    corruption: Any
    corruption_level: Any

    @property
    def scaling_(self) -> Scaling:
        """Scaling between the data's units and the network's."""

    @property
    def sample_shape_(self) -> tuple[int, ...]:
        """Shape of one row."""

    @property
    def spec_(self) -> NetworkSpec:
        """Description of the network."""


class DataRange(NamedTuple):
    """The smallest and the largest values of the training rows, in the data's units.

    Attributes
    ----------
    least, most : ndarray of float64
        For a table, one value for each column, (F,); for a signal, for each channel, (C,) or ().
    """

    least: NDArray[np.float64]
    most: NDArray[np.float64]


def range_of(statistics: Statistics, X: AnyRows, columns_shape: tuple[int, ...]) -> DataRange:
    """Return the range of a table's columns or a signal's channels.

    Parameters
    ----------
    statistics : Statistics
        The statistics of the rows.
    X : ndarray or LazyRows of shape (n, *sample_shape)
        The rows.
    columns_shape : tuple of int
        The shape of a row whose last axis has columns or channels.
    """
    least, most = statistics.least, statistics.most
    if isinstance(X, Windows) or len(columns_shape) > 1:  # all places of a channel are alike
        least, most = (end.reshape(columns_shape) for end in (least, most))
        return DataRange(least.min(axis=0), most.max(axis=0))
    return DataRange(least, most)


def check_range(data_range: DataRange, sample_shape: tuple[int, ...]) -> None:
    """Refuse a stored range that does not fit the shape of the rows.

    Raises
    ------
    TypeError, ValueError
        If its shape differs, or it has values other than finite numbers.
    """
    for end in data_range:
        np.broadcast_to(end, sample_shape)
        if np.asarray(end).dtype.kind not in "if" or not np.isfinite(end).all():
            raise ValueError("the smallest and the largest values are not finite numbers")


def widened(data_range: DataRange, X: AnyRows) -> DataRange:
    """Return the range of earlier training rows and of more rows (n, ...) together."""
    least, most = data_range
    for rows in in_blocks(X):
        axes = tuple(range(rows.ndim - least.ndim))
        least = np.minimum(least, rows.min(axis=axes))
        most = np.maximum(most, rows.max(axis=axes))
    return DataRange(least, most)


def known_range(model: Corrupting) -> DataRange | None:
    """Return the range that a model has kept, if any."""
    ends = [getattr(model, name, None) for name in ("data_min_", "data_max_")]
    return None if ends[0] is None or ends[1] is None else DataRange(ends[0], ends[1])


def keep_range(model: ModelAttributes, data_range: DataRange | None) -> None:
    """Set or remove the range of the training rows that a model keeps."""
    for name in ("data_min_", "data_max_"):
        model.__dict__.pop(name, None)
    if data_range is not None:
        model.data_min_, model.data_max_ = data_range


def limits_of(model: Corrupting, data_range: DataRange | None = None) -> corruption.Limits:
    """Return the extreme values, in scaled units, that salt and pepper or black and white set.

    For tables and signals they are the smallest and the largest value of each column or channel of
    the training rows; for pictures, and for models saved without these, ``scaling_.low`` and
    ``scaling_.high``.

    Parameters
    ----------
    model : BaseAutoencoder or EncoderClassifier
        A model whose scaling is known.
    data_range : DataRange, optional
        The range of the rows; by default the model's.
    """
    scaling, shape = model.scaling_, model.sample_shape_
    data_range = data_range or known_range(model)
    ends = (scaling.low, scaling.high) if data_range is None else data_range
    if data_range is None and scaling.shift.ndim == scaling.scale.ndim == 0:
        shape = (1,)  # the same for pictures of any size
    rows = (np.array(np.broadcast_to(end, (1, *shape)), np.float64) for end in ends)
    low, high = (scaling(torch.from_numpy(row))[0] for row in rows)
    return corruption.Limits(low, high)


def corruption_of(model: Any) -> Any:
    """Return a model's corruption; "auto" is what its class takes for rows of the kind it has."""
    if is_word(model.corruption, AUTO):
        return list(model._default_corruption(model.spec_))
    return model.corruption


def level_of(model: Any) -> Any:
    """Return a model's level of corruption; "auto" is a range where the network restores.

    It is wider where the unit is the rows' standard deviation, as of signals and of pictures
    without a white.
    """
    if is_word(model.corruption, AUTO):
        return list(model._default_corruption(model.spec_).values())
    if model.corruption is None or not model.spec_.definition.starts_at_input:
        return model.corruption_level
    kinds = corruption.kinds_of(model.corruption).kinds
    levels = corruption.levels_of(model.corruption, model.corruption_level)
    ranges = corruption.RANGES if model.scaling_.bounded else corruption.RANGES_IN_DEVIATIONS
    return [
        ranges.get(kind, own) if isinstance(kind, str) and own == "auto" else own
        for kind, own in zip(kinds, levels, strict=True)
    ]


def strongest_noise(model: Any) -> float | None:
    """Return the highest level of noise that a model of pictures learned to undo, white being 1.

    None of models that learned other damage, or by blind spots, whose level was in the data.
    """
    if not corruption.is_independent_noise(model.corruption) or corruption.hides(model.corruption):
        return None
    levels = [own for _, own in corruption.named_levels(model.corruption, level_of(model))]
    scaling = model.scaling_
    unit = float(scaling.scale.mean()) / ((scaling.high - scaling.low) or 1.0)
    return unit * max(float(np.max(level)) for level in levels if level is not None)


def choose_damage(
    model: Corrupting, data_range: DataRange | None = None
) -> corruption.Damage | None:
    """Make the damage to training rows that a model's parameters specify, if any.

    Parameters
    ----------
    model, data_range
        As for :func:`limits_of`.

    Raises
    ------
    ParameterError
        If the corruption is unknown, or does not fit the rows.
    """
    if model.corruption is None:
        return None
    limits = limits_of(model, data_range)
    return corruption.make(
        corruption_of(model),
        level_of(model),
        limits,
        model.sample_shape_,
        signal=model.spec_.signal,
    )
