"""Copies of pictures in a folder, however they were changed, found without a model."""

from narrows.copies.finding import Copies, Copy, Group, Picture, Rule, find_copies
from narrows.copies.kinds import KINDS, Change
from narrows.copies.page import COLUMNS, copies_page, copies_table
from narrows.copies.proposing import Candidates, LowFrequencies, Proposer

__all__ = [
    "COLUMNS",
    "KINDS",
    "Candidates",
    "Change",
    "Copies",
    "Copy",
    "Group",
    "LowFrequencies",
    "Picture",
    "Proposer",
    "Rule",
    "copies_page",
    "copies_table",
    "find_copies",
]
