"""The nearest codes: exactly, or approximately and sooner where there are millions."""

from narrows.library.approximate import ApproximateIndex
from narrows.library.exact import ExactIndex
from narrows.library.vectors import METRICS, Metric, check_metric

__all__ = ["METRICS", "ApproximateIndex", "ExactIndex", "Metric", "check_metric"]
