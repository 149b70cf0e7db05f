"""How good a model is, in figures and in pictures."""

from narrows.evaluation.comparison import Scores, compare_with_pca
from narrows.evaluation.plots import contact_sheet

__all__ = ["Scores", "compare_with_pca", "contact_sheet"]
