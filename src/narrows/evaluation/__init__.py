"""How good a model is, in figures and in pictures."""

from narrows.evaluation.comparison import Scores, compare_with_pca
from narrows.evaluation.depth import DepthReport, DepthRun, compare_depths
from narrows.evaluation.depth_plot import draw_depths
from narrows.evaluation.matching import MatchingScores, evaluate_matching, score_ranking
from narrows.evaluation.plots import contact_sheet
from narrows.evaluation.restoration import Restoration, compare_with_clean

__all__ = [
    "DepthReport",
    "DepthRun",
    "MatchingScores",
    "Restoration",
    "Scores",
    "compare_depths",
    "compare_with_clean",
    "compare_with_pca",
    "contact_sheet",
    "draw_depths",
    "evaluate_matching",
    "score_ranking",
]
