"""The result of a check."""

from dataclasses import dataclass, field

SEED = 0


@dataclass
class Outcome:
    """The result of trying one promise.

    Parameters
    ----------
    cases : int
        How many times it was tried.
    facts : str
        One line of what was tried and measured.
    failures : list of str
        A line for each case in which the promise was broken.
    """

    cases: int
    facts: str
    failures: list[str] = field(default_factory=list)
