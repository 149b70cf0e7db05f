"""Which rows a model learned from, and which it held out: a 64-bit hash of each.

A report needs this to tell a figure on new rows from one on rows that are known by heart. Rows are
hashed by a random linear form of their values' bits modulo 2^64 (multilinear hashing, Carter &
Wegman 1979), then mixed. 44 bits of a hash are of the values in single precision, 20 bits of what
that leaves of them: rows of doubles far from zero, which single precision does not tell apart, have
different hashes, and the same rows in single precision are recognised all the same. A model keeps
at most 65 536 hashes of each kind. Of more rows it keeps those with the smallest hashes, so
that a fixed share of all rows, the same in every data set, can still be told apart exactly.
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
"""What :meth:`LearnedRows.membership` says of a row."""

Hashes = NDArray[np.uint64]

_MOST = 65_536
_ALL = np.uint64(2**64 - 1)  # the bound below which hashes are kept, while all of them are
_VALUES = 1 << 20  # hashed at a time
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd
_REST = np.uint64(20)  # lowest bits of a hash, of what single precision leaves


@dataclass(frozen=True)
class HashSet:
    """Hashes of rows: all of them, or of many rows those below a bound.

    Attributes
    ----------
    count : int
        Rows that were added, equal ones as often as they came.
    kept : ndarray of uint64
        Different hashes, ascending.
    bound : int
        Hashes up to this one are kept.
    """

    count: int = 0
    kept: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    bound: int = int(_ALL)

    def with_rows(self, hashes: Hashes, *, counted: bool = True) -> "HashSet":
        """Return the set with the hashes of more rows, which are counted or not."""
        kept = np.union1d(self.kept, hashes[hashes <= np.uint64(self.bound)])
        bound = self.bound
        if len(kept) > _MOST:
            kept = kept[:_MOST]
            bound = int(kept[-1])
        return HashSet(self.count + counted * len(hashes), kept, bound)


@dataclass(frozen=True)
class LearnedRows:
    """What a fitted model remembers of its training rows.

    Attributes
    ----------
    learned, held_out : HashSet
        Of the rows that weights, scaling and centre were learned from, and of those that only told
        when to stop.
    in_single : bool
        Whether single precision holds all their values.
    order : int or None
        A hash of all of them in their order, held out or not; ``None`` if it is unknown, as in
        models of older versions.

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
        """Rows learned from; a pair of a damaged and a clean row counts once."""
        return self.learned.count

    @property
    def n_held_out(self) -> int:
        """Rows held out."""
        return self.held_out.count

    def with_rows(
        self, rows: NDArray[Any], held_out: NDArray[np.bool_] | None = None, *, counted: bool = True
    ) -> Self:
        """Return what is remembered once more rows were seen.

        Parameters
        ----------
        rows : ndarray of shape (n, ...)
            Of any numeric type.
        held_out : ndarray of bool and shape (n,), optional
            Which of them are held out; none by default.
        counted : bool, default=True
            Whether they count as rows of their own; damaged ones beside their originals do not.
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
        """Tell of each row whether it was learned from.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n, ...)
            In the units of the training data. Where they, or the training data, come in single
            precision, they are compared in that.

        Returns
        -------
        ndarray of int8 and shape (n,)
            :data:`LEARNED`, :data:`HELD_OUT`, :data:`NEW`, or :data:`UNKNOWN` where the model saw
            more rows than it has hashes of, and this one has no hash within the bound.
        """
        hashes = hash_rows(X)
        found = np.full(len(hashes), UNKNOWN, np.int8)
        found[hashes <= np.uint64(min(self.learned.bound, self.held_out.bound))] = NEW
        coarse = self.in_single or np.can_cast(X.dtype, np.float32)
        bits = _REST if coarse else np.uint64(0)
        for kind, of_it in ((HELD_OUT, self.held_out), (LEARNED, self.learned)):
            found[np.isin(hashes >> bits, of_it.kept >> bits)] = kind
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return the hashes, as they are stored beside the weights."""
        return {
            name: torch.from_numpy(of_it.kept.view(np.int64))
            for name, of_it in (("learned", self.learned), ("held_out", self.held_out))
        }

    def facts(self) -> dict[str, Any]:
        """Return counts and bounds, as JSON holds them."""
        return {
            "learned": {"count": self.learned.count, "bound": self.learned.bound},
            "held_out": {"count": self.held_out.count, "bound": self.held_out.bound},
            "in_single": self.in_single,
            "order": self.order,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Self:
        """Build it again from :meth:`tensors` and :meth:`facts`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If they are not those of hashes.
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


def hash_rows(X: AnyRows) -> Hashes:
    """Hash each row by its values, whatever type they come in.

    Parameters
    ----------
    X : ndarray or LazyRows of shape (n, ...)
        Of any numeric type.

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
    """Hash rows, and tell whether single precision holds all their values."""
    width = math.prod(X.shape[1:])
    factors = _mixed(np.arange(1, width + 1, dtype=np.uint64)) | np.uint64(1)
    hashes = np.empty(len(X), np.uint64)
    constant, in_single = np.uint64(width), True
    size = max(1, _VALUES // max(1, width))
    for start in range(0, len(X), size):
        block = np.asarray(X[start : start + size]).reshape(-1, width)
        with np.errstate(over="ignore", invalid="ignore"):
            # Adding zero makes the two zeros one.
            values = np.ascontiguousarray(block.astype(np.float32) + np.float32(0))
        hashed = _mixed(values.view(np.uint32).astype(np.uint64) @ factors + constant)
        rest = np.zeros(len(block), np.uint64)
        if not np.can_cast(block.dtype, np.float32):
            with np.errstate(over="ignore", invalid="ignore"):
                left = np.nan_to_num((block - values.astype(np.float64)).astype(np.float32)) + 0
            in_single = in_single and not left.any()
            rest = left.view(np.uint32).astype(np.uint64) @ factors
        of_rest = _mixed(rest + constant) >> (np.uint64(64) - _REST)
        hashes[start : start + size] = (hashed >> _REST << _REST) | of_rest
    return hashes, in_single


def _with_order(order: int, hashes: Hashes) -> int:
    """Extend a hash of rows in their order: a polynomial of their hashes modulo 2^64."""
    powers = np.full(len(hashes) + 1, _BASE)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)[::-1]  # which wraps around
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
