"""What two processes, started by torchrun, do in the tests: the same fits as one process.

The last model's damage kills the second process once, in the middle of training.
"""

import os
import signal
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import (
    Autoencoder,
    ContractiveAutoencoder,
    EncoderClassifier,
    SparseAutoencoder,
    StackedAutoencoder,
)
from narrows.data import lazy_rows
from narrows.losses import contrast, free_bits
from narrows.models import BaseAutoencoder
from narrows.networks.dense import BatchNorm

N_ROWS = 203  # shared out over batches of 25 and 26 rows, and these over two processes
_FIT = {"n_components": 3, "batch_size": 26, "random_state": 0}


def rows() -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(N_ROWS, 4)) @ generator.normal(size=(4, 12))
    return (mixed + 0.1 * generator.normal(size=mixed.shape)).astype(np.float32)


def pictures() -> NDArray[np.float32]:
    return rows()[:, :9].reshape(-1, 3, 3).repeat(3, axis=1).repeat(3, axis=2)


def models() -> dict[str, BaseAutoencoder]:
    """Make one model for each thing that needs more than a process's own rows."""
    few = {**_FIT, "max_epochs": 3}
    sparse = {**few, "n_components": 16, "dead_after": 60}
    return {
        "plain": Autoencoder(**few, hidden_layer_sizes=(16,)),
        "linear, nothing held out": Autoencoder(**few, hidden_layer_sizes=(), activation="tanh"),
        "batch normalisation": Autoencoder(
            **few, hidden_layer_sizes=(16, 8), normalization="batch", residual_blocks=1
        ),
        "convolutions": Autoencoder(
            **few, architecture="convolutional", hidden_layer_sizes=(4,), normalization="batch"
        ),
        "kl": SparseAutoencoder(**sparse, sparsity="kl"),
        "l1": SparseAutoencoder(**sparse, sparsity="l1"),
        "topk": SparseAutoencoder(**sparse, sparsity="topk", n_active=2),
        "batch_topk": SparseAutoencoder(**sparse, sparsity="batch_topk", n_active=2),
        "jumprelu": SparseAutoencoder(**sparse, sparsity="jumprelu"),
        "contractive": ContractiveAutoencoder(
            **few, hidden_layer_sizes=(), code_activation="sigmoid", contraction="exact"
        ),
        "weighted": Autoencoder(**few, hidden_layer_sizes=(16,)),
        "weighted kl": SparseAutoencoder(**sparse, sparsity="kl"),
        "weighted topk": SparseAutoencoder(**sparse, sparsity="topk", n_active=2),
        "stacked": StackedAutoencoder(
            **few, hidden_layer_sizes=(8,), layer_model="autoencoder", pretraining_epochs=2
        ),
    }


def classifier(seed: int) -> EncoderClassifier:
    """Make a classifier on an encoder that starts anew, and learns by a seed."""
    encoder = Autoencoder(3, hidden_layer_sizes=(16,))
    return EncoderClassifier(
        encoder, from_scratch=True, max_epochs=3, batch_size=26, random_state=seed
    )


def classes() -> NDArray[np.int64]:
    return (rows()[:, 0] > 0).astype(np.int64)


def data_of(name: str) -> NDArray[np.float32]:
    return pictures() if name == "convolutions" else rows()


def weights_of(name: str) -> NDArray[np.float64] | None:
    """Return how much each row counts, some of them nothing."""
    return np.arange(N_ROWS) % 5 + 0.0 if name.startswith("weighted") else None


def from_disk(file: Path, is_large: bool) -> NDArray[np.float32]:
    """Leave rows in a file, and read them from there or as if they fitted into memory."""
    np.save(file, rows())
    with patch.object(lazy_rows, "SMALL", 0 if is_large else lazy_rows.SMALL):
        read: NDArray[np.float32] = lazy_rows.stored(np.load(file, mmap_mode="r"))
    return read


def interrupted(checkpoint: Path | None) -> Autoencoder:
    """Make a model that goes through 5 epochs, of which a killed process sees 3."""
    few = {**_FIT, "max_epochs": 5, "hidden_layer_sizes": (16,)}
    return Autoencoder(**few, early_stopping=False, corruption=damage, checkpoint=checkpoint)


def damage(x: Tensor, generator: torch.Generator) -> Tensor:
    del generator
    mortal = os.environ.get("RANK") == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if mortal and Path(os.environ["NARROWS_TEST_CHECKPOINT"]).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.9 * x


def normalised(x: Tensor, share: slice) -> dict[str, NDArray[np.float32]]:
    """Put some of a whole batch's rows through batch normalisation, and a gradient back."""
    layer = BatchNorm(x.shape[1])
    layer.reset()
    own = x[share].clone().requires_grad_()
    y = layer(own)
    y.backward(x[share].square())
    found = {"y": y, "slopes": own.grad}
    return {name: value.detach().numpy() for name, value in found.items() if value is not None} | {
        name: getattr(layer, name).numpy().copy() for name in ("running_mean", "running_var")
    }


def batch() -> Tensor:
    return torch.rand(7, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def divergences() -> Tensor:
    return torch.rand(7, 5, generator=torch.Generator().manual_seed(0))


def contrasted(codes: Tensor, share: slice) -> tuple[Tensor, Tensor]:
    """Return the contrast of some rows, whose codes are (B, 2, 3), and its gradient."""
    own = codes[share].clone().requires_grad_()
    terms = contrast(own[:, 0], own[:, 1], 0.3)
    terms.sum().backward()
    assert own.grad is not None
    return terms.detach(), own.grad


def codes() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 2, 3, dtype=torch.float64, generator=generator)


def weights(model: BaseAutoencoder) -> dict[str, NDArray[np.float32]]:
    halves = {"encoder": model.encoder_, "decoder": model.decoder_}
    return {
        f"{half}.{name}": tensor.numpy()
        for half, module in halves.items()
        for name, tensor in module.state_dict().items()
    }


def main(folder: Path) -> None:
    from narrows import ranks
    from narrows.ranks import together

    with together() as is_first:
        found: dict[str, NDArray[np.float32]] = {}
        for name, model in models().items():
            model.fit(data_of(name), sample_weight=weights_of(name))
            found |= {f"{name}/{key}": value for key, value in weights(model).items()}
            found[f"{name}/losses"] = np.float32(model.history_["loss"])
        rank = ranks.place.rank
        fitted = classifier(rank).fit(rows(), classes())
        found["classifier"] = fitted.predict_proba(rows())
        # Too large for the memory of the second process alone.
        plain = models()["plain"].fit(from_disk(folder / f"{rank}.npy", rank == 1))
        found |= {f"one on the disk/{key}": value for key, value in weights(plain).items()}
        own = divergences().tensor_split(2)[rank].requires_grad_()
        value = free_bits(own, 0.5)
        value.backward()
        found["free_bits"] = value.detach().numpy()
        slopes = torch.zeros(7, 5)
        slopes.tensor_split(2)[rank].copy_(own.grad)
        # Every process has this term in its loss, by a share; here both have it whole.
        found["free_bits/slopes"] = ranks.add(slopes).numpy() / ranks.place.size
        share = slice(0, 4) if is_first else slice(4, 7)
        terms, grads = contrasted(codes(), share)
        spread = torch.zeros(7, 7, dtype=torch.float64)
        spread[share, 0], spread[share, 1:] = terms, grads.flatten(1)
        found["contrast"] = ranks.add(spread).numpy()
        found |= {f"norm/{name}": value for name, value in normalised(batch(), share).items()}
        checkpoint = Path(os.environ["NARROWS_TEST_CHECKPOINT"])
        begun_at = [0 if not checkpoint.exists() else 1]
        model = interrupted(checkpoint).fit(rows())
        found |= {f"interrupted/{key}": value for key, value in weights(model).items()}
        found["restarts"] = np.int64(os.environ["TORCHELASTIC_RESTART_COUNT"])
        found["begun at a checkpoint"] = np.array(begun_at)
        if is_first:
            np.savez(folder / "found.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # as the command does: an end in which nothing is taken apart
