"""The device that a network is trained on: a GPU or the CPU, and how rows get there."""

from contextlib import AbstractContextManager, nullcontext

import torch

from narrows.data.batches import ArraySource, Batch, Source
from narrows.errors import ParameterError

# The share of a GPU's free memory that rows may take; the rest is for the network and its steps.
_SHARE_FOR_ROWS = 1 / 2


def choose_device(name: str) -> torch.device:
    """Find the device that a user named.

    Parameters
    ----------
    name : str
        "auto" (a GPU where there is one, otherwise the CPU), or what torch calls a device:
        "cpu", "cuda", "cuda:1", "mps".

    Raises
    ------
    ParameterError
        If there is no such device here.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.ones(1, device=device).cpu()  # "meta" is a device that holds no numbers
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ParameterError(
            f"device={name!r} is not available here; use 'auto', 'cpu' or a GPU that torch sees"
        ) from error
    return device


def near(source: Source, device: torch.device) -> Source:
    """Move rows in memory to a GPU that has room for them, so that steps wait for no copy."""
    if device.type != "cuda" or not isinstance(source, ArraySource):
        return source
    free, _ = torch.cuda.mem_get_info(device)
    return source.to(device) if source.n_bytes <= free * _SHARE_FOR_ROWS else source


def sent(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to the network's device; a GPU copies pinned memory while the CPU goes on."""
    if device.type == "cuda" and batch.device.type == "cpu":
        batch = batch.pin_memory()
    return batch.to(device, non_blocking=True)


def rounded_products(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a GPU multiplies in bfloat16 if it can, and sums in float32."""
    if device.type != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
