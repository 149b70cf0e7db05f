"""What is known of the training rows before the first step: their mean and principal axes."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Axes:
    """The directions along which scaled rows vary most.

    Attributes
    ----------
    directions : Tensor of shape (M, F)
        Orthonormal, the one of the largest variance first, in double precision.
    variances : Tensor of shape (M,)
        Of the rows along them, in double precision.
    rest : float
        The mean variance of a feature that they leave unexplained.
    """

    directions: Tensor
    variances: Tensor
    rest: float


@dataclass(frozen=True)
class Start:
    """What first weights are made of.

    Attributes
    ----------
    mean : Tensor of shape (*sample_shape,)
        Of the scaled training rows: what the encoder subtracts and the decoder starts from.
    axes : Axes or None
        Their principal axes, for architectures that start at PCA.
    unexplained : float
        Mean variance of a value that the first network leaves, for models that learn a variance.
    """

    mean: Tensor
    axes: Axes | None = None
    unexplained: float = math.nan
