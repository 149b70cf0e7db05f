"""How good a model is, in figures and in pictures."""

from narrows.evaluation.comparison import Scores, compare_with_pca
from narrows.evaluation.plots import contact_sheet
from narrows.evaluation.restoration import Restoration, compare_with_clean

__all__ = ["Restoration", "Scores", "compare_with_clean", "compare_with_pca", "contact_sheet"]
