"""Comparison of remedies for depth: deep networks trained without and with each, and its figure."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from narrows.data.arrays import as_tensor, refuse_containers
from narrows.data.principal import fit_pca
from narrows.data.scaling import Scaling, Statistics
from narrows.errors import DataError, DivergedError, ParameterError
from narrows.losses import squared_error
from narrows.models.autoencoder import Autoencoder
from narrows.models.base import BaseAutoencoder
from narrows.models.failures import no_failure_warnings
from narrows.models.parameters import Activation
from narrows.models.stacked import StackedAutoencoder
from narrows.models.validation import check_choice, check_number
from narrows.networks import Network
from narrows.plots.tiles import FAINT, INK
from narrows.training.progress import on_start, with_facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Remedy = Literal["plain", "pretrained", "normalised", "residual"]
REMEDIES: tuple[Remedy, ...] = ("plain", "pretrained", "normalised", "residual")

_BLOCK = 1024
# Rows of the batch for the gradients at the start.
_ROWS_OF_GRADIENT = 500
# Errors that differ by less than this share count as equal, and the quicker network is the best.
_EQUAL = 0.02
# The deepest and widest networks that can be built, and the largest seed of scikit-learn.
_DEEPEST, _WIDEST, _LARGEST_SEED = 10_000, 10**7, 2**32 - 1
# Okabe & Ito's colours, told apart by every kind of colour vision; and marks, for print in grey.
_LOOKS: dict[str, dict[str, Any]] = {
    "plain": {"color": "#6b6b6b", "marker": "o", "linewidth": 1.3},
    "pretrained": {"color": "#0072B2", "marker": "s", "linewidth": 1.3},
    "normalised": {"color": "#E69F00", "marker": "^", "linewidth": 1.3},
    "residual": {"color": "#009E73", "marker": "D", "linewidth": 1.3},
}
# The upper end of the axis of errors, as a multiple of the largest error.
_ABOVE = 1.08
# Sizes in the figure, in inches.
_WIDTH, _ROW_HEIGHT, _LAST_HEIGHT, _LEGEND_HEIGHT = 9.0, 2.3, 2.7, 0.3


@dataclass(frozen=True)
class DepthRun:
    """The result of one network.

    Attributes
    ----------
    remedy : {"plain", "pretrained", "normalised", "residual"}
        The remedy for depth.
    depth : int
        The number of layers with an activation, of both halves together.
    test_error : float or None
        Mean squared error of a test row's values, in scaled units; ``None`` where training
        diverged.
    losses : list of float
        The loss on the training rows, epoch by epoch, in the same units.
    gradient_norms : list of float
        Before the first step of all layers together: the norm of a row's loss gradient with respect
        to the output of each layer, or residual block, from the rows on. Where it vanishes, that
        layer and those below it learn nothing.
    seconds : float
        Processor time of training, pretraining included.
    """

    remedy: Remedy
    depth: int
    test_error: float | None
    losses: list[float]
    gradient_norms: list[float]
    seconds: float


@dataclass(frozen=True)
class DepthReport:
    """Networks of several depths, each without and with remedies.

    Attributes
    ----------
    runs : list of DepthRun
        The results, by depth, then by remedy.
    mean_row_error : float
        The test error of the mean of the training rows in place of every row.
    pca_error : float or None
        The test error of PCA with codes as wide; ``None`` where it cannot be that wide.
    best : DepthRun
        The quickest of those whose test error is within 2 % of the smallest.
    """

    runs: list[DepthRun]
    mean_row_error: float
    pca_error: float | None
    best: DepthRun

    @property
    def unbeaten(self) -> Literal["the mean row", "PCA"] | None:
        """The baseline that the best network does not beat by more than 2 %, if there is one."""
        bar = cast("float", self.best.test_error) * (1 + _EQUAL)
        if bar >= self.mean_row_error:
            return "the mean row"
        return "PCA" if self.pca_error is not None and bar >= self.pca_error else None


def compare_depths(
    X: NDArray[Any],
    *,
    depths: Sequence[int] = (4, 12, 24),
    remedies: Sequence[Remedy] = REMEDIES,
    width: int = 128,
    n_components: int = 16,
    activation: Activation = "sigmoid",
    max_epochs: int = 10,
    test_fraction: float = 0.2,
    random_state: int = 0,
    **parameters: Any,
) -> DepthReport:
    """Train the same deep network plain and with each remedy, at several depths.

    Parameters
    ----------
    X : ndarray of shape (n, *sample_shape)
        Rows of shape (F,), (H, W) or (H, W, C), some of which are held out for the test.
    depths : sequence of int, default=(4, 12, 24)
        Numbers of layers with an activation, of both halves together: even numbers from 4 on.
    remedies : sequence of str, default=all
        "plain" is none; "pretrained" trains denoising layers one by one first, for half as many
        epochs each; "normalised" has batch normalisation after each layer; "residual" has a skip
        connection around each pair of layers but the first, and one more layer in a half where
        their number is odd.
    width : int, default=128
        The width of every layer.
    n_components : int, default=16
        The width K of the latent code, which is linear.
    activation : str, default="sigmoid"
        The activation after each layer.
    max_epochs : int, default=10
        Passes over the rows.
    test_fraction : float, default=0.2
        The share of the rows held out for the test.
    random_state : int, default=0
        Random seed of the test rows, the first weights and the shuffling.
    **parameters
        Other parameters of :class:`narrows.Autoencoder`, such as ``batch_size``.

    Returns
    -------
    DepthReport

    Raises
    ------
    ParameterError, DataError
        If a parameter or the rows cannot be used.
    DivergedError
        If all networks diverged.
    KeyboardInterrupt
        On Ctrl-C, as an incomplete comparison tells nothing.

    Examples
    --------
    >>> from narrows import datasets
    >>> X = datasets.load("digits").X_train[:300]
    >>> report = compare_depths(X, depths=(4,), width=16, max_epochs=2)
    >>> [run.remedy for run in report.runs], len(report.runs[0].gradient_norms)
    (['plain', 'pretrained', 'normalised', 'residual'], 6)
    """
    for depth in depths:
        check_number("each of depths", depth, low=4, high=_DEEPEST, integral=True)
        if depth % 2:
            raise ParameterError(f"depths={depth!r} does not part into two halves; give even ones")
    for remedy in remedies:
        check_choice("each of remedies", remedy, REMEDIES)
    if not (depths and remedies):
        raise ParameterError("there is nothing to compare; give at least one depth and one remedy")
    check_number("width", width, low=1, high=_WIDEST, integral=True)
    check_number("max_epochs", max_epochs, low=1, integral=True)
    check_number("test_fraction", test_fraction, low=0, high=1, open_low=True, open_high=True)
    check_number("random_state", random_state, low=0, high=_LARGEST_SEED, integral=True)
    refuse_containers(X)
    order = np.random.default_rng(random_state).permutation(len(X))
    n_test = round(test_fraction * len(X))
    if not 0 < n_test < len(X) - 1:
        raise DataError(f"{len(X)} rows are too few to keep {n_test} for the test; give more rows")
    test, train = X[np.sort(order[:n_test])], X[np.sort(order[n_test:])]
    common = {
        "n_components": n_components,
        "activation": activation,
        "max_epochs": max_epochs,
        "random_state": random_state,
        **parameters,
    }
    # Networks that diverge keep no scaling.
    scaling = Scaling.learn(parameters.get("scaling", "auto"), Statistics.of(train))
    runs = []
    for depth in depths:
        for remedy in remedies:
            model = _model(remedy, depth, width, common)
            runs.append(_run(model, remedy, depth, (train, test), scaling))
    seen, unseen = (scaling(as_tensor(rows)).flatten(1).numpy() for rows in (train, test))
    mean_row_error = fit_pca(seen, 1).mean_squared_errors(unseen, [0])[0]
    pca_error = None
    if n_components <= min(seen.shape):
        pca_error = fit_pca(seen, n_components).mean_squared_errors(unseen, [n_components])[0]
    return DepthReport(runs, mean_row_error, pca_error, _best(runs))


def _model(remedy: Remedy, depth: int, width: int, common: dict[str, Any]) -> BaseAutoencoder:
    """Create an untrained model of a depth; its loss is in the units of its error."""
    half = depth // 2
    same = {**common, "hidden_layer_sizes": (width,) * half, "loss": "squared_error"}
    match remedy:
        case "plain":
            return Autoencoder(**same, architecture="dense")
        case "pretrained":
            return StackedAutoencoder(**same, pretraining_epochs=-(-common["max_epochs"] // 2))
        case "normalised":
            return Autoencoder(**same, architecture="dense", normalization="batch")
        case "residual":
            same["hidden_layer_sizes"] = (width,)
            return Autoencoder(**same, architecture="dense", residual_blocks=half // 2)


def _run(
    model: BaseAutoencoder,
    remedy: Remedy,
    depth: int,
    rows: tuple[NDArray[Any], NDArray[Any]],
    scaling: Scaling,
) -> DepthRun:
    train, test = rows
    first: dict[str, Network] = {}

    def keep(network: nn.Module) -> None:
        # The whole network comes after the layers of a stack.
        first["network"] = copy.deepcopy(cast("Network", network))

    begin = time.process_time()
    error, losses = None, []
    # That some networks learn nothing is part of the comparison.
    with on_start(keep), with_facts(depth=depth), no_failure_warnings():
        try:
            model.fit(train)
        except DivergedError:
            pass
        else:
            if model.history_.ended == "interrupted":
                raise KeyboardInterrupt
            error = _error(Network(model.encoder_, model.decoder_), test, scaling)
            losses = [loss / train[0].size for loss in model.history_["loss"]]
    seconds = time.process_time() - begin
    some = scaling(as_tensor(train[:_ROWS_OF_GRADIENT]))
    norms = _gradient_norms(first["network"], some)
    return DepthRun(remedy, depth, error, losses, norms, seconds)


def _gradient_norms(network: Network, x: Tensor) -> list[float]:
    """Return the norm of the loss gradient with respect to each layer's output, mean over rows."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    for body in (network.encoder.body, network.decoder.body):
        residuals = (residual for block in body.blocks for residual in block.residuals)
        for module in (*body.layers, *residuals):
            module.register_forward_hook(keep)
    network.train()
    x = x.to(next(network.parameters()).device)
    squared_error(network(x), x).sum().backward()  # type: ignore[no-untyped-call]
    return [float(output.grad.norm(dim=1).mean()) for output in outputs if output.grad is not None]


@torch.inference_mode()
def _error(network: Network, rows: NDArray[Any], scaling: Scaling) -> float:
    """Return the mean squared error of scaled values."""
    device = next(network.parameters()).device
    total = 0.0
    for start in range(0, len(rows), _BLOCK):
        x = scaling(as_tensor(rows[start : start + _BLOCK])).to(device)
        total += float((network(x) - x).double().square().sum())
    return total / rows.size


def _best(runs: list[DepthRun]) -> DepthRun:
    """Choose the quickest of those that are about as good as the best."""
    errors = [run.test_error for run in runs if run.test_error is not None]
    if not errors:
        raise DivergedError("training left the finite numbers every time; lower learning_rate")
    bar = min(errors) * (1 + _EQUAL)
    good = [run for run in runs if run.test_error is not None and run.test_error <= bar]
    return min(good, key=lambda run: run.seconds)


def draw_depths(report: DepthReport) -> "Figure":
    """Draw training curves and first gradients for each depth, and the test errors of all.

    Parameters
    ----------
    report : DepthReport
        The result of :func:`narrows.evaluation.compare_depths`.

    Returns
    -------
    matplotlib.figure.Figure
        ``figure.savefig("depth.png")`` writes it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator

    depths = list(dict.fromkeys(run.depth for run in report.runs))
    height = _ROW_HEIGHT * len(depths) + _LAST_HEIGHT + _LEGEND_HEIGHT
    figure = Figure(figsize=(_WIDTH, height), dpi=150, facecolor="white", layout="constrained")
    losses = (loss for run in report.runs for loss in run.losses)
    highest = max(report.mean_row_error, *losses)
    heights = [_ROW_HEIGHT] * len(depths) + [_LAST_HEIGHT]
    grid = figure.add_gridspec(len(depths) + 1, 2, height_ratios=heights)
    for row, depth in enumerate(depths):
        # All depths share their scales.
        above = figure.axes[:2] or (None, None)
        curves, gradients = (
            figure.add_subplot(grid[row, column], sharey=above[column]) for column in (0, 1)
        )
        _frame(curves, f"{depth} layers: training error", "epoch")
        _frame(gradients, f"{depth} layers: gradient at the start", "layer, from the rows on")
        gradients.set_yscale("log")
        for run in (run for run in report.runs if run.depth == depth):
            look = {**_LOOKS[run.remedy], "markersize": 3}
            epochs = range(1, len(run.losses) + 1)
            curves.plot(epochs, run.losses, label=run.remedy, **look)
            # Networks of all depths are drawn over the same width.
            last = max(1, len(run.gradient_norms) - 1)
            places = [number / last for number in range(len(run.gradient_norms))]
            gradients.plot(places, run.gradient_norms, **look)
        curves.set_ylim(0, _ABOVE * highest)
        curves.xaxis.set_major_locator(MaxNLocator(integer=True))
        _mark(curves, "mean row", report.mean_row_error)
        gradients.yaxis.set_minor_locator(NullLocator())
        gradients.set_xticks([0, 0.5, 1], ["first", "code", "last"])
    errors = figure.add_subplot(grid[-1, :])
    _frame(errors, "test error: mean square of scaled values", "layers")
    finished = [(run, run.test_error) for run in report.runs if run.test_error is not None]
    for remedy, look in _LOOKS.items():
        points = {str(run.depth): error for run, error in finished if run.remedy == remedy}
        errors.plot(list(points), list(points.values()), markersize=5, **look)
    errors.set_ylim(0, _ABOVE * max(report.mean_row_error, *errors.dataLim.intervaly))
    _mark(errors, "mean row", report.mean_row_error)
    if report.pca_error is not None:
        _mark(errors, "PCA", report.pca_error)
    names = figure.axes[0].get_legend_handles_labels()
    figure.legend(*names, fontsize=8, frameon=False, ncols=4, loc="outside upper left")
    return figure


def _mark(axes: "Axes", words: str, value: float) -> None:
    axes.axhline(value, color=FAINT, linewidth=0.8, linestyle=":")
    place = axes.get_yaxis_transform()
    axes.text(1.01, value, words, fontsize=7, color=FAINT, va="center", transform=place)


def _frame(axes: "Axes", title: str, below: str) -> None:
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(below, fontsize=8, color=FAINT)
    axes.tick_params(labelsize=7, colors=FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
