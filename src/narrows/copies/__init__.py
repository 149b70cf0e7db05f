"""Copies of pictures in a folder, however they were changed, found without a model."""

from narrows.copies.finding import Copies, Copy, Group, Picture, Rule, find_copies
from narrows.copies.kinds import KINDS, Change
from narrows.copies.moving import Move, Moved, check_target, move_copies, undo_moves
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
    "Move",
    "Moved",
    "Picture",
    "Proposer",
    "Rule",
    "check_target",
    "copies_page",
    "copies_table",
    "find_copies",
    "move_copies",
    "undo_moves",
]
