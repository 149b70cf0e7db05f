"""Training that collapsed goes back to its best weights, and on at a lower rate.

A run has collapsed when it has lost more than half of all that it gained: its loss lies nearer to
that of its first step, at which a decoder gives the mean row, than to its own best.
"""

import math
from itertools import pairwise
from statistics import median

from narrows.errors import warn
from narrows.training.history import History

MOST = 2
"""How often a run goes back before it ends at its best weights."""

_SHARE = 1 / 3  # of the learning rate, each time
_EPOCHS = 2  # in a row that have to look so
_TIMES = 5.0  # the usual change from epoch to epoch that a loss has to have lost


def rate_share(history: History) -> float:
    """Return the share of the planned learning rate at which a run goes on."""
    return _SHARE ** len(history.restarts)


def has_collapsed(history: History) -> bool:
    """Tell whether training has collapsed since it last went back.

    Examples
    --------
    >>> def run(*losses):
    ...     return History([{"epoch": i + 1, "loss": x} for i, x in enumerate(losses)],
    ...                    initial_loss=9000)
    >>> has_collapsed(run(600, 250, 180, 170)), has_collapsed(run(600, 250, 180, 8700, 8800))
    (False, True)
    >>> from_pca = run(0.0264, 0.0257, 0.0261, 0.0274, 0.0282, 0.0282)
    >>> from_pca.initial_loss, from_pca.start = 0.0252, {"epoch": 0, "validation_loss": 0.0251}
    >>> has_collapsed(from_pca)
    False
    """
    losses, first = [record["loss"] for record in history.epochs], history.initial_loss
    since = len(losses) - (history.restarts[-1] if history.restarts else 0)
    if first is None or len(losses) < _EPOCHS + 2 or since < _EPOCHS:
        return False
    before, late = losses[:-_EPOCHS], losses[-_EPOCHS:]
    best = min(before)
    if first <= best:  # nothing was gained that could be lost
        return False
    usual = median(abs(b - a) for a, b in pairwise(before))
    # The first step of a network that starts at PCA is no mean row: it has little to gain or lose.
    pca = 0.0 if history.start is None else abs(first)
    return all(loss - best > max((first - best) / 2, _TIMES * usual, pca) for loss in late)


def tell(history: History, epoch: int, loss: float) -> None:
    """Warn that a run goes back, or ends."""
    times = len(history.restarts)
    best = f"the weights of epoch {history.best_epoch}"
    what = f"its loss was {loss:.5g}" if math.isfinite(loss) else "its loss left the finite numbers"
    if times > MOST:
        message = f"training collapsed in epoch {epoch} once more ({what}); {best} are kept"
    else:
        message = (
            f"training collapsed in epoch {epoch} ({what}); it goes on from {best} at a learning "
            f"rate {1 / _SHARE**times:.0f} times lower"
        )
    warn(
        f"{message}; lower learning_rate to avoid it",
        kind="training_collapsed",
        stacklevel=4,
        epoch=epoch,
        restarts=min(times, MOST),
    )
