"""Which kinds of copies are looked for, by how one picture lies in the other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from narrows.copies.proposing import Candidates
from narrows.copies.registering import Maps

_MARGIN = 0.03  # share of a side beyond which a picture shows less than the other, or more


@dataclass(frozen=True)
class Wanted:
    """Which kinds of copies are looked for.

    Attributes
    ----------
    rotated : bool
        Those that are rotated by quarters.
    mirrored : bool
        Those that are mirrored.
    crops : bool
        Those that show a part of the other picture.
    """

    rotated: bool = True
    mirrored: bool = True
    crops: bool = True

    def are_ruled_out(self, maps: Maps) -> NDArray[np.bool_]:
        """Tell which maps (m, 2, 3) from one picture into another are of kinds not looked for.

        Examples
        --------
        >>> mirror = np.array([[[-1, 0, 1], [0, 1, 0]]])
        >>> Wanted(mirrored=False).are_ruled_out(mirror), Wanted(crops=False).are_ruled_out(mirror)
        (array([ True]), array([False]))
        """
        out = np.zeros(len(maps), bool)
        linear = maps[:, :, :2]
        flipped = np.linalg.det(linear) < 0
        if not self.mirrored:
            out |= flipped
        if not self.rotated:
            upright = np.where(flipped[:, None, None], linear * [[-1], [1]], linear)
            out |= upright[:, 0, 0] + upright[:, 1, 1] <= np.abs(
                upright[:, 1, 0] - upright[:, 0, 1]
            )
        if not self.crops:
            centre = linear.sum(axis=2) / 2 + maps[:, :, 2]
            reach = np.sqrt(np.square(linear).sum(axis=2)) / 2
            out |= (np.abs(np.stack([centre - reach, centre + reach - 1])) > _MARGIN).any((0, 2))
        return out

    def filtered(self, found: Candidates) -> Candidates:
        """Return the candidates that may be of the kinds that are looked for.

        A crop is told only once it is registered.
        """
        out = Wanted(self.rotated, self.mirrored).are_ruled_out(found.maps)
        return Candidates(found.ends[~out], found.others[~out], found.maps[~out])
