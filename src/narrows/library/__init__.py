"""Libraries of pictures and their latent codes (embeddings), searched for the nearest codes."""

from narrows.library.adding import Added
from narrows.library.library import Library
from narrows.library.search import ApproximateIndex, ExactIndex, Item, Match
from narrows.library.verify import Problem, Verification
from narrows.library.workers import Workers

__all__ = [
    "Added",
    "ApproximateIndex",
    "ExactIndex",
    "Item",
    "Library",
    "Match",
    "Problem",
    "Verification",
    "Workers",
]
