"""Evaluation of models: reports, comparisons, maps and scores."""

from narrows.data.principal import PrincipalAxes, fit_pca
from narrows.evaluation.anomalies import Anomalies, find_anomalies
from narrows.evaluation.beside import BesideClassics
from narrows.evaluation.classics import restore_by_classic
from narrows.evaluation.comparison import Comparison, Scores, compare_models, compare_with_pca
from narrows.evaluation.depth import DepthReport, DepthRun, compare_depths, draw_depths
from narrows.evaluation.figures import Figures
from narrows.evaluation.maps import MAP_METHODS, MapScores, Projection, project, score_map
from narrows.evaluation.matching import MatchingScores, evaluate_matching, score_ranking
from narrows.evaluation.page import Part, map_page
from narrows.evaluation.report import Report, make_report
from narrows.evaluation.restored_page import restored_page
from narrows.evaluation.row_errors import (
    Restoration,
    compare_files_with_clean,
    compare_with_clean,
    mean_restoration,
)
from narrows.evaluation.table_comparison import (
    KindScores,
    TableComparison,
    compare_table_models,
)
from narrows.evaluation.table_report import ColumnScore, TableReport, make_table_report
from narrows.evaluation.verdict import Finding
from narrows.plots.tiles import contact_sheet

__all__ = [
    "MAP_METHODS",
    "Anomalies",
    "BesideClassics",
    "ColumnScore",
    "Comparison",
    "DepthReport",
    "DepthRun",
    "Figures",
    "Finding",
    "KindScores",
    "MapScores",
    "MatchingScores",
    "Part",
    "PrincipalAxes",
    "Projection",
    "Report",
    "Restoration",
    "Scores",
    "TableComparison",
    "TableReport",
    "compare_depths",
    "compare_files_with_clean",
    "compare_models",
    "compare_table_models",
    "compare_with_clean",
    "compare_with_pca",
    "contact_sheet",
    "draw_depths",
    "evaluate_matching",
    "find_anomalies",
    "fit_pca",
    "make_report",
    "make_table_report",
    "map_page",
    "mean_restoration",
    "project",
    "restore_by_classic",
    "restored_page",
    "score_map",
    "score_ranking",
]
