"""The parts of a report: what each measures beyond the figures, and draws."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from narrows import plots
from narrows.errors import DataError
from narrows.evaluation.report import latent
from narrows.evaluation.report.columns import show_columns
from narrows.evaluation.report.figures import Figures
from narrows.evaluation.report.measure import Coded
from narrows.evaluation.report.page import Part, picture
from narrows.evaluation.report.verdict import (
    amount,
    how_pca_learned,
    measured_rows,
    unit_of_errors,
    writer,
)
from narrows.evaluation.report.yardstick import Yardstick
from narrows.models.base import BaseAutoencoder
from narrows.models.contractive import ContractiveAutoencoder
from narrows.models.density import ACTIVE, Density, measure_codes
from narrows.models.sparse import SparseAutoencoder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN, _WORST, _SAMPLES, _FILTERS = 4, 8, 24, 48
_ENDS = {
    "max_epochs": "as many as were allowed",
    "early_stopping": "ended early, as the loss on rows held out no longer fell",
    "interrupted": "then it was interrupted",
    "collapsed": "ended early, as training collapsed again and again",
    "running": "as many as there have been so far",
}
# Rows whose Jacobians are decomposed.
_JACOBIANS = 100


@dataclass(frozen=True)
class Subject:
    """What is reported on.

    Attributes
    ----------
    model : BaseAutoencoder
        Fitted.
    coded : Coded
        The rows that are measured, and what the model makes of them.
    names : list of str
        What these are called.
    everything : Coded
        All rows that were looked at: those measured, and those that the model learned from.
    yardstick : Yardstick
        PCA on the rows that are measured.
    labels : ndarray or None
        Of all rows that were looked at.
    points : ndarray of shape (n, 2) or None
        The map of all rows that were looked at.
    figures : Figures
        All that was measured.
    random_state : int
        Random seed of every draw.
    """

    model: BaseAutoencoder
    coded: Coded
    names: list[str]
    everything: Coded
    yardstick: Yardstick
    labels: NDArray[Any] | None
    points: NDArray[np.floating] | None
    figures: Figures
    random_state: int

    @property
    def pictures(self) -> bool:
        """Whether the rows are pictures."""
        return bool(self.model.spec_.shows_pictures)

    @property
    def limits(self) -> tuple[float, float]:
        """The values of black and white."""
        return self.model.scaling_.low, self.model.scaling_.high


def make_parts(subject: Subject) -> list[Part]:
    """Draw every part that these rows and this model allow, in the order of the page."""
    figures, parts = subject.figures, []
    of_pictures = figures.columns is None
    if figures.columns is not None:
        parts.append(show_columns(figures.columns, figures.headline.pca_components))
    makers = {
        _restored: of_pictures,
        _size: True,
        _training: True,
        _map: True,
        _latent: of_pictures,
        _filters: of_pictures,
        _errors: True,
        _units: True,
        _features: True,
    }
    return parts + [maker(subject) for maker, wanted in makers.items() if wanted]


def _restored(subject: Subject) -> Part:
    part = Part("restored", "Original and restored")
    if not subject.pictures:
        part.words.append(_no_pictures(subject))
        return part
    model, coded = subject.model, subject.coded
    order = np.argsort(coded.errors, kind="stable")
    kinds = {
        "best": order[:_SHOWN],
        "typical": latent.typical_rows(coded.errors, _SHOWN),
        "worst": order[::-1][:_SHOWN],
    }
    size = subject.yardstick.largest(subject.figures.headline.pca_components)
    for kind, which in kinds.items():
        own = coded.X[which]
        lines: dict[str, NDArray[Any]] = {"original": own}
        seen = latent.damage(model, own, subject.random_state)
        if seen is not None:
            lines["damaged"] = seen
        given = own if seen is None else seen
        lines["restored"] = model.reconstruct(given)
        by_pca = subject.yardstick.reconstruct(which, size, given)
        lines[f"PCA, {size}"] = by_pca.reshape(own.shape)
        away = (lines["restored"].astype(np.float64) - own).reshape(len(own), -1)
        captions = [f"{error:.2g}" for error in subject.yardstick.unit.of(np.square(away))]

        def draw(axes: "Axes", lines: Any = lines, captions: Any = captions) -> None:
            plots.pictures(lines, captions=captions, limits=subject.limits, ax=axes)

        caption = f"The {kind} rows; below each, the error of what the model restored."
        part.pictures.append(picture(f"restored-{kind}", caption, draw, tiles=True))
    return part


def _size(subject: Subject) -> Part:
    figures = subject.figures
    errors = figures.headline
    curve = {size: error for size, error in figures.pca_curve.items() if error > 0}
    part = Part("size", "Error against code size")
    on_columns = " of standardised columns" if errors.pca_columns == "standardised" else ""
    part.words.append(
        f"The {unit_of_errors(figures)} as a function of the code size: of PCA{on_columns}, "
        f"{how_pca_learned(figures)}, and of the model. The mean row alone leaves "
        f"{writer(figures)(errors.mean_row)}."
    )
    if figures.pca_same_scaling is not None:
        part.words.append(
            f"PCA of the columns as this model scales them, all divided by one number, leaves "
            f"{writer(figures)(figures.pca_same_scaling)} with {errors.pca_components}."
        )
    sweep = figures.sweep

    def draw(axes: "Axes") -> None:
        plots.error_by_size(
            list(curve),
            list(curve.values()),
            model_size=errors.pca_components,
            model_error=errors.model,
            model_curve=(list(sweep), list(sweep.values())) if sweep else None,
            ax=axes,
        )
        axes.set_ylabel(unit_of_errors(figures))

    if curve:
        part.pictures.append(picture("error-by-size", "Lower is better.", draw))
    sizes = sorted({*curve, *sweep, errors.pca_components})
    # Models of the sweep learned from other rows: where one is as wide, the model itself counts.
    of_models = {**sweep, errors.pca_components: errors.model}
    part.table.append(["numbers", "PCA", "model"])
    write = writer(figures)
    part.table.extend(
        [str(n), *("" if one.get(n) is None else write(one[n]) for one in (curve, of_models))]
        for n in sizes
    )
    return part


def _training(subject: Subject) -> Part:
    history, learning = subject.model.history_, subject.figures.learning
    part = Part("training", "Training")
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
        part.pictures.append(
            picture(
                "losses", "Every term of the loss.", lambda axes: plots.history(history, ax=axes)
            )
        )
        part.pictures.append(
            picture(
                "learning-rate",
                "The learning rate.",
                lambda axes: plots.learning_rate(history, ax=axes),
            )
        )
    return part


def _map(subject: Subject) -> Part:
    part = Part("map", "Map")
    found, points = subject.figures.map, subject.points
    if found is None or points is None:
        part.words.append("Left out: there are too few rows for a map, or they are all the same.")
        return part
    words = f"By {found.method}; trustworthiness {found.trustworthiness:.3f}"
    if found.neighbor_accuracy is not None:
        words += f", 5-nearest-neighbour accuracy {found.neighbor_accuracy:.3f}"
    part.words.append(f"{words}.")
    if len(subject.everything.X) > len(subject.coded.X):
        part.words.append(
            f"It shows all {len(subject.everything.X):,} rows, those learned from as well."
        )
    if subject.labels is not None:
        labels = subject.labels
        part.pictures.append(
            picture(
                "map-labels",
                "By label.",
                lambda axes: plots.embedding(points, labels=labels, ax=axes),
                tall=True,
            )
        )
    errors = subject.everything.errors
    part.pictures.append(
        picture(
            "map-errors",
            "By error.",
            lambda axes: plots.embedding(points, values=errors, ax=axes),
            tall=True,
        )
    )
    return part


def _latent(subject: Subject) -> Part:
    model, part = subject.model, Part("latent", "What the code means")
    if not subject.pictures:
        part.words.append(_no_pictures(subject))
        return part
    if model.takes_any_size_:
        part.words.append("Left out: the code is a map, whose numbers belong to places.")
        return part
    limits = subject.limits
    lines = latent.traverse(model, subject.coded)
    part.pictures.append(
        picture(
            "traversal",
            "The most varied units of a typical row's code, each moved over its range.",
            lambda axes: plots.pictures(lines, limits=limits, ax=axes),
            tiles=True,
        )
    )
    between, (first, last) = latent.interpolate(model, subject.coded)
    part.pictures.append(
        picture(
            "interpolation",
            f"From {subject.names[first]} to {subject.names[last]}: decoded between their codes, "
            "and faded over.",
            lambda axes: plots.pictures(between, limits=limits, ax=axes),
            tiles=True,
        )
    )
    if isinstance(model, Density):
        drawn = model.sample(_SAMPLES, random_state=subject.random_state)
        part.pictures.append(
            picture(
                "samples",
                "Decoded from codes drawn from N(0, I).",
                lambda axes: plots.picture_grid(drawn, columns=8, limits=limits, ax=axes),
                tiles=True,
            )
        )
    return part


def _filters(subject: Subject) -> Part:
    part = Part("filters", "Filters")
    try:
        weights = plots.model_filters(subject.model, n=_FILTERS)
    except DataError:
        part.words.append(_no_pictures(subject))
        return part
    part.pictures.append(
        picture(
            "filters",
            "Weights of the first layer's units, each by its own largest; grey is 0.",
            lambda axes: plots.filters(weights, columns=12, ax=axes),
            tiles=True,
        )
    )
    return part


def _errors(subject: Subject) -> Part:
    found, errors = subject.figures.headline, subject.coded.errors
    write = writer(subject.figures)
    part = Part("errors", "Errors and outliers")
    limit = amount(subject.figures, found.outlier_threshold)
    part.words.append(
        f"Measured on {measured_rows(subject.figures)}. {found.outliers} of {len(errors)} have an "
        f"error above {limit}, four robust standard deviations of the logarithms above their "
        "median."
    )

    def draw(axes: "Axes") -> None:
        plots.error_distribution(errors, threshold=found.outlier_threshold, ax=axes)
        axes.set_xlabel(unit_of_errors(subject.figures))

    part.pictures.append(picture("errors", "How errors are distributed over the rows.", draw))
    order = np.argsort(errors)[::-1][:_WORST]
    if subject.pictures:
        worst = subject.coded.X[order]
        lines = {"original": worst, "restored": subject.model.reconstruct(worst)}
        captions = [subject.names[row] for row in order]
        part.pictures.append(
            picture(
                "worst",
                "The largest errors.",
                lambda axes: plots.pictures(
                    lines, captions=captions, limits=subject.limits, ax=axes
                ),
                tiles=True,
            )
        )
    part.table.append(["row", "error"])
    part.table.extend([subject.names[row], write(errors[row])] for row in order.tolist())
    return part


def _units(subject: Subject) -> Part:
    model, units = subject.model, subject.figures.units
    part = Part("units", "Units of the code")
    part.words.append(f"{units.unused} of {units.n} units are {units.kind} on these rows.")
    X = subject.everything.X
    if isinstance(model, Density):
        means, variances = (
            t.cpu().numpy() for t in measure_codes(model.encoder_, model.scaling_, X)
        )
        caption = "Mean and variance of each unit over all rows, beside those of N(0, 1)."
        told = means.var(axis=0)
        total = told + variances.mean(axis=0)
        part.words.append(
            "A unit has collapsed where the mean of its code varies over the rows by at most "
            f"{ACTIVE} (variance); the rest of its variance is noise."
        )
        part.table.append(["unit", "variance of its mean"])
        least = np.argsort(told, kind="stable")[:_WORST]
        part.table.extend([str(unit), f"{told[unit]:.3g}"] for unit in least.tolist())
        part.pictures.append(
            picture(
                "code-units",
                caption,
                lambda axes: plots.code_units(means.mean(axis=0), total, ax=axes),
            )
        )
    if isinstance(model, SparseAutoencoder):
        part.words.append(f"On average {units.on:.1f} units are on for a row.")
        rates = model.code_sparsity(X).unit_share
        part.pictures.append(
            picture(
                "activation-rates",
                "For how many of the rows each unit is on.",
                lambda axes: plots.activation_rates(rates, ax=axes),
            )
        )
    if isinstance(model, ContractiveAutoencoder):
        some = latent.typical_rows(subject.coded.errors, _JACOBIANS)
        values = model.jacobian_singular_values(X[some])
        part.words.append(
            f"About {_directions(values):.1f} singular values of the Jacobian are at least half "
            "as large as the largest (mean over rows)."
        )
        part.pictures.append(
            picture(
                "singular-values",
                "Singular values of the code's Jacobian, the mean over rows and their spread "
                "(Rifai et al. 2011).",
                lambda axes: plots.singular_values(values, ax=axes),
            )
        )
    return part


def _features(subject: Subject) -> Part:
    scores = subject.figures.features
    part = Part("features", "Codes as features")
    if not scores:
        words = "labels were not given" if subject.labels is None else "labels have too few classes"
        if subject.labels is not None and len(subject.coded.X) < len(subject.labels):
            words = f"the {len(subject.coded.X)} measured rows have too few of each class"
        part.words.append(f"Left out: {words}.")
        return part
    methods = list(next(iter(scores.values())))
    part.words.append("Accuracy by five-fold cross-validation, mean and standard deviation.")
    part.table.append(["representation", *methods])
    for name, of_it in scores.items():
        cells = [f"{mean:.3f} \N{PLUS-MINUS SIGN} {std:.3f}" for mean, std in of_it.values()]
        part.table.append([name, *cells])
    part.pictures.append(
        picture("features", "Higher is better.", lambda axes: plots.features(scores, ax=axes))
    )
    return part


def _directions(values: NDArray[np.floating]) -> float:
    """Count the singular values that are at least half the first, the mean over rows."""
    return float((values >= values[:, :1] / 2).sum(axis=1).mean())


def _no_pictures(subject: Subject) -> str:
    return f"Left out: rows of shape {subject.figures.sample_shape} are no pictures to be shown."
