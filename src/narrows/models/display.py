"""What a notebook shows of a fitted model below scikit-learn's diagram: figures, and a curve."""

from html import escape
from typing import Any

import numpy as np

from narrows.training.history import History

_ENDED = {
    "max_epochs": "after all epochs",
    "early_stopping": "early: held-out rows got no better",
    "interrupted": "interrupted",
    "running": "still going on",
}
_DIGITS = 12
# Of the curve, in pixels, with room around it for the line's own width.
_WIDTH, _HEIGHT, _ROOM = 260, 72, 4


def learned_html(model: Any) -> str:
    """Return a table of what a fitted model or classifier learned, and its loss by epoch, as HTML.

    Nothing in it is fetched or run, and it follows the page's own colours.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder
    >>> X = np.random.default_rng(0).random((50, 6))
    >>> html = learned_html(Autoencoder(2, max_epochs=3).fit(X))
    >>> "<td>2</td>" in html, "<svg" in html
    (True, True)
    """
    history = model.history_
    width = model.spec_.code_width if hasattr(model, "spec_") else model.n_components
    summary = history.summary()
    name, best = _loss(history), None
    if history.epochs:
        best = history.best.get(name)
    layers = [str(len(layer)) for layer in history.layers]
    figures = {
        "numbers in the code": str(width),
        "shape of a row": " x ".join(map(str, model.sample_shape_)),
        "epochs": str(len(history)) + (f" (layers: {', '.join(layers)})" if layers else ""),
        "training ended": _ENDED[history.ended],
        f"best {name.replace('_', ' ')}": "none" if best is None else f"{best:.5g}",
        "seconds": f"{summary['seconds']:.1f}",
        "fingerprint": model.fingerprint_[:_DIGITS],
    }
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(what)}</th><td>{escape(figure)}</td></tr>'
        for what, figure in figures.items()
    )
    return f'<div class="narrows-learned"><table>{lines}</table>{_curve(history, name)}</div>'


def _loss(history: History) -> str:
    return "validation_loss" if "validation_loss" in history.columns else "loss"


def _curve(history: History, name: str) -> str:
    """Draw a loss by epoch, its ends written beside it; nothing of fewer than two epochs."""
    found: list[Any] = [record.get(name, np.nan) for record in history.epochs]
    values = np.array(found, float)
    epochs = np.flatnonzero(np.isfinite(values))
    if len(epochs) < 2:
        return ""
    values = values[epochs]
    x = _ROOM + (_WIDTH - 2 * _ROOM) * (epochs - epochs[0]) / (epochs[-1] - epochs[0])
    span = np.ptp(values) or 1.0
    y = _ROOM + (_HEIGHT - 2 * _ROOM) * (values.max() - values) / span
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    words = escape(
        f"{name.replace('_', ' ')} from {values[0]:.4g} in epoch {epochs[0] + 1} to "
        f"{values[-1]:.4g} in epoch {epochs[-1] + 1}"
    )
    return (
        f'<figure style="margin:0.5em 0"><svg width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-label="{words}"><polyline points="{points}" '
        f'fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
        f"<figcaption>{words}</figcaption></figure>"
    )
