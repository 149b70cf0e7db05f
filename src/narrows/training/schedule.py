"""The learning rate, step by step.

Smith & Topin (2018), "Super-convergence": one cycle, up and then down, reaches in a few epochs
what a constant rate reaches in many.
"""

import math
from collections.abc import Callable

WARMUP = 0.1
START = 0.04


def one_cycle(peak: float, n_steps: int) -> Callable[[int], float]:
    """Rise along a line over the first tenth of the steps, then fall along a cosine to zero.

    Parameters
    ----------
    peak : float
        The highest learning rate.
    n_steps : int
        How many steps are planned in all.

    Returns
    -------
    callable
        From the step's number, 0 .. n_steps - 1, to its learning rate.

    Examples
    --------
    >>> rate = one_cycle(1.0, 100)
    >>> round(rate(0), 2), round(rate(10), 2), round(rate(99), 2)
    (0.04, 1.0, 0.0)
    """
    warmup = max(1, round(WARMUP * n_steps))

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (START + (1 - START) * step / warmup)
        share = (step - warmup) / max(1, n_steps - warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    return rate


def constant(learning_rate: float) -> Callable[[int], float]:
    """Return the same rate for every step, for learning that has no planned end."""
    return lambda _step: learning_rate
