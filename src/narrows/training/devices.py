"""Where the numbers are crunched."""

import torch

from narrows.errors import ParameterError


def choose_device(name: str) -> torch.device:
    """Find the device that a user's word stands for.

    Parameters
    ----------
    name : str
        "auto" (a GPU where there is one, otherwise the processor), or what torch calls a device:
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
