"""The parts of a report: the plots, tables and sentences that show its figures."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import plots
from narrows.corruption import hides
from narrows.data.arrays import as_tensor
from narrows.data.signal_files import Windows
from narrows.evaluation.anomalies import Anomalies
from narrows.evaluation.beside import CLEAN, BesideClassics
from narrows.evaluation.figures import FeatureScores, Figures
from narrows.evaluation.over_time import show_over_time
from narrows.evaluation.page import Part
from narrows.evaluation.row_errors import Coded, PCABaseline
from narrows.evaluation.verdict import (
    how_pca_learned,
    measured_rows,
    share,
    times,
    unit_of_errors,
    writer,
)
from narrows.models.base import BaseAutoencoder
from narrows.models.contractive import ContractiveAutoencoder
from narrows.models.damage import choose_damage
from narrows.models.density import ACTIVE, Density, measure_codes
from narrows.models.sparse import SparseAutoencoder
from narrows.plots.scores import MOST_NAMED
from narrows.texts import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN, _WORST, _SAMPLES, _FILTERS = 4, 8, 24, 48
_WORST_COLUMNS = 15
_SCALINGS = {
    "by column": "divides each {one} by a number of its own",
    "global": "divides all {many} by one number (scaling='global')",
    "unit": "divides all {many} by one number (scaling='unit')",
    "none": "divides none of the {many} (scaling='none')",
}
_ENDS = {
    "max_epochs": "as many as were allowed",
    "early_stopping": "ended early, as the loss on rows held out no longer fell",
    "interrupted": "then it was interrupted",
    "collapsed": "ended early, as training collapsed again and again",
    "running": "as many as there have been so far",
}
# Rows whose Jacobians are decomposed.
_JACOBIANS = 100
# Units of the code that are moved, the steps, and the quantiles of codes between which they run.
_UNITS, _STEPS, _QUANTILES = 6, 9, (0.01, 0.99)
_ROWS_TO_CHOOSE_FROM = 200

Lines = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A model, the rows that it is measured on, and the figures of its report.

    Attributes
    ----------
    model : BaseAutoencoder
        The fitted model.
    coded : Coded
        The measured rows, their codes and errors.
    names : list of str
        The names of the measured rows.
    everything : Coded
        All rows of the report: those measured, and those that the model learned from.
    anomalies : Anomalies
        The anomaly scores of all rows of the report.
    signals : Windows or None
        All windows that were given, if the rows are windows of signals.
    are_crops : bool
        Whether several rows were cut out of one picture.
    chosen : ndarray of int and shape (n,)
        The numbers of the rows of the report among those given.
    baseline : PCABaseline
        The errors of PCA on the measured rows.
    labels : ndarray or None
        The labels of all rows of the report.
    points : ndarray of shape (n, 2) or None
        The map of all rows of the report.
    figures : Figures
        The report's figures.
    random_state : int
        Random seed of every draw.
    beside : BesideClassics or None
        Of models that take noise off pictures, some pictures restored by classics, too.
    """

    model: BaseAutoencoder
    coded: Coded
    names: list[str]
    everything: Coded
    anomalies: Anomalies
    signals: Windows | None
    are_crops: bool
    chosen: NDArray[np.int64]
    baseline: PCABaseline
    labels: NDArray[Any] | None
    points: NDArray[np.floating] | None
    figures: Figures
    random_state: int
    beside: BesideClassics | None = None

    @property
    def pictures(self) -> bool:
        """Whether the rows are pictures."""
        return bool(self.model.spec_.shows_pictures)

    @property
    def windows(self) -> bool:
        """Whether the rows are windows of signals."""
        spec = self.model.spec_
        return bool(self.signals is not None or spec.signal or spec.definition.of_signals)

    @property
    def noun(self) -> str:
        """The word for several rows."""
        return "windows" if self.windows else "rows"

    @property
    def limits(self) -> tuple[float, float]:
        """The values of black and white."""
        return self.model.scaling_.low, self.model.scaling_.high


def make_parts(subject: Subject) -> list[Part]:
    """Make every part that these rows and this model allow, in the order of the page."""
    columns = subject.figures.columns
    column = "column" if columns is None else columns.kind.removesuffix("s")
    makers = {
        "columns": (f"Error by {column}", _columns),
        "restored": ("Original and restored", _restored),
        "classics": ("Beside classic denoisers", _classics),
        "size": ("Error against code size", _size),
        "training": ("Training", _training),
        "map": ("Map", _map),
        "latent": ("What the code means", _latent),
        "filters": ("Filters", _filters),
        "errors": ("Errors", _errors),
        "outliers": ("Outliers", _outliers),
        "time": ("Outliers over time", _over_time),
        "units": ("Units of the code", _units),
        "features": ("Codes as features", _features),
    }
    of_pictures = {"restored", "latent", "filters"}
    unwanted = {"columns"} if columns is None else of_pictures
    if subject.windows:
        unwanted = {"filters", *({"columns"} if columns is None else ())}
        of_pictures = set()
    if subject.signals is None:
        unwanted = unwanted | {"time"}
    if subject.beside is None:
        unwanted = unwanted | {"classics"}
    shape = subject.figures.sample_shape
    parts = []
    for name, (title, fill) in makers.items():
        if name not in unwanted:
            parts.append(part := Part(name, title))
            if name in of_pictures and not subject.pictures:
                part.words.append(f"Left out: rows of shape {shape} are no pictures to be shown.")
            else:
                fill(subject, part)
    return parts


def _columns(subject: Subject, part: Part) -> None:
    """Show the error of each column, the worst first, and that of PCA of a size."""
    columns, size = subject.figures.columns, subject.figures.headline.pca_components
    if columns is None:
        return
    many, one = columns.kind, columns.kind.removesuffix("s")
    part.words.append(
        f"What is left of each {one}: its mean squared error as a share of its variance, which is "
        f"1 less R\N{SUPERSCRIPT TWO}. Above 1 a {one} is restored worse than by its mean, which "
        f"is so of {columns.worse_than_mean} of {len(columns.each)}."
    )
    ratio, scaling = times(columns.spread_ratio), _SCALINGS[columns.model_scaling]
    words = f"The model {scaling.format(one=one, many=many)}. The spreads of the {many} differ "
    if columns.mixed_units:
        words += (
            f"{ratio} times, so they are taken to have different units: errors on this page are "
            f"shares of each {one}'s variance, the mean over all {many}."
        )
    else:
        words += (
            f"{ratio} times, and they are taken to share one unit, in which errors on this page "
            "are counted."
        )
    if columns.constant:
        words += f" {columns.constant} are constant on these rows, and left out."
    part.words.append(words)
    varied = [(column.model, column) for column in columns.each if column.model is not None]
    varied.sort(key=lambda pair: -pair[0])
    by_pca = [column.pca for _, column in varied if column.pca is not None]
    part.plot(
        "columns",
        f"Each {one}'s error as a share of its variance; lower is better.",
        plots.column_errors,
        {column.name: error for error, column in varied},
        beside={f"PCA, {size}": by_pca} if len(by_pca) == len(varied) else None,
        lines=len(varied) if len(varied) <= MOST_NAMED else 0,
    )
    part.table.append([one, "model", f"PCA, {size}", "standard deviation"])
    for error, column in varied[:_WORST_COLUMNS]:
        pca = "" if column.pca is None else share(column.pca)
        part.table.append([column.name, share(error), pca, f"{column.spread:.3g}"])
    if len(varied) > _WORST_COLUMNS:
        part.words.append(
            f"The table has the {_WORST_COLUMNS} worst of {len(varied)}; report.json has all of "
            "them."
        )


def _restored(subject: Subject, part: Part) -> None:
    model, coded, baseline = subject.model, subject.coded, subject.baseline
    order = np.argsort(coded.errors, kind="stable")
    kinds = {
        "best": order[:_SHOWN],
        "typical": typical_rows(coded.errors, _SHOWN),
        "worst": order[::-1][:_SHOWN],
    }
    size = subject.figures.headline.pca_components
    for kind, which in kinds.items():
        X = coded.X[which]
        lines: Lines = {"original": X}
        damaged = damage(model, X, subject.random_state)
        if damaged is not None:
            lines["damaged"] = damaged
        inputs = X if damaged is None else damaged
        lines["restored"] = model.denoise(inputs)
        lines[f"PCA, {baseline.largest(size)}"] = baseline.reconstruct(which, size, inputs)
        away = (lines["restored"].astype(np.float64) - X).reshape(len(X), -1)
        captions = [f"{error:.2g}" for error in np.square(away) @ baseline.unit.weights]
        if subject.windows:
            named = zip([subject.names[row] for row in which], captions, strict=True)
            captions = [f"{name}: {error}" for name, error in named]
        _show(
            subject,
            part,
            f"restored-{kind}",
            lines,
            caption=f"The {kind} {subject.noun}; with each, the error of what the model restored.",
            captions=captions,
        )


def _show(
    subject: Subject,
    part: Part,
    name: str,
    lines: Lines,
    *,
    caption: str,
    captions: list[str] | None = None,
) -> None:
    """Plot lines of pictures, or windows of signals as curves."""
    if not subject.windows:
        look: dict[str, Any] = {"captions": captions, "limits": subject.limits, "tiles": True}
        part.plot(name, caption, plots.pictures, lines, **look)
        return
    columns = subject.figures.columns
    part.plot(
        name,
        caption,
        plots.windows,
        lines,
        captions=captions,
        channels=None if columns is None else [column.name for column in columns.each],
        rate=subject.model.rate_,
        tall=columns is not None,
    )


def _classics(subject: Subject, part: Part) -> None:
    beside, scores = subject.beside, subject.figures.classics
    assert beside is not None and scores is not None  # noqa: S101, PT018 (for the type checker)
    part.words.append(
        f"{counted(scores.n, 'picture')} with noise as in training, restored by the model and by "
        "classic denoisers, each at the weight that is best for the picture."
    )
    if scores.missing:
        part.words.append(f"Classics left out: {beside.missing_words}.")
    part.table.append(["version", "PSNR, dB", "SSIM"])
    for name, psnr in scores.psnr.items():
        ssim = scores.ssim[name]
        part.table.append([name, f"{psnr:.2f}", "" if ssim is None else f"{ssim:.3f}"])
    shown = beside.pictures[:_SHOWN]
    names = [name for name in shown[0].versions if name != CLEAN]
    lines = {name: np.stack([one.versions[name] for one in shown]) for name in (CLEAN, *names)}
    caption = "Clean, noisy, and restored by each."
    part.plot("classics", caption, plots.pictures, lines, limits=subject.limits, tiles=True)


def damage(model: BaseAutoencoder, X: NDArray[Any], random_state: int) -> NDArray[Any] | None:
    """Damage rows as a model's training did, in the data's units.

    None without a corruption, and where rows have noise of their own, to be taken off.
    """
    corruption = choose_damage(model)
    if corruption is None or hides(model.corruption):
        return None
    generator = torch.Generator().manual_seed(random_state)
    rows = corruption(model.scaling_(as_tensor(X)), generator).rows
    damaged: NDArray[Any] = model.scaling_.undo(rows).numpy()
    return damaged


def typical_rows(errors: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return the rows whose errors are nearest to the median, in ascending order of error."""
    order = np.argsort(errors, kind="stable")
    start = max(0, (len(order) - count) // 2)
    return order[start : start + count]


def _size(subject: Subject, part: Part) -> None:
    figures, write = subject.figures, writer(subject.figures)
    errors, sweep = figures.headline, figures.sweep
    curve = {size: error for size, error in figures.pca_curve.items() if error > 0}
    on_columns = " of standardised columns" if errors.pca_columns == "standardised" else ""
    part.words.append(
        f"The {unit_of_errors(figures)} as a function of the code size: of PCA{on_columns}, "
        f"{how_pca_learned(figures)}, and of the model. The mean row alone leaves "
        f"{write(errors.mean_row)}."
    )
    if figures.pca_same_scaling is not None:
        part.words.append(
            f"PCA of the columns as this model scales them, all divided by one number, leaves "
            f"{write(figures.pca_same_scaling)} with {errors.pca_components}."
        )

    def draw(ax: "Axes") -> None:
        plots.error_by_size(
            list(curve),
            list(curve.values()),
            model_size=errors.pca_components,
            model_error=errors.model,
            model_curve=(list(sweep), list(sweep.values())) if sweep else None,
            ax=ax,
        )
        ax.set_ylabel(unit_of_errors(figures))

    if curve:
        part.plot("error-by-size", "Lower is better.", draw)
    # Models of the sweep learned from other rows: where one is as wide, the model itself counts.
    of_models = {**sweep, errors.pca_components: errors.model}
    part.table.append(["numbers", "PCA", "model"])
    for size in sorted({*curve, *of_models}):
        cells = [write(line[size]) if size in line else "" for line in (curve, of_models)]
        part.table.append([str(size), *cells])


def _training(subject: Subject, part: Part) -> None:
    history, learning = subject.model.history_, subject.figures.learning
    kept = f"those of epoch {learning.best_epoch}"
    if learning.kept_start:
        kept = "the first ones, which are PCA's"
    part.words.append(f"{learning.epochs} epochs, {_ENDS[learning.ended]}; the weights are {kept}.")
    if learning.train_loss is not None and learning.rows_loss is not None:
        part.words.append(
            f"The reconstruction term was {learning.train_loss:.4g} on the training rows, and is "
            f"{learning.rows_loss:.4g} on these (without outliers)."
        )
    if len(history):
        part.plot("losses", "Every term of the loss.", plots.history, history)
        part.plot("learning-rate", "The learning rate.", plots.learning_rate, history)


def _map(subject: Subject, part: Part) -> None:
    scores, points = subject.figures.map, subject.points
    if scores is None or points is None:
        part.words.append("Left out: there are too few rows for a map, or they are all the same.")
        return
    words = f"By {scores.method}; trustworthiness {scores.trustworthiness:.3f}"
    if scores.neighbor_accuracy is not None:
        words += f", 5-nearest-neighbour accuracy {scores.neighbor_accuracy:.3f}"
    part.words.append(f"{words}.")
    n_shown = len(subject.everything.X)
    if n_shown > len(subject.coded.X):
        part.words.append(f"It shows all {n_shown:,} rows, those learned from as well.")
    draw, labels, errors = plots.embedding, subject.labels, subject.everything.errors
    if labels is not None:
        part.plot("map-labels", "By label.", draw, points, labels=labels, tall=True)
    part.plot("map-errors", "By error.", draw, points, values=errors, tall=True)


def _latent(subject: Subject, part: Part) -> None:
    model = subject.model
    if model.takes_any_size_:
        part.words.append("Left out: the code is a map, whose numbers belong to places.")
        return
    if subject.windows:
        _latent_of_windows(subject, part)
        return
    look: dict[str, Any] = {"limits": subject.limits, "tiles": True}
    part.plot(
        "traversal",
        "The most varied units of a typical row's code, each moved over its range.",
        plots.pictures,
        _traverse(model, subject.coded),
        **look,
    )
    lines, (first, last) = _interpolate(model, subject.coded)
    part.plot(
        "interpolation",
        f"From {subject.names[first]} to {subject.names[last]}: decoded between their codes, "
        "and faded over.",
        plots.pictures,
        lines,
        **look,
    )
    if isinstance(model, Density):
        samples = model.sample(_SAMPLES, random_state=subject.random_state)
        caption = "Decoded from codes drawn from N(0, I)."
        part.plot("samples", caption, plots.picture_grid, samples, columns=8, **look)


def _latent_of_windows(subject: Subject, part: Part) -> None:
    """Show units of the code at both ends of their range, and drawn windows, as curves."""
    model, random_state = subject.model, subject.random_state
    units = dict(list(_traverse(model, subject.coded).items())[:_SHOWN])
    ends = {"1st percentile": 0, "middle": _STEPS // 2, "99th percentile": -1}
    lines = {name: np.stack([line[step] for line in units.values()]) for name, step in ends.items()}
    caption = "A typical window, with the most varied units of its code moved over their range."
    _show(subject, part, "traversal", lines, caption=caption, captions=list(units))
    if isinstance(model, Density):
        samples = model.sample(_SHOWN, random_state=random_state)
        caption = "Decoded from codes drawn from N(0, I)."
        _show(subject, part, "samples", {"sample": samples}, caption=caption)


def _traverse(model: BaseAutoencoder, coded: Coded) -> Lines:
    """Decode a typical row's code while each of its most varied units moves over its range.

    The result has an array of shape (9, ...) for each unit.
    """
    codes = coded.codes
    start = codes[typical_rows(coded.errors, 1)[0]]
    units = np.argsort(-codes.var(axis=0), kind="stable")[:_UNITS]
    lines: Lines = {}
    for unit in units:
        moved = np.repeat(start[None], _STEPS, axis=0)
        low, high = np.quantile(codes[:, unit], _QUANTILES)
        moved[:, unit] = np.linspace(low, high, _STEPS)
        lines[f"unit {unit}"] = model.inverse_transform(moved)
    return lines


def _interpolate(model: BaseAutoencoder, coded: Coded) -> tuple[Lines, tuple[int, int]]:
    """Go in a straight line from the code of a typical row to that of another far from it.

    The lines, of shape (9, ...), are what decodes on the way between the codes, and the straight
    way between the rows; the numbers are the two rows.
    """
    some = typical_rows(coded.errors, _ROWS_TO_CHOOSE_FROM)
    first = some[len(some) // 2]
    last = some[np.argmax(np.square(coded.codes[some] - coded.codes[first]).sum(axis=1))]
    codes, rows = (_between(values[first], values[last]) for values in (coded.codes, coded.X))
    lines = {"between codes": model.inverse_transform(codes), "between pictures": rows}
    return lines, (int(first), int(last))


def _between(first: NDArray[Any], last: NDArray[Any]) -> NDArray[np.float32]:
    steps = np.linspace(0, 1, _STEPS, dtype=np.float32).reshape(-1, *[1] * first.ndim)
    between: NDArray[np.float32] = (1 - steps) * first.astype(np.float32)
    return between + steps * last.astype(np.float32)


def _filters(subject: Subject, part: Part) -> None:
    if (spec := subject.model.spec_).definition.filters is None:
        part.words.append(
            f"Left out: architecture={spec.architecture!r} has no weights that are pictures."
        )
        return
    weights = plots.model_filters(subject.model, n=_FILTERS)
    caption = "Weights of the first layer's units, each by its own largest; grey is 0."
    part.plot("filters", caption, plots.filters, weights, columns=12, tiles=True)


def _errors(subject: Subject, part: Part) -> None:
    figures, errors = subject.figures, subject.coded.errors
    part.words.append(f"Measured on {measured_rows(figures)}.")

    def draw(ax: "Axes") -> None:
        plots.error_distribution(errors, ax=ax)
        ax.set_xlabel(unit_of_errors(figures))

    part.plot("errors", "How errors are distributed over the rows.", draw)
    order = np.argsort(errors)[::-1][:_WORST]
    names = [subject.names[row] for row in order]
    if subject.pictures:
        worst = subject.coded.X[order]
        part.plot(
            "worst",
            "The largest errors.",
            plots.pictures,
            {"original": worst, "restored": subject.model.reconstruct(worst)},
            captions=names,
            limits=subject.limits,
            tiles=True,
        )
    part.table.append([subject.noun.removesuffix("s"), "error"])
    part.table.extend(map(list, zip(names, map(writer(figures), errors[order]), strict=True)))


def _outliers(subject: Subject, part: Part) -> None:
    found, anomalies = subject.figures.outliers, subject.anomalies
    scores = anomalies.scores.total
    part.words.append(
        f"As in narrows anomalies, {found.scored_by} score each row without having seen it; the "
        "model has no part in it. The score is the sum of residual, code and neighbours, in "
        f"medians. {found.n} of {len(scores)} score above {found.threshold:.3g}, three robust "
        "standard deviations of the logarithms above their median."
    )

    def draw(ax: "Axes") -> None:
        plots.error_distribution(scores, threshold=found.threshold, ax=ax)
        ax.set_xlabel(found.unit)

    part.plot("outliers", "How anomaly scores are distributed over the rows.", draw)
    order = anomalies.order[:_WORST]
    names = [anomalies.names[row] for row in order]
    if subject.pictures:
        part.plot(
            "highest-scores",
            "The highest scores.",
            plots.pictures,
            {"picture": np.asarray(anomalies.X[order])},
            captions=names,
            limits=subject.limits,
            tiles=True,
        )
    columns = "channels" if subject.windows else "columns"
    heading = [subject.noun.removesuffix("s"), found.unit, f"{columns} that contribute most"]
    part.table.append(heading)
    part.texts.add(2)
    lines = zip(names, scores[order], strict=True)
    for place, (name, score) in enumerate(lines):
        part.table.append([name, f"{score:.3g}", anomalies.why(place)])
    if not any(line[2] for line in part.table[1:]):
        part.table[:] = [line[:2] for line in part.table]


def _over_time(subject: Subject, part: Part) -> None:
    if subject.signals is not None:
        scores, threshold = subject.anomalies.scores.total, subject.figures.outliers.threshold
        show_over_time(part, subject.signals, subject.chosen, scores, threshold)


def _units(subject: Subject, part: Part) -> None:
    model, units = subject.model, subject.figures.units
    part.words.append(f"{units.unused} of {units.n} units are {units.kind} on these rows.")
    X = subject.everything.X
    if isinstance(model, Density):
        means, variances = (
            t.cpu().numpy() for t in measure_codes(model.encoder_, model.scaling_, X)
        )
        of_means = means.var(axis=0)
        part.words.append(
            "A unit has collapsed where the mean of its code varies over the rows by at most "
            f"{ACTIVE} (variance); the rest of its variance is noise."
        )
        part.table.append(["unit", "variance of its mean"])
        least = np.argsort(of_means, kind="stable")[:_WORST]
        part.table.extend([str(unit), f"{of_means[unit]:.3g}"] for unit in least.tolist())
        part.plot(
            "code-units",
            "Mean and variance of each unit over all rows, beside those of N(0, 1).",
            plots.code_units,
            means.mean(axis=0),
            of_means + variances.mean(axis=0),
        )
    if isinstance(model, SparseAutoencoder):
        part.words.append(f"On average {units.on:.1f} units are on for a row.")
        rates = model.code_sparsity(X).unit_share
        caption = "For how many of the rows each unit is on."
        part.plot("activation-rates", caption, plots.activation_rates, rates)
    if isinstance(model, ContractiveAutoencoder):
        some = typical_rows(subject.coded.errors, _JACOBIANS)
        values = model.jacobian_singular_values(X[some])
        directions = float((values >= values[:, :1] / 2).sum(axis=1).mean())
        part.words.append(
            f"About {directions:.1f} singular values of the Jacobian are at least half as large "
            "as the largest (mean over rows)."
        )
        part.plot(
            "singular-values",
            "Singular values of the code's Jacobian, the mean over rows and their spread "
            "(Rifai et al. 2011).",
            plots.singular_values,
            values,
        )


def _features(subject: Subject, part: Part) -> None:
    scores = subject.figures.features
    if not scores:
        words = "labels were not given" if subject.labels is None else "labels have too few classes"
        if subject.labels is not None and len(subject.coded.X) < len(subject.labels):
            words = f"the {len(subject.coded.X)} measured rows have too few of each class"
        part.words.append(f"Left out: {words}.")
        return
    plot_features(part, scores)
    part.table.append(["representation", *next(iter(scores.values()))])
    for name, by_method in scores.items():
        cells = [f"{mean:.3f} \N{PLUS-MINUS SIGN} {std:.3f}" for mean, std in by_method.values()]
        part.table.append([name, *cells])


def plot_features(part: Part, scores: FeatureScores) -> None:
    """Plot the accuracy of classifiers on representations."""
    part.words.append("Accuracy by five-fold cross-validation, mean and standard deviation.")
    part.plot("features", "Higher is better.", plots.features, scores)
