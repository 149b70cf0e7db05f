"""Helpers of the tests of plots: values to draw, and inspection of what was drawn."""

from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from narrows.training.history import History

SEED = 0


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).random(shape)


def new_axes() -> Axes:
    return Figure(figsize=(5, 3.5), layout="constrained").subplots()


def drawn(ax: Axes) -> Axes:
    """Return axes after the layout of their figure, as in a saved file."""
    ax.figure.savefig(BytesIO())
    return ax


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def run(n: int, *terms: str, held_out: bool = True, scale: float = 1.0) -> History:
    generator = np.random.default_rng(SEED)
    epochs = []
    for epoch in range(1, n + 1):
        record = {"epoch": epoch}
        for prefix in ("", "validation_") if held_out else ("",):
            values = {term: scale * float(generator.uniform(1, 2)) for term in terms}
            record |= {f"{prefix}loss": sum(values.values())}
            record |= {prefix + term: value for term, value in values.items()}
        epochs.append(record | {"learning_rate": 0.01 / epoch, "seconds": float(epoch)})
    return History(epochs, best_epoch=max(1, n - 1), ended="early_stopping")


def lines(ax: Axes) -> list[tuple[list[float], list[float], str]]:
    return [
        (list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle())
        for line in ax.lines
        if len(line.get_xdata())
    ]
