"""Models that ship with Narrows, which need no training.

``tools/make_denoiser.py`` makes them. Weights are stored in eight bits, with one scale for each
output channel.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from narrows.errors import ParameterError
from narrows.models.denoising import DenoisingAutoencoder

_FOLDER = Path(__file__).parent
CHANNELS = (1, 3)
"""The denoisers: one for grey pictures, one for colours."""

# The end of the name of a quantised tensor's scales, and the largest whole number.
_SCALE, _LARGEST = ".scale", 127
# Tensors of fewer axes, such as biases, stay as they are.
_LEAST_AXES = 3


def denoiser(channels: int) -> DenoisingAutoencoder:
    """Return the denoiser that ships with Narrows.

    Parameters
    ----------
    channels : {1, 3}
        Whether it restores grey pictures (H, W), or those in colours (H, W, 3).

    Returns
    -------
    DenoisingAutoencoder
        A fitted model of pictures of any size, of values from 0 to 255. It was trained on Gaussian
        noise of unknown level, up to a standard deviation of 56.

    Raises
    ------
    ParameterError
        If there is none for so many channels.

    See Also
    --------
    provenance : What it was made from.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import builtin
    >>> y, x = np.mgrid[:48, :64]
    >>> clean = 128 + 60 * np.sin(x / 9) * np.cos(y / 7)
    >>> noisy = clean + np.random.default_rng(0).normal(0, 25, clean.shape)
    >>> restored = builtin.denoiser(1).denoise(noisy[None])[0]
    >>> bool(np.square(restored - clean).mean() < np.square(noisy - clean).mean() / 5)
    True
    """
    manifest = _manifest(channels)
    path = _path(channels).with_suffix(".safetensors")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in dequantised(load_file(path)).items():
        half, _, rest = name.partition(".")
        parts.setdefault(half, {})[rest] = tensor
    return DenoisingAutoencoder.restore(manifest, parts, path)


def provenance(channels: int) -> dict[str, Any]:
    """Return what a denoiser was made from: the command, the pictures and their licences.

    Parameters
    ----------
    channels : {1, 3}
        As for :func:`denoiser`.

    Raises
    ------
    ParameterError
        If there is none for so many channels.

    Examples
    --------
    >>> from narrows import builtin
    >>> builtin.provenance(1)["command"]
    'python tools/make_denoiser.py'
    """
    made: dict[str, Any] = _manifest(channels)["provenance"]
    return made


def _path(channels: int) -> Path:
    if channels not in CHANNELS:
        raise ParameterError(
            f"channels={channels!r} is not allowed; the denoisers that ship are for 1 (grey) and 3 "
            "(colours); restore the channels of other pictures one by one"
        )
    return _FOLDER / f"denoiser-{channels}.json"


def _manifest(channels: int) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(_path(channels).read_text(encoding="utf-8"))
    return manifest


def quantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round the weights of convolutions to eight bits, with a scale for each output channel.

    Examples
    --------
    >>> weights = {"weight": torch.tensor([[[0.5, -1.0]], [[0.0, 2.0]]]), "bias": torch.ones(2)}
    >>> found = quantised(weights)
    >>> found["weight"].tolist(), sorted(found)
    ([[[64, -127]], [[0, 127]]], ['bias', 'weight', 'weight.scale'])
    """
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < _LEAST_AXES:
            made[name] = tensor.contiguous()
            continue
        largest = tensor.abs().flatten(1).amax(1).clamp(min=torch.finfo(torch.float32).tiny)
        scale = largest / _LARGEST
        whole = tensor / scale.view(-1, *[1] * (tensor.ndim - 1))
        made[name] = whole.round().to(torch.int8).contiguous()
        made[name + _SCALE] = scale
    return made


def dequantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`quantised`, but for the rounding."""
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        scale = tensors.get(name + _SCALE)
        if scale is not None:
            made[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
        elif name.removesuffix(_SCALE) not in tensors or not name.endswith(_SCALE):
            made[name] = tensor
    return made
