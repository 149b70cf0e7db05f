"""A committee of small autoencoders, which are trained together as batched matrix products.

Each member is the network of ``architecture="pca_residual"``: the code is P (x - m) + E(x - m), the
reconstruction b + D h + G(h), where P and D start at the whitened PCA of the member's own rows, and
the last layers of E and G at zero. All weights have a first axis for the member, so that one
product (``torch.baddbmm``) serves all members. A member's first weights and its batches depend on
its own seed alone: it becomes what it would become by itself.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import silu
from torch.optim.adamw import adamw

from narrows.data.principal import fit_pca
from narrows.networks import ARCHITECTURES

# Training, as measured for small networks that start at PCA.
_EPOCHS, _BATCH, _RATE, _BETAS, _DECAY, _WARM_UP = 60, 64, 3e-3, (0.9, 0.99), 0.01, 0.05
_EPS = 1e-8  # what AdamW adds to the root of mean squared slopes
# In every second epoch, this share of a member's rows, those restored worst, is left out.
_LEFT_OUT = 0.1
# The share of the largest variance below which a direction is rounding, and not divided by.
_LEAST_SHARE = 1e-10
_VALUES = 1 << 22  # the number of values that are computed at a time


class Committee:
    """Autoencoders of rows (n, F) with codes of K numbers at most.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        The weights of the M members in single precision, each with a first axis of M.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).normal(size=(100, 6))
    >>> seen = np.arange(100).reshape(2, 50)  # two members, each with half of the rows
    >>> committee = Committee.fit(rows, seen, sizes=[1, 3], seeds=[0, 1])
    >>> squares, codes = committee.measure(rows)
    >>> squares.shape, codes.shape, codes[0, :, 1:].any()
    ((2, 100), (2, 100, 3), np.False_)
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self._doubles = {name: tensor.double() for name, tensor in tensors.items()}
        self.n_members, self.n_features, self.n_codes = self._tensors["P"].shape

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float64],
        seen: NDArray[np.int64],
        *,
        sizes: Sequence[int],
        seeds: Sequence[int],
        epochs: int = _EPOCHS,
        dtype: torch.dtype = torch.float32,
    ) -> "Committee":
        """Train the members, each on its own rows.

        Parameters
        ----------
        rows : ndarray of shape (n, F)
            Scaled rows.
        seen : ndarray of int and shape (M, s)
            The numbers of each member's rows.
        sizes : sequence of M int
            The numbers in each member's code, from 1. Directions in which its rows do not vary are
            left out of it.
        seeds : sequence of M int
            The random seeds of members.
        epochs : int
            Passes over each member's rows.
        dtype : dtype
            The precision of training.
        """
        x = torch.from_numpy(rows[seen]).to(dtype)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        tensors = _start(rows, seen, sizes, generators, dtype)
        _train(tensors, x, generators, epochs)
        return cls({name: tensor.detach() for name, tensor in tensors.items()})

    def measure(self, rows: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the squared residuals (M, n) and the codes (M, n, K) of rows (n, F)."""
        squares = np.empty((self.n_members, len(rows)))
        codes = np.empty((*squares.shape, self.n_codes))
        for place, residuals, coded in self._blocks(rows):
            squares[:, place] = np.square(residuals).sum(axis=2)
            codes[:, place] = coded
        return squares, codes

    def residuals(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the residuals of rows (n, F), of shape (M, n, F)."""
        return np.concatenate([left for _, left, _ in self._blocks(rows)], axis=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, from which the committee can be made again."""
        return self._tensors

    def check(self, n_features: int) -> None:
        """Refuse weights that do not fit together, or not rows of so many values.

        Raises
        ------
        KeyError, ValueError
            For the first that is missing, or of another type or shape.
        """
        count, _, n_codes = self._tensors["P"].shape
        width = self._tensors["E1.weight"].shape[1]
        for name, shape in _shapes(count, n_features, n_codes, width).items():
            tensor = self._tensors[name]
            if tensor.shape != shape or not tensor.isfinite().all():
                raise ValueError(f"the tensor {name!r} has the shape {tuple(tensor.shape)}")

    @torch.no_grad()
    def _blocks(self, rows: NDArray[np.float64]) -> Iterator[tuple[slice, Any, Any]]:
        """Yield residuals and codes of some rows at a time, in double precision."""
        width = self.n_members * (
            self.n_features + self.n_codes + self._tensors["E0.weight"].shape[2]
        )
        step = max(1, _VALUES // width)
        for start in range(0, len(rows), step):
            place = slice(start, start + step)
            x = torch.from_numpy(rows[place]).expand(self.n_members, -1, -1)
            codes = _encode(self._doubles, x)
            yield place, (x - _decode(self._doubles, codes)).numpy(), codes.numpy()


def _encode(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Encode rows (M, B, F) to codes (M, B, K); entries beyond a member's own are zero."""
    centred = x - tensors["mean"]
    return (centred @ tensors["P"] + _mlp(tensors, "E", centred)) * tensors["mask"]


def _decode(tensors: Mapping[str, Tensor], codes: Tensor) -> Tensor:
    """Decode codes (M, B, K) to rows (M, B, F)."""
    return torch.baddbmm(tensors["b"], codes, tensors["D"]) + _mlp(tensors, "G", codes)


def _mlp(tensors: Mapping[str, Tensor], network: str, x: Tensor) -> Tensor:
    """Return what a perceptron of two hidden layers adds to a linear map."""
    for layer in (0, 1):
        x = silu(_affine(tensors, f"{network}{layer}", x))
    return _affine(tensors, f"{network}2", x)


def _affine(tensors: Mapping[str, Tensor], layer: str, x: Tensor) -> Tensor:
    return torch.baddbmm(tensors[f"{layer}.bias"], x, tensors[f"{layer}.weight"])


def _shapes(count: int, n_features: int, n_codes: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a committee."""
    ends = {"E0": (n_features, width), "E1": (width, width), "E2": (width, n_codes),
            "G0": (n_codes, width), "G1": (width, width), "G2": (width, n_features)}  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (count, 1, n_features),
        "mask": (count, 1, n_codes),
        "P": (count, n_features, n_codes),
        "D": (count, n_codes, n_features),
        "b": (count, 1, n_features),
    }
    for layer, (n_in, n_out) in ends.items():
        shapes |= {f"{layer}.weight": (count, n_in, n_out), f"{layer}.bias": (count, 1, n_out)}
    return shapes


def _start(
    rows: NDArray[np.float64],
    seen: NDArray[np.int64],
    sizes: Sequence[int],
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Start each member at the PCA of its rows."""
    (count, n_seen), n_features, most = seen.shape, rows.shape[1], max(sizes)
    choose = ARCHITECTURES["pca_residual"].hidden_layer_sizes
    width = choose((n_features,), most, n_seen)[0]
    shapes = _shapes(count, n_features, most, width)
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    for member, generator in enumerate(generators):
        size = sizes[member]
        axes = fit_pca(rows[seen[member]], min(size, n_features, n_seen))
        kept = axes.variances > _LEAST_SHARE * max(axes.variances[0], np.finfo(float).tiny)
        spreads = np.sqrt(axes.variances[kept])
        directions, n_kept = axes.components[kept], int(kept.sum())
        tensors["mean"][member] = tensors["b"][member] = torch.from_numpy(axes.mean)
        tensors["mask"][member, :, :n_kept] = 1
        tensors["P"][member, :, :n_kept] = torch.from_numpy((directions / spreads[:, None]).T)
        tensors["D"][member, :n_kept] = torch.from_numpy(directions * spreads[:, None])
        for layer, n_in in (("E0", n_features), ("E1", width), ("G0", n_kept), ("G1", width)):
            bound = math.sqrt(3 / max(1, n_in))  # LeCun et al. (1998), "Efficient BackProp"
            shape = (n_in, width)
            drawn = (2 * torch.rand(shape, generator=generator) - 1) * bound
            tensors[f"{layer}.weight"][member, :n_in] = drawn
    return tensors


def _train(
    tensors: dict[str, Tensor], x: Tensor, generators: Sequence[torch.Generator], epochs: int
) -> None:
    """Minimise the squared error of each member's rows, x (M, s, F), by Adam and in place."""
    n_rows = x.shape[1]
    n_batches = max(1, n_rows // _BATCH)
    learned = [tensor.requires_grad_() for n, tensor in tensors.items() if n not in _FIXED]
    # The function that torch.optim.AdamW calls: the class imports the compiler of PyTorch, which
    # takes longer than all of this training.
    first, second = ([torch.zeros_like(tensor) for tensor in learned] for _ in range(2))
    steps_done = [torch.zeros(()) for _ in learned]
    n_steps, step = epochs * n_batches, 0
    warm_up = max(1, round(_WARM_UP * n_steps))
    for epoch in range(epochs):
        weights = _row_weights(tensors, x) if epoch % 2 else torch.ones_like(x[..., 0])
        order = torch.stack([torch.randperm(n_rows, generator=each) for each in generators])
        for chosen in order.tensor_split(n_batches, dim=1):
            batch = torch.take_along_dim(x, chosen[..., None], dim=1)
            counts = weights.gather(1, chosen)
            restored = _decode(tensors, _encode(tensors, batch))
            errors = (restored - batch).square().mean(dim=2)
            loss = ((errors * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)).sum()
            slopes = torch.autograd.grad(loss, learned)
            rate = _RATE * _schedule(step, warm_up, n_steps)
            with torch.no_grad():
                adamw(
                    learned, list(slopes), first, second, [], steps_done, fused=True,
                    amsgrad=False, beta1=_BETAS[0], beta2=_BETAS[1], lr=rate, weight_decay=_DECAY,
                    eps=_EPS, maximize=False,
                )  # fmt: skip
            step += 1


_FIXED = ("mean", "mask")  # what training leaves as it is


@torch.no_grad()
def _row_weights(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the weights of rows, 0 for the tenth that each member restores worst and 1 else."""
    errors = (_decode(tensors, _encode(tensors, x)) - x).square().sum(dim=2)
    kept = errors.argsort(dim=1, stable=True)[:, : math.ceil((1 - _LEFT_OUT) * x.shape[1])]
    return torch.zeros_like(errors).scatter_(1, kept, 1.0)


def _schedule(step: int, warm_up: int, n_steps: int) -> float:
    """Return a step's share of the peak learning rate: a line up, and half a cosine down."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, n_steps - warm_up)))
