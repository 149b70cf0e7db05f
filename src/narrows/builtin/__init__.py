"""Models that ship with Narrows, which need no training.

``tools/make_denoiser.py`` and ``tools/make_matcher.py`` make them. Weights are stored in eight
bits, with one scale for each output channel.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor

from narrows.errors import ParameterError
from narrows.models import Encoder
from narrows.models.denoising import DenoisingAutoencoder

_FOLDER = Path(__file__).parent
CHANNELS: tuple[Literal[1, 3], ...] = (1, 3)
"""The denoisers: one for grey pictures, one for colours."""

Which: TypeAlias = Literal[1, 3, "matcher"]

# The end of the name of a quantised tensor's scales, and the largest whole number.
_SCALE, _LARGEST = ".scale", 127


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
    if channels not in CHANNELS:
        raise ParameterError(
            f"channels={channels!r} is not allowed; the denoisers that ship are for 1 (grey) and 3 "
            "(colours); restore the channels of other pictures one by one"
        )
    return DenoisingAutoencoder.restore(*_read(int(channels)))


def matcher() -> Encoder:
    """Return the encoder that ships with Narrows, whose codes tell which pictures are alike.

    Returns
    -------
    Encoder
        Of pictures in colours (32, 32, 3), of values from 0 to 255; files of any size are brought
        to that, grey ones in three equal channels. Versions of a picture that are cropped,
        mirrored, turned a little, bordered, brighter, of other colours, blurred or noisy have
        similar codes; compare them by ``matcher().spec_.metric``.

    See Also
    --------
    narrows.Library : Matches codes.
    narrows.MatchingAutoencoder : Learns the same from pictures of one's own.
    provenance : What it was made from.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import builtin
    >>> pictures = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    >>> codes = builtin.matcher().transform(pictures)
    >>> mirrored = builtin.matcher().transform(pictures[:, :, ::-1])
    >>> distances = np.linalg.norm(mirrored[:, None] - codes, axis=2)
    >>> distances.argmin(1).tolist()
    [0, 1, 2, 3, 4]
    """
    return Encoder.restore(*_read("matcher"))


def provenance(which: Which) -> dict[str, Any]:
    """Return what a model was made from: the command, the pictures and their licences.

    Parameters
    ----------
    which : {1, 3, "matcher"}
        The denoiser of so many channels, or the matcher.

    Raises
    ------
    ParameterError
        If there is no such model.

    Examples
    --------
    >>> from narrows import builtin
    >>> builtin.provenance(1)["command"]
    'python tools/make_denoiser.py'
    """
    if which not in (*CHANNELS, "matcher"):
        raise ParameterError(f"which={which!r} is not known; use 1, 3 or 'matcher'")
    made: dict[str, Any] = _read("matcher" if which == "matcher" else int(which))[0]["provenance"]
    return made


def _read(which: int | str) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]], Path]:
    """Read a model's manifest and the tensors of its halves, beside the path of these."""
    path = _FOLDER / f"{'matcher' if which == 'matcher' else f'denoiser-{which}'}.safetensors"
    manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in dequantised(load_file(path)).items():
        half, _, rest = name.partition(".")
        parts.setdefault(half, {})[rest] = tensor
    return manifest, parts, path


def quantised(tensors: Mapping[str, Tensor], least_axes: int = 3) -> dict[str, Tensor]:
    """Round weights to eight bits, with a scale for each output channel.

    Tensors of fewer axes than ``least_axes`` stay as they are: biases, and by default the weights
    of linear layers.

    Examples
    --------
    >>> weights = {"weight": torch.tensor([[[0.5, -1.0]], [[0.0, 2.0]]]), "bias": torch.ones(2)}
    >>> found = quantised(weights)
    >>> found["weight"].tolist(), sorted(found)
    ([[[64, -127]], [[0, 127]]], ['bias', 'weight', 'weight.scale'])
    """
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < least_axes:
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
