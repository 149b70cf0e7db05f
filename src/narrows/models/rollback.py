"""Learning that fails leaves no trace."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from narrows.errors import DivergedError


@contextmanager
def unchanged_on_failure(estimator: object) -> Iterator[None]:
    """Leave an estimator as it was if the block fails: never new scaling and old weights."""
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


@contextmanager
def weights_kept_on_divergence(network: nn.Module) -> Iterator[None]:
    """Bring a network's weights back if training in the block diverges."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        yield
    except DivergedError:
        network.load_state_dict(before)
        raise
