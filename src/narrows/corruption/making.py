"""The corruptions by name, and the damage that a model's parameters ask for."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from narrows.corruption.blind_spot import BLIND_SPOT, blind_spot
from narrows.corruption.damaged import Corruption, Damage, Damaged, Limits, everywhere, nowhere
from narrows.corruption.distortions import (
    blur,
    border,
    brightness,
    colors,
    contrast,
    crop,
    grey,
    mirror,
    rotation,
)
from narrows.corruption.jpeg import jpeg
from narrows.corruption.kinds import as_list, kinds_of
from narrows.corruption.levels import Level, check_levels, drawn_level, levels_of
from narrows.corruption.noises import color_noise, correlated, poisson_gaussian, stripes
from narrows.corruption.values import gaussian, masking, salt_and_pepper
from narrows.errors import ParameterError
from narrows.texts import is_word

_Function: TypeAlias = Callable[..., Damaged | Tensor]

# The functions by name; those of PICTURES need rows (H, W) or (H, W, C), a blind spot these or
# signals.
VALUES: dict[str, _Function] = {
    f.__name__: f for f in (gaussian, masking, salt_and_pepper, poisson_gaussian, correlated)
}
NOISES: dict[str, _Function] = {f.__name__: f for f in (jpeg, stripes, color_noise)}
DISTORTIONS: dict[str, _Function] = {
    f.__name__: f
    for f in (crop, border, rotation, mirror, blur, brightness, contrast, colors, grey)
}
PICTURES = NOISES | DISTORTIONS
# Distortions that move values to other places.
MOVING = frozenset({"crop", "border", "rotation", "mirror"})
CORRUPTIONS = VALUES | PICTURES | {BLIND_SPOT: blind_spot}
# Noise of which no value tells that of another, so that its level can be measured.
INDEPENDENT = frozenset({"gaussian", "poisson_gaussian", BLIND_SPOT})

LEVELS = {
    "gaussian": 0.3,
    "masking": 0.3,
    "salt_and_pepper": 0.2,
    "poisson_gaussian": 0.2,
    "correlated": 0.1,
    "jpeg": 0.8,
    "stripes": 0.1,
    "color_noise": 0.1,
    "crop": 0.2,
    "border": 0.2,
    "rotation": 0.05,
    "mirror": 0.5,
    "blur": 0.1,
    "brightness": 0.5,
    "contrast": 0.5,
    "colors": 0.3,
    "grey": 0.2,
    BLIND_SPOT: 1 / 4,
}
# What "auto" stands for in networks that restore pictures and signals: ranges, so that one model
# serves all levels.
RANGES = {
    **dict.fromkeys(("gaussian", "poisson_gaussian", "correlated", "color_noise"), (0.0, 0.2)),
    "stripes": (0.0, 0.1),
    "salt_and_pepper": (0.0, 0.4),
    "masking": (0.0, 0.6),
    "jpeg": (0.3, 0.9),
}
# Signals, and pictures whose white is unknown, have their standard deviation as the unit, so that
# noise up to 1 reaches a signal-to-noise ratio of 0 dB.
RANGES_IN_DEVIATIONS = RANGES | dict.fromkeys(
    ("gaussian", "poisson_gaussian", "correlated"), (0.0, 1.0)
)


def make(
    corruption: str | Corruption | Sequence[str | Corruption],
    level: Level | Sequence[Level],
    limits: Limits,
    sample_shape: tuple[int, ...],
    *,
    signal: bool = False,
) -> Damage:
    """Turn a model's parameters into one function of scaled rows and a generator.

    Parameters
    ----------
    corruption : str, callable, or sequence of them
        Names of :data:`CORRUPTIONS`; a callable takes scaled rows (B, ...) and a generator, and
        returns damaged rows of the same shape, or these and a mask of the values that were drawn
        to be damaged; without a mask, they are those that differ. A sequence is done in its order;
        if its first word is "one_of", each row draws one of the others.
    level : float, "auto", pair of float, or sequence of them
        How strong they are, from 0 to 1, or a range from which each row draws its level uniformly;
        one for all or one for each. Two numbers for one corruption are a range. Callables take
        none.
    limits : Limits
        The limits of the training data.
    sample_shape : tuple of int
        The shape of one row.
    signal : bool, default=False
        Whether rows are windows of a signal, (L,) or (L, C), rather than pictures or of a table.

    Returns
    -------
    callable
        A function from scaled rows (B, ...) and a generator to :class:`Damaged`; it never changes
        its input.

    Raises
    ------
    ParameterError
        If a name is not known, a level out of range, or a corruption of pictures asked of other
        rows.

    Examples
    --------
    >>> limits = Limits(torch.tensor(0.0), torch.tensor(1.0))
    >>> damage = make("masking", 0.5, limits, (4,))
    >>> rows, drawn = damage(torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1]]),
    ...                      torch.Generator().manual_seed(1))
    >>> rows
    tensor([[1., 1., 1., 1.],
            [0., 1., 1., 0.]])
    >>> drawn[1]
    tensor([ True, False, False,  True])

    Pictures of which each has a noise level of its own:

    >>> damage = make("gaussian", (0.02, 0.2), limits, (64, 64))
    >>> rows, _ = damage(torch.zeros(100, 64, 64), torch.Generator().manual_seed(0))
    >>> levels = rows.std(dim=(1, 2))
    >>> f"{float(levels.min()):.2f} to {float(levels.max()):.2f}"
    '0.02 to 0.20'
    """
    check_corruption(corruption, level)
    kinds, one_of = kinds_of(corruption)
    levels = levels_of(corruption, level)
    steps = [
        _step(kind, own, limits, sample_shape, signal=signal)
        for kind, own in zip(kinds, levels, strict=True)
    ]
    if one_of:
        return _drawing_one(steps)

    def damage(x: Tensor, generator: torch.Generator) -> Damaged:
        drawn = nowhere(x)
        for step in steps:
            x, more = step(x, generator)
            drawn = drawn | more
        return Damaged(x, drawn)

    return damage if len(steps) != 1 else steps[0]


def check_corruption(corruption: Any, level: Any) -> None:
    """Refuse everything but corruptions and their levels.

    Parameters
    ----------
    corruption, level
        As for :func:`make`; None for no corruption.

    Raises
    ------
    ParameterError
        With the first value that is wrong.
    """
    if corruption is None:
        check_levels(level)
        return
    for kind in kinds_of(corruption).kinds:
        if not callable(kind) and not is_word(kind, *CORRUPTIONS):
            raise ParameterError(
                f"corruption={kind!r} is not known; use one of {', '.join(CORRUPTIONS)}, a list of "
                "them, or a function of rows and a generator"
            )
    levels_of(corruption, level)
    if hides(corruption) and len(as_list(corruption)) > 1:
        raise ParameterError(
            f"corruption={corruption!r} is not allowed: where pixels are hidden, the noise that is "
            f"there takes the place of other damage; use corruption={BLIND_SPOT!r} alone"
        )


def hides(corruption: Any) -> bool:
    """Return whether corruptions hide pixels, so that noisy rows teach their own denoiser.

    Examples
    --------
    >>> hides("blind_spot"), hides(["gaussian", "masking"]), hides(None)
    (True, False, False)
    """
    return any(is_word(kind, BLIND_SPOT) for kind in as_list(corruption))


def is_independent_noise(corruption: Any) -> bool:
    """Return whether corruptions are noise that is independent from value to value.

    Examples
    --------
    >>> is_independent_noise(["one_of", "gaussian", "poisson_gaussian"])
    True
    >>> is_independent_noise(["gaussian", "jpeg"]), is_independent_noise(None)
    (False, False)
    """
    kinds = kinds_of(corruption).kinds
    return bool(kinds) and all(is_word(kind, *INDEPENDENT) for kind in kinds)


def named_levels(
    corruption: Any, level: Any
) -> list[tuple[str, float | tuple[float, float] | None]]:
    """Return the name and the level of each corruption that a model's parameters ask for.

    Parameters
    ----------
    corruption, level
        As for :func:`make`.

    Returns
    -------
    list of tuple
        "auto" is the default level of a corruption; functions have None.

    Raises
    ------
    ParameterError
        As :func:`narrows.corruption.levels_of`.

    Examples
    --------
    >>> named_levels(["masking", "gaussian"], ["auto", (0.1, 0.2)])
    [('masking', 0.3), ('gaussian', (0.1, 0.2))]
    """
    found = zip(kinds_of(corruption).kinds, levels_of(corruption, level), strict=True)
    return [
        (getattr(kind, "name", getattr(kind, "__name__", type(kind).__name__)), None)
        if callable(kind)
        else (kind, LEVELS[kind] if own == "auto" else own)
        for kind, own in found
    ]


def described(corruption: Any, level: Any) -> str:
    """Write a model's corruptions and their levels in one line.

    Parameters
    ----------
    corruption, level
        As for :func:`make`.

    Examples
    --------
    >>> described("gaussian", (0.02, 0.2))
    'gaussian 0.02 to 0.2'
    >>> described(["one_of", "jpeg", "stripes"], "auto")
    'one of jpeg 0.8, stripes 0.1'
    """
    parts = []
    for name, own in named_levels(corruption, level):
        ends = own if isinstance(own, tuple) else (own,)
        numbers = " to ".join(f"{end:g}" for end in ends if end is not None)
        parts.append(f"{name} {numbers}".strip())
    return ("one of " if kinds_of(corruption).one_of else "") + ", ".join(parts)


def _drawing_one(steps: Sequence[Damage]) -> Damage:
    """Damage each row by one of several corruptions, drawn uniformly."""

    def damage(x: Tensor, generator: torch.Generator) -> Damaged:
        which = torch.randint(len(steps), (len(x),), generator=generator, device=x.device)
        damaged, drawn = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
        for number, step in enumerate(steps):
            rows = (which == number).nonzero()[:, 0]
            if len(rows):
                damaged[rows], drawn[rows] = step(x[rows], generator)
        return Damaged(damaged, drawn)

    return damage


def _step(
    kind: str | Corruption,
    level: Level,
    limits: Limits,
    sample_shape: tuple[int, ...],
    *,
    signal: bool,
) -> Damage:
    if callable(kind):
        return _guard(kind)
    if level == "auto":
        level = LEVELS[kind]
    takes_signals = kind == BLIND_SPOT
    fits = takes_signals if signal else len(sample_shape) > 1
    if kind not in VALUES and not fits:
        what = "signals" if signal else "rows"
        raise ParameterError(
            f"corruption={kind!r} is for pictures{' and signals' * takes_signals}, the {what} have "
            f"shape {sample_shape}; use one of {', '.join(VALUES)}, or give pictures (n, H, W) or "
            "(n, H, W, C)"
        )
    function = CORRUPTIONS[kind]
    strength = level if isinstance(level, tuple) else float(level)
    # A signal's channels are no neighbours: it is a picture of width 1.
    apart = signal and len(sample_shape) == 2 and function in (correlated, blind_spot)

    def damage(x: Tensor, generator: torch.Generator) -> Damaged:
        drawn_strength = drawn_level(strength, x, generator)
        x = x.unsqueeze(2) if apart else x
        made = function(x, drawn_strength, limits.on(x.device), generator)
        if not isinstance(made, Damaged):
            made = Damaged(made, everywhere(made, drawn_strength))
        return Damaged(*(part.squeeze(2) for part in made)) if apart else made

    return damage


def _guard(function: Corruption) -> Damage:
    """Keep a user's function from changing its input, and from returning other shapes."""

    def damage(x: Tensor, generator: torch.Generator) -> Damaged:
        returned = function(x.clone(), generator)
        both = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
        damaged, drawn = both
        if not isinstance(damaged, Tensor) or damaged.shape != x.shape:
            raise ParameterError(
                f"corruption={function!r} returned {_kind(damaged)}; it must return a tensor of "
                f"the shape that it is given, {tuple(x.shape)}"
            )
        if drawn is None:
            return Damaged(damaged, damaged != x)
        if not isinstance(drawn, Tensor) or (drawn.dtype, drawn.shape) != (torch.bool, x.shape):
            raise ParameterError(
                f"corruption={function!r} returned {_kind(drawn)} beside the rows; what was drawn "
                "to be damaged must be a tensor of booleans of the shape that it is given, "
                f"{tuple(x.shape)}"
            )
        return Damaged(damaged, drawn)

    return damage


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
