"""How strong corruptions are: a number, or a range from which each row draws its own level."""

import numbers
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from narrows.corruption.damaged import Strength, uniform
from narrows.corruption.kinds import as_list, kinds_of
from narrows.errors import ParameterError
from narrows.texts import is_word, shortened

Level: TypeAlias = float | Literal["auto"] | tuple[float, float]
"""A number from 0 to 1, "auto", or the two ends of a range."""


def levels_of(corruption: Any, level: Any) -> list[Any]:
    """Return the level of each of a model's corruptions.

    Parameters
    ----------
    corruption : str, callable, or sequence of them
        The corruptions.
    level : float, "auto", pair of float, or sequence of them
        One for all corruptions, or one for each. Two numbers for a single corruption are the ends
        of a range.

    Returns
    -------
    list of float, "auto" or pair of float

    Raises
    ------
    ParameterError
        If a level is none, a range ends below its beginning, or there are more or fewer levels
        than corruptions.

    Examples
    --------
    >>> levels_of("gaussian", (0.02, 0.2)), levels_of(["gaussian", "masking"], (0.02, 0.2))
    ([(0.02, 0.2)], [0.02, 0.2])
    >>> levels_of(["gaussian", "masking"], [(0.02, 0.2)])
    [(0.02, 0.2), (0.02, 0.2)]
    """
    kinds, levels = kinds_of(corruption).kinds, as_list(level)
    if len(kinds) == 1 and len(levels) == 2 and all(map(_is_number, levels)):
        levels = [tuple(levels)]
    checked = [_checked(value) for value in levels]
    if len(checked) == 1:
        checked *= len(kinds)
    if len(checked) != len(kinds):
        raise ParameterError(
            f"corruption_level={level!r} has {len(checked)} levels for {len(kinds)} corruptions; "
            "give one for all or one for each"
        )
    return checked


def check_levels(level: Any) -> None:
    """Refuse everything but levels of any number of corruptions, and ranges of them.

    Raises
    ------
    ParameterError
        With the first value that is wrong.
    """
    for value in as_list(level):
        _checked(value)


def drawn_level(
    level: float | tuple[float, float], x: Tensor, generator: torch.Generator
) -> Strength:
    """Return a number as it is, and of a range a level for each row (B,), uniformly at random."""
    if isinstance(level, float):
        return level
    low, high = level
    return low + (high - low) * uniform(x, 1, generator)[:, 0]


def _checked(value: Any) -> Any:
    """Return a level as it is, and a range as a pair of numbers."""
    if (_is_number(value) and 0 <= value <= 1) or is_word(value, "auto"):
        return value
    pair = as_list(value)
    if len(pair) == 2 and all(map(_is_number, pair)) and 0 <= pair[0] <= pair[1] <= 1:
        return float(pair[0]), float(pair[1])
    raise ParameterError(
        f"corruption_level={shortened(repr(value))} is not allowed; give a number from 0 to 1, a "
        "range of such numbers, the smaller first, such as (0.02, 0.2), or 'auto'"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
