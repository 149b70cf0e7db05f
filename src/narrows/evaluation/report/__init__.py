"""One report that says whether a model is any good: figures, a verdict from them, and a page."""

from narrows.evaluation.report.compare import Comparison, compare_models
from narrows.evaluation.report.figures import Figures
from narrows.evaluation.report.page import Part
from narrows.evaluation.report.report import Report, make_report
from narrows.evaluation.report.verdict import Finding, judge

__all__ = [
    "Comparison",
    "Figures",
    "Finding",
    "Part",
    "Report",
    "compare_models",
    "judge",
    "make_report",
]
