"""What all plots do: draw on the given axes, in the user's style, for any kind of colour vision."""

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from plots_kit import drawn, new_axes, random, run

from narrows import plots
from narrows.errors import ParameterError

pytestmark = pytest.mark.usefixtures("figures_closed")


EVERY: dict[str, Any] = {
    "history": lambda **k: plots.history(run(5, "reconstruction", "kl"), **k),
    "learning_rate": lambda **k: plots.learning_rate(run(5, "reconstruction"), **k),
    "pictures": lambda **k: plots.pictures({"original": random(3, 4, 4)}, **k),
    "picture_grid": lambda **k: plots.picture_grid(random(7, 4, 4), **k),
    "error_by_size": lambda **k: plots.error_by_size(
        [1, 2], [4.0, 2.0], model_size=2, model_error=1.0, **k
    ),
    "embedding": lambda **k: plots.embedding(random(9, 2), labels=[0, 1, 2] * 3, **k),
    "error_distribution": lambda **k: plots.error_distribution(random(9), threshold=0.5, **k),
    "code_units": lambda **k: plots.code_units(random(5), random(5), **k),
    "activation_rates": lambda **k: plots.activation_rates(random(5), **k),
    "column_errors": lambda **k: plots.column_errors(
        {"hue": 1.5, "ash": 0.2}, beside={"PCA, 2": [0.4, 0.1]}, **k
    ),
    "singular_values": lambda **k: plots.singular_values(random(5, 4), **k),
    "features": lambda **k: plots.features({"codes": {"linear": (0.9, 0.1)}}, **k),
    "filters": lambda **k: plots.filters(random(9, 4, 4) - 0.5, **k),
}


each = pytest.mark.parametrize("name", EVERY)


@each
def test_every_plot_draws_on_the_axes_given_and_returns_them(name: str) -> None:
    ax = new_axes()
    assert EVERY[name](ax=ax) is ax
    assert ax.has_data()
    assert plt.get_fignums() == []


@each
def test_every_plot_makes_axes_of_its_own(name: str) -> None:
    with mpl.rc_context({"figure.figsize": (7, 5), "figure.facecolor": "#102030"}):
        ax = EVERY[name]()
    assert plt.get_fignums() == [ax.figure.number]
    assert ax.figure.get_figwidth() == 7
    assert mpl.colors.to_hex(ax.figure.get_facecolor()) == "#102030"
    drawn(ax)


@each
def test_what_is_no_axes_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="ax is ndarray, not a matplotlib Axes"):
        EVERY[name](ax=np.array([new_axes()]))


@each
def test_words_have_the_users_size_and_colour(name: str) -> None:
    settings = {"font.size": 17.0, "text.color": "#123456", "axes.labelcolor": "#123456",
                "xtick.labelcolor": "#123456", "ytick.labelcolor": "#123456"}  # fmt: skip
    with mpl.rc_context(settings):
        ax = drawn(EVERY[name](ax=new_axes()))
    words = [t for t in ax.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]
    sizes = {t.get_fontsize() for t in words}
    assert sizes <= {17.0}
    assert {mpl.colors.to_hex(t.get_color()) for t in words} <= {"#123456"}


# Machado, Oliveira & Fernandes (2009): what the colour-blind see of linear light, at full severity.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.mark.parametrize("vision", BLIND)
def test_colours_are_told_apart_by_the_colour_blind(vision: str) -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab

    ax = plots.history(run(3, "a", "b", "c", "d"), ax=new_axes())
    colours = [mpl.colors.to_rgb(h.get_color()) for h in ax.get_legend().legend_handles[:5]]
    rgb = np.array(colours)
    light = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    seen = np.clip(light @ np.array(BLIND[vision]).T, 0, 1)
    shown = np.where(seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen)
    lab = rgb2lab(shown[None])[0]
    distances = [deltaE_ciede2000(a, b) for i, a in enumerate(lab) for b in lab[:i]]
    assert min(distances) > 10  # one is the least that is noticed, side by side


def test_a_cycle_of_the_users_own_is_used() -> None:
    with mpl.rc_context({"axes.prop_cycle": mpl.cycler(color=["#ff0000", "#00ff00"])}):
        ax = plots.history(run(3, "a", "b"), ax=new_axes())
    handles = ax.get_legend().legend_handles[:3]
    assert [h.get_color() for h in handles] == ["#ff0000", "#00ff00", "#ff0000"]
    assert handles[0].get_marker() != handles[2].get_marker()


def test_the_package_offers_what_it_lists() -> None:
    assert all(callable(getattr(plots, name)) for name in plots.__all__)
