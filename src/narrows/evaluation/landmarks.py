"""An autoencoder with a code of two numbers, made of landmarks: rows whose places are known.

With rows z_l at places v_l, both halves are means over landmarks, weighted by nearness, as in
kernel t-SNE (Gisbrecht, Schulz & Hammer 2015, "Parametric nonlinear dimensionality reduction using
kernel t-SNE", Neurocomputing 147) and unsupervised kernel regression (Meinicke, Klanke, Memisevic &
Ritter 2005, "Principal surfaces from unsupervised kernel regression", IEEE TPAMI 27)::

    f(z) = sum_l p_l w_l v_l / sum_l p_l w_l,    p_l = exp(-||z - z_l||^2 / a^2)
    g(y) = sum_l q_l z_l / sum_l q_l,            q_l = exp(-||y - v_l||^2 / b^2)

Without w, a row whose near landmarks lie in two places of the map would land between them, where
nothing like it is. Therefore w_l = 1 / (1 + ||v_n - v_l||^2 / c^2), with n the nearest landmark:
one step, from v_n on, towards the least sum of p_l log(1 + ||y - v_l||^2 / c^2), which is how t-SNE
draws a row towards its neighbours.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_NEIGHBOR = 5  # its distance is the unit of all widths
_MEASURED = 1_000  # landmarks whose neighbour is looked for
# Of a, b and c; chosen on held-out training rows of Fashion-MNIST.
_WIDTH_OF_ROWS, _WIDTH_OF_PLACES, _WIDTH_OF_STEP = 0.6, 1.0, 1.2
_BLOCK = 128  # rows whose affinities stay in the processor's cache


@dataclass(frozen=True)
class Landmarks:
    """Rows, their places on a plane, and how far apart neighbours are in both.

    Attributes
    ----------
    rows : Tensor of shape (L, F)
    places : Tensor of shape (L, 2)
    near_rows, near_places : float
        The median distance to the fifth neighbour.
    """

    rows: Tensor
    places: Tensor
    near_rows: float
    near_places: float

    @classmethod
    def of(cls, rows: Tensor, places: Tensor) -> Self:
        """Measure landmarks."""
        return cls(rows, places, _nearness(rows), _nearness(places))

    @torch.inference_mode()
    def encode(self, z: Tensor) -> Tensor:
        """Place rows, (n, F) to (n, 2)."""
        # Kept one by one, small results would hold the heap apart, which then grows with the rows.
        places = torch.empty(len(z), 2)
        for block, place in zip(torch.split(z, _BLOCK), torch.split(places, _BLOCK), strict=True):
            place.copy_(self._encode(block))
        return places

    @torch.inference_mode()
    def decode(self, y: Tensor) -> Tensor:
        """Restore rows from their places, (n, 2) to (n, F)."""
        width = _WIDTH_OF_PLACES * self.near_places
        rows = torch.empty(len(y), self.rows.shape[1])
        for block, row in zip(torch.split(y, _BLOCK), torch.split(rows, _BLOCK), strict=True):
            row.copy_(_affinities(block, self.places, width).softmax(1) @ self.rows)
        return rows

    def _encode(self, z: Tensor) -> Tensor:
        # numpy finds the largest number's place faster than torch.
        affinities = _affinities(z, self.rows, _WIDTH_OF_ROWS * self.near_rows)
        nearest = torch.from_numpy(affinities.numpy().argmax(1))
        weights = affinities.softmax(1).div_(self._step(self.places[nearest]))
        # A product with three rows takes less time than one with three columns.
        weighed = (_with_ones(self.places).T @ weights.T).T
        return weighed[:, :2] / weighed[:, 2:]

    def _step(self, start: Tensor) -> Tensor:
        """Return 1 / w: 1 + ||v_n - v_l||^2 / c^2, (n, L), as one product of matrices."""
        scale = (_WIDTH_OF_STEP * self.near_places) ** 2
        lengths = self.places.square().sum(1, keepdim=True) / scale
        right = [-2 / scale * self.places, 1 + lengths, torch.full_like(lengths, 1 / scale)]
        left = [_with_ones(start), start.square().sum(1, keepdim=True)]
        return torch.cat(left, 1) @ torch.cat(right, 1).T


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1)], 1)


def _affinities(x: Tensor, landmarks: Tensor, width: float) -> Tensor:
    """Return minus the squared distances over the squared width, but for a constant of each row."""
    scaled = landmarks / width**2
    return torch.addmm(-(scaled * landmarks).sum(1), x, scaled.T, alpha=2)


def _nearness(x: Tensor) -> float:
    """Return the median distance to the fifth neighbour, or a little of the spread if it is 0."""
    distances = torch.cdist(x[:_MEASURED], x)
    k = min(_NEIGHBOR, len(x) - 1)
    nearest = distances.kthvalue(k + 1, dim=1).values.median()  # the row itself is the first
    return max(float(nearest), 1e-3 * float(x.std()))
