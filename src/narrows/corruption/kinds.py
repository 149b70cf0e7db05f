"""Which corruptions a model's parameter asks for, and whether each row has all or one of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from narrows.errors import ParameterError
from narrows.texts import is_word

ONE_OF = "one_of"
"""The first word of a sequence of corruptions of which each row draws one."""


class Kinds(NamedTuple):
    """Corruptions, as a model's parameter names them.

    Attributes
    ----------
    kinds : list of str or callable
        The corruptions.
    one_of : bool
        Whether each row has one of them, drawn uniformly, rather than all in their order.
    """

    kinds: list[Any]
    one_of: bool


def as_list(value: Any) -> list[Any]:
    """Return the items of a sequence, or the only value; a text is one value."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def kinds_of(corruption: Any) -> Kinds:
    """Read a model's parameter ``corruption``.

    Raises
    ------
    ParameterError
        If "one_of" is followed by fewer than two corruptions, or is not the first word.

    Examples
    --------
    >>> kinds_of("gaussian")
    Kinds(kinds=['gaussian'], one_of=False)
    >>> kinds_of(["one_of", "gaussian", "jpeg"])
    Kinds(kinds=['gaussian', 'jpeg'], one_of=True)
    """
    kinds = as_list(corruption)
    one_of = bool(kinds) and is_word(kinds[0], ONE_OF)
    if one_of:
        kinds = kinds[1:]
    if any(is_word(kind, ONE_OF) for kind in kinds) or (one_of and len(kinds) < 2):
        raise ParameterError(
            f"corruption={corruption!r} is not allowed: 'one_of' stands before two corruptions or "
            "more, of which each row draws one, such as ['one_of', 'gaussian', 'jpeg']"
        )
    return Kinds(kinds, one_of)
