"""64-bit hashes of the rows that a model learned from, and of those that it held out.

A report needs them to tell figures on new rows from figures on training rows. Rows are hashed by a
random linear form of their values' bits modulo 2^64 (multilinear hashing, Carter & Wegman 1979),
then mixed. 44 bits of a hash depend on the values in single precision, 20 bits on the rounding
error: rows of doubles that are equal in single precision have different hashes, and rows are
recognised in single precision too. A model keeps at most 65 536 hashes of each kind. Of more rows
it keeps those with the smallest hashes, so that a fixed share of all rows, the same in every data
set, is still recognised exactly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.lazy_rows import AnyRows

UNKNOWN, NEW, HELD_OUT, LEARNED = range(4)
"""The results of :meth:`LearnedRows.membership` for a row."""

Hashes = NDArray[np.uint64]

_MOST = 65_536
_ALL = np.uint64(2**64 - 1)  # the bound of hashes as long as all of them are kept
_VALUES = 1 << 20  # the number of values hashed at a time
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd
ROUNDING_BITS = np.uint64(20)
"""The number of low bits of a hash that depend on the rounding error of single precision."""


@dataclass(frozen=True)
class HashSet:
    """Hashes of rows: all of them, or, for many rows, those up to a bound.

    Attributes
    ----------
    count : int
        The number of rows added, repeated rows included.
    kept : ndarray of uint64
        Distinct hashes, ascending.
    bound : int
        The largest hash that is kept.
    """

    count: int = 0
    kept: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    bound: int = int(_ALL)

    def with_rows(self, hashes: Hashes, *, counted: bool = True) -> "HashSet":
        """Return the set with the hashes of more rows, which are ``counted`` or not."""
        kept = np.union1d(self.kept, hashes[hashes <= np.uint64(self.bound)])
        bound = self.bound
        if len(kept) > _MOST:
            kept = kept[:_MOST]
            bound = int(kept[-1])
        return HashSet(self.count + counted * len(hashes), kept, bound)


@dataclass(frozen=True)
class LearnedRows:
    """The hashes of training rows that a fitted model keeps.

    Attributes
    ----------
    learned, held_out : HashSet
        Hashes of the training rows, and of the rows held out for early stopping.
    in_single : bool
        Whether all values are exact in single precision.
    order : int or None
        A hash of all rows in their order, held-out rows included; ``None`` in models of older
        versions.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder
    >>> X = np.random.default_rng(0).random((200, 4))
    >>> model = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0).fit(X)
    >>> rows = model.learned_rows_
    >>> rows.n_learned, rows.n_held_out
    (180, 20)
    >>> np.bincount(rows.membership(np.concatenate([X, X + 1]))).tolist()  # new, held out, learned
    [0, 200, 20, 180]
    """

    learned: HashSet = field(default_factory=HashSet)
    held_out: HashSet = field(default_factory=HashSet)
    in_single: bool = True
    order: int | None = 0

    @property
    def n_learned(self) -> int:
        """The number of training rows; a pair of a damaged and a clean row counts once."""
        return self.learned.count

    @property
    def n_held_out(self) -> int:
        """The number of held-out rows."""
        return self.held_out.count

    def with_rows(
        self, rows: NDArray[Any], held_out: NDArray[np.bool_] | None = None, *, counted: bool = True
    ) -> Self:
        """Return the hashes with those of more rows.

        Parameters
        ----------
        rows : ndarray of shape (n, ...)
            Rows of any numeric type.
        held_out : ndarray of bool and shape (n,), optional
            Whether each row is held out; by default none is.
        counted : bool, default=True
            Whether the rows are counted; damaged rows of pairs are not.
        """
        hashes, in_single = _hash(rows)
        in_single = in_single and self.in_single
        order = None if self.order is None else _with_order(self.order, hashes)
        if held_out is None:
            held_out = np.zeros(len(hashes), np.bool_)
        return type(self)(
            self.learned.with_rows(hashes[~held_out], counted=counted),
            self.held_out.with_rows(hashes[held_out], counted=counted),
            in_single,
            order,
        )

    def membership(self, X: AnyRows) -> NDArray[np.int8]:
        """Return for each row whether the model has learned from it.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n, *sample_shape)
            Rows in the units of the training data. They are compared in single precision if they
            or the training data have that precision.

        Returns
        -------
        ndarray of int8 and shape (n,)
            :data:`LEARNED`, :data:`HELD_OUT`, :data:`NEW`, or :data:`UNKNOWN` if the hash of the
            row is above the bound up to which the model has kept hashes.
        """
        hashes = hash_rows(X)
        kinds = np.full(len(hashes), UNKNOWN, np.int8)
        kinds[hashes <= np.uint64(min(self.learned.bound, self.held_out.bound))] = NEW
        coarse = self.in_single or np.can_cast(X.dtype, np.float32)
        bits = ROUNDING_BITS if coarse else np.uint64(0)
        for kind, known in ((HELD_OUT, self.held_out), (LEARNED, self.learned)):
            kinds[np.isin(hashes >> bits, known.kept >> bits)] = kind
        return kinds

    def tensors(self) -> dict[str, Tensor]:
        """Return the hashes as tensors, to be saved beside the weights."""
        return {
            "learned": torch.from_numpy(self.learned.kept.view(np.int64)),
            "held_out": torch.from_numpy(self.held_out.kept.view(np.int64)),
        }

    def facts(self) -> dict[str, Any]:
        """Return counts and bounds as JSON."""
        return {
            "learned": {"count": self.learned.count, "bound": self.learned.bound},
            "held_out": {"count": self.held_out.count, "bound": self.held_out.bound},
            "in_single": self.in_single,
            "order": self.order,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Self:
        """Build the hashes from the results of :meth:`tensors` and :meth:`facts`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If they cannot be such results.
        """
        sets = []
        for name in ("learned", "held_out"):
            kept, count, bound = tensors[name], facts[name]["count"], facts[name]["bound"]
            if kept.dtype != torch.int64 or kept.ndim != 1 or len(kept) > _MOST:
                raise ValueError(f"the hashes of rows {name} are {kept.dtype} {tuple(kept.shape)}")
            for number in (count, bound):
                if type(number) is not int or not 0 <= number <= int(_ALL):
                    raise ValueError(f"the rows {name} have the count or bound {number!r}")
            sets.append(HashSet(count, kept.numpy().view(np.uint64), bound))
        if not isinstance(facts["in_single"], bool):
            raise TypeError(f"rows.in_single is {facts['in_single']!r}, not true or false")
        order = facts.get("order")
        if order is not None and (type(order) is not int or not 0 <= order <= int(_ALL)):
            raise ValueError(f"rows.order is {order!r}")
        return cls(sets[0], sets[1], facts["in_single"], order)


class RowHasher:
    """Hashes blocks of rows while they are read for something else.

    Attributes
    ----------
    rows : LearnedRows
        The hashes of all blocks so far.
    """

    def __init__(self) -> None:
        self.rows = LearnedRows()

    def __call__(self, rows: NDArray[Any], held_out: NDArray[np.bool_]) -> None:
        """Add a block of rows, of which some are held out."""
        self.rows = self.rows.with_rows(rows, held_out)


def hash_rows(X: AnyRows) -> Hashes:
    """Hash each row by its values, regardless of their type.

    Parameters
    ----------
    X : ndarray or LazyRows of shape (n, *sample_shape)
        Rows of any numeric type.

    Returns
    -------
    ndarray of uint64 and shape (n,)

    Examples
    --------
    >>> rows = np.arange(6).reshape(2, 3)
    >>> bool((hash_rows(rows) == hash_rows(rows.astype(np.float64))).all())
    True
    """
    hashes, _ = _hash(X)
    return hashes


def _hash(X: AnyRows) -> tuple[Hashes, bool]:
    """Hash rows, and return whether all values are exact in single precision."""
    width = math.prod(X.shape[1:])
    factors = _mixed(np.arange(1, width + 1, dtype=np.uint64)) | np.uint64(1)
    hashes = np.empty(len(X), np.uint64)
    constant, in_single = np.uint64(width), True
    size = max(1, _VALUES // max(1, width))
    for start in range(0, len(X), size):
        block = np.asarray(X[start : start + size]).reshape(-1, width)
        with np.errstate(over="ignore", invalid="ignore"):
            # Adding zero makes -0 equal to 0.
            values = np.ascontiguousarray(block.astype(np.float32) + np.float32(0))
        hashed = _mixed(values.view(np.uint32).astype(np.uint64) @ factors + constant)
        rest = np.zeros(len(block), np.uint64)
        if not np.can_cast(block.dtype, np.float32):
            with np.errstate(over="ignore", invalid="ignore"):
                left = np.nan_to_num((block - values.astype(np.float64)).astype(np.float32)) + 0
            in_single = in_single and not left.any()
            rest = left.view(np.uint32).astype(np.uint64) @ factors
        of_rest = _mixed(rest + constant) >> (np.uint64(64) - ROUNDING_BITS)
        hashes[start : start + size] = (hashed >> ROUNDING_BITS << ROUNDING_BITS) | of_rest
    return hashes, in_single


def _with_order(order: int, hashes: Hashes) -> int:
    """Extend a hash of rows in their order: a polynomial of their hashes modulo 2^64."""
    powers = np.full(len(hashes) + 1, _BASE)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)[::-1]  # modulo 2^64
    terms = np.concatenate([np.array([order], np.uint64), hashes]) * powers
    return int(terms.sum(dtype=np.uint64))


def _mixed(numbers: Hashes) -> Hashes:
    """Mix the bits of numbers, one to one (the finaliser of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = z ^ (z >> np.uint64(31))
    return mixed
