"""Corruptions of rows, which a denoising autoencoder learns to undo.

Vincent et al. (2010), "Stacked denoising autoencoders", section 3.3: additive Gaussian noise,
masking, salt and pepper. For pictures also noises of cameras, JPEG, and distortions, such as
rotation and blur. Scaled rows are corrupted on their device, at random and anew at every call.

Each corruption also says which values were drawn to be damaged, the paper's set J(x~), whether or
not they differ afterwards: a black pixel that was masked is one of them. Noise is drawn for all
values. A distortion moves or mixes all values of a picture, so that all values of the pictures that
it is drawn for belong to the set. Where several corruptions follow each other, their sets are
united.
"""

from narrows.corruption.damaged import Corruption, Damage, Damaged, Limits, Unstored
from narrows.corruption.kinds import as_list, kinds_of
from narrows.corruption.levels import Level, levels_of
from narrows.corruption.making import (
    CORRUPTIONS,
    DISTORTIONS,
    LEVELS,
    MOVING,
    NOISES,
    PICTURES,
    RANGES,
    RANGES_IN_DEVIATIONS,
    VALUES,
    check_corruption,
    described,
    hides,
    is_independent_noise,
    make,
    named_levels,
)
from narrows.corruption.values import gaussian, masking, salt_and_pepper

__all__ = [
    "CORRUPTIONS",
    "DISTORTIONS",
    "LEVELS",
    "MOVING",
    "NOISES",
    "PICTURES",
    "RANGES",
    "RANGES_IN_DEVIATIONS",
    "VALUES",
    "Corruption",
    "Damage",
    "Damaged",
    "Level",
    "Limits",
    "Unstored",
    "as_list",
    "check_corruption",
    "described",
    "gaussian",
    "hides",
    "is_independent_noise",
    "kinds_of",
    "levels_of",
    "make",
    "masking",
    "named_levels",
    "salt_and_pepper",
]
