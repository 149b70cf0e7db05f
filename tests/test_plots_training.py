"""Plots of training draw its history; every random seed is 0."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from plots_kit import drawn, legend, lines, new_axes, run

from narrows import plots
from narrows.errors import DataError
from narrows.training.history import History

pytestmark = pytest.mark.usefixtures("figures_closed")


def test_history_draws_every_term_of_training_and_held_out_rows() -> None:
    history = run(5, "reconstruction", "kl_divergence")
    ax = plots.history(history, ax=new_axes())
    found = lines(ax)
    for term in ("loss", "reconstruction", "kl_divergence"):
        assert ([1, 2, 3, 4, 5], history[term], "-") in found
        assert ([1, 2, 3, 4, 5], history[f"validation_{term}"], "--") in found
    assert legend(ax) == [
        "loss", "reconstruction", "kl divergence", "training rows", "held-out rows",
        "best epoch: 4",
    ]  # fmt: skip
    assert ([4, 4], [0, 1], ":") in found
    assert ax.get_yscale() == "linear"


def test_a_loss_of_one_term_is_drawn_once() -> None:
    ax = plots.history(run(4, "reconstruction", held_out=False), ax=new_axes())
    assert len(lines(ax)) == 1
    assert legend(ax) == ["loss (reconstruction)"]


def test_terms_differ_by_colour_and_by_mark() -> None:
    ax = plots.history(run(9, "reconstruction", "penalty", "kl"), ax=new_axes())
    looks = [(h.get_color(), h.get_marker()) for h in ax.get_legend().legend_handles[:4]]
    assert len({colour for colour, _ in looks}) == len({mark for _, mark in looks}) == 4


@pytest.mark.parametrize("low", [1e-3, 0.0, -1.0])
def test_terms_that_are_decades_apart_need_a_logarithmic_axis(low: float) -> None:
    history = run(3, "reconstruction", "penalty")
    for record in history.epochs:
        record["penalty"] = record["validation_penalty"] = low
    ax = plots.history(history, ax=new_axes())
    assert ax.get_yscale() == ("log" if low > 0 else "linear")


def test_an_epoch_without_held_out_rows_leaves_a_gap() -> None:
    history = run(3, "reconstruction")
    first, second = history["validation_loss"][:2]
    del history.epochs[2]["validation_loss"]
    ax = plots.history(history, ax=new_axes())
    [(_, values, _)] = [line for line in lines(ax) if line[2] == "--"]
    assert_array_equal(values, [first, second, np.nan])


def test_a_single_epoch_is_a_mark() -> None:
    ax = drawn(plots.history(run(1, "reconstruction"), ax=new_axes()))
    assert ax.lines[0].get_marker() not in ("", "None")
    inside = [t for t in ax.get_xticks() if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    assert inside == [round(t) for t in inside]


@pytest.mark.parametrize("plot", [plots.history, plots.learning_rate])
def test_the_layers_of_a_stack_come_one_after_another(plot: Any) -> None:
    whole = run(2, "reconstruction")
    whole.layers = [run(3, "reconstruction", scale=10), run(4, "reconstruction", scale=100)]
    ax = drawn(plot(whole, ax=new_axes()))
    spans = [(x[0], x[-1]) for x, _, dashes in lines(ax) if dashes == "-" and x[0] != x[-1]]
    assert spans == [(1, 3), (4, 7), (8, 9)]
    words = {t.get_text(): t for t in ax.texts}
    assert list(words) == ["layer 1", "layer 2", "whole"]


def test_learning_rates_are_the_runs_own() -> None:
    history = run(6, "reconstruction")
    ax = plots.learning_rate(history, ax=new_axes())
    assert lines(ax) == [([1, 2, 3, 4, 5, 6], history["learning_rate"], "-")]


@pytest.mark.parametrize("plot", [plots.history, plots.learning_rate])
@pytest.mark.parametrize("given", [History(), [1.0, 2.0]])
def test_what_is_no_history_is_refused(plot: Any, given: Any) -> None:
    with pytest.raises(DataError, match="the history"):
        plot(given, ax=new_axes())
