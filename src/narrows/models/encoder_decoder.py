"""The two halves of a trained model, each of which is used, saved and loaded alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from narrows import networks, storage
from narrows.data.arrays import as_rows
from narrows.data.lazy_rows import scratch_rows
from narrows.data.scaling import Scaling
from narrows.errors import DataError, FormatError
from narrows.models.validation import check_codes, check_rows, check_sample_shape
from narrows.networks import ARCHITECTURES, NetworkSpec

# The number of input or output values that are computed at a time.
_VALUES = 1 << 22


class Half(ABC):
    """The base of encoder and decoder: a torch module with its scaling and description.

    Attributes
    ----------
    module : Module
        The module, in evaluation mode.
    scaling_ : Scaling
        The map between the data's units and the network's.
    spec : NetworkSpec
        The description from which the module was built.
    sample_shape_ : tuple of int
        The shape of one row: ``(F,)``, ``(H, W)`` or ``(H, W, C)``.
    rate_ : int or None
        Samples per second of the training signals; None if unknown.
    fingerprint_ : str
        The fingerprint of the whole model.
    feature_names_in_ : ndarray of str
        The names of the columns of the training table, if they had names.
    """

    kind: ClassVar[str]

    @staticmethod
    @abstractmethod
    def build(spec: NetworkSpec) -> nn.Module:
        """Build the module without weights."""

    def __init__(
        self,
        module: nn.Module,
        scaling: Scaling,
        spec: NetworkSpec,
        fingerprint: str,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.module = module
        self.scaling_ = scaling
        self.spec = spec
        self.sample_shape_ = spec.sample_shape
        self.rate_ = spec.rate
        self.fingerprint_ = fingerprint
        if feature_names is not None:
            self.feature_names_in_ = np.asarray(feature_names, dtype=object)

    @property
    def spec_(self) -> NetworkSpec:
        """The description of the network, under the name that it has in models."""
        return self.spec

    @property
    def takes_any_size_(self) -> bool:
        """Whether pictures of other sizes than those of the training data can be encoded."""
        return self.spec.is_map

    @property
    def n_components(self) -> int:
        """The width of a code, K."""
        return self.spec.code_width

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_components={self.n_components}, "
            f"sample_shape={self.sample_shape_})"
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save this half alone to a folder; :func:`narrows.load` reads it.

        Parameters
        ----------
        path : str or Path
            The folder.
        overwrite : bool, default=False
            Whether an existing model or half is replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        OutputExistsError, OutputError
            If the folder exists, or cannot be written.
        """
        return storage.write(path, self._manifest(), self._parts(), overwrite=overwrite)

    def _manifest(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "fingerprint": self.fingerprint_,
            **network_facts(self.spec),
            "scaling": self.scaling_.facts(),
            "feature_names_in": names_of(self),
        }

    def _parts(self) -> storage.Parts:
        return {self.kind: self.tensors()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of weights and scaling to be saved."""
        weights = {f"weights.{k}": v for k, v in self.module.state_dict().items()}
        return weights | {f"scaling.{k}": v for k, v in self.scaling_.tensors().items()}

    @classmethod
    def restore(cls, manifest: Mapping[str, Any], parts: storage.Parts, path: str | Path) -> Self:
        """Build a saved half from the results of :func:`narrows.storage.read`.

        Returns
        -------
        Encoder or Decoder
            A half of this class.

        Raises
        ------
        FormatError
            If the manifest and the tensors do not belong together, or the architecture is one that
            is not installed.
        """
        if manifest.get("kind") == "table":
            raise FormatError(
                f"'{path}' is a model of a table with categories, dates or gaps, whose halves do "
                "not stand alone; give a model of numbers without gaps"
            )
        _check_installed(manifest, path)
        with storage.explain_damage(cls.kind, path):
            tensors = parts[cls.kind]
            spec = NetworkSpec.from_json(manifest["network"])
            shifts = {name: tensors[f"scaling.{name}"] for name in ("shift", "scale")}
            scaling = Scaling.restore(shifts, manifest["scaling"], math.prod(spec.sample_shape))
            prefix = "weights."
            weights = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            module = networks.with_weights(cls.build, spec, weights)
            module.requires_grad_(requires_grad=True).eval()
            names = manifest["feature_names_in"]
            return cls(module, scaling, spec, str(manifest["fingerprint"]), names)


def save_pair(
    encoder: "Encoder", decoder: "Decoder", to: tuple[Path, Path], *, overwrite: bool = False
) -> None:
    """Save both halves of a model in one transaction, so that they always belong together.

    Parameters
    ----------
    encoder, decoder : Encoder, Decoder
        The halves of one model.
    to : tuple of two Path
        Their folders.
    overwrite : bool, default=False
        Whether existing models are replaced.

    Raises
    ------
    OutputExistsError, OutputError
        If a folder exists, or cannot be written. Both folders are then unchanged.
    """
    first, second = (
        (path, half._manifest(), half._parts())
        for path, half in zip(to, (encoder, decoder), strict=True)
    )
    storage.write_pair(first, second, overwrite=overwrite)


class Encoder(Half):
    """The half that maps rows to codes.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder
    >>> X = np.random.default_rng(0).random((100, 8), dtype=np.float32)
    >>> encoder, decoder = Autoencoder(2, max_epochs=2, random_state=0).fit(X).split()
    >>> codes = encoder.transform(X)
    >>> codes.shape, decoder.inverse_transform(codes).shape
    ((100, 2), (100, 8))

    The encoder can be used without the decoder:

    >>> import tempfile
    >>> from narrows import load
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     alone = load(encoder.save(f"{folder}/encoder"))
    >>> bool((alone.transform(X) == codes).all())
    True
    """

    module: networks.Encoder
    kind = "encoder"
    build = staticmethod(networks.build_encoder)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode rows.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, in the units of the training data. The columns of a table are compared with
            those of the training table.

        Returns
        -------
        ndarray of shape (n, K), float32
            The codes.

        Raises
        ------
        DataError
            If the rows differ from the training rows in shape, columns or type, or have values
            that are not finite.
        """
        return self.encode(check_rows(self, X))

    def encode(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Encode checked rows: (n, *sample_shape) to (n, K).

        Raises
        ------
        DataError
            As :func:`check_made`.
        """
        module, scaling, spec = self.module, self.scaling_, self.spec
        if rows.shape[1:] != spec.sample_shape:
            spec = spec.at(rows.shape[1:])
        codes = scratch_rows((len(rows), spec.code_width))
        run_in_blocks(lambda x: module(scaling(x)), rows, codes, module, spec)
        return codes


class Decoder(Half):
    """The half that maps codes to rows; see :class:`Encoder` for an example."""

    module: networks.Decoder
    kind = "decoder"
    build = staticmethod(networks.build_decoder)

    def inverse_transform(
        self, Z: Any, sample_shape: tuple[int, ...] | None = None
    ) -> NDArray[np.floating]:
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n, K)
            Codes.
        sample_shape : tuple of int, optional
            The shape of the encoded pictures, if a fully convolutional model encoded pictures of
            another shape than those of the training data.

        Returns
        -------
        ndarray of shape (n, *sample_shape)
            Rows in the units of the training data; float64 where float32 cannot hold all values of
            their type (float64, int32, int64), otherwise float32.

        Raises
        ------
        DataError
            If the codes have another width than the model's, or are not finite.
        """
        sample_shape = check_sample_shape(self.spec, sample_shape)
        spec = self.spec.at(sample_shape)
        codes = check_codes(Z, spec.code_width, are_maps=spec.is_map)
        return self.decode(codes, sample_shape)

    def decode(
        self, codes: NDArray[np.float32], sample_shape: tuple[int, ...] | None = None
    ) -> NDArray[np.floating]:
        """Decode checked codes: (n, K) to (n, *sample_shape).

        Raises
        ------
        DataError
            As :func:`check_made`.
        """
        module, scaling, spec = self.module, self.scaling_, self.spec
        if sample_shape is not None:
            spec = spec.at(tuple(sample_shape))
        rows = scratch_rows((len(codes), *spec.sample_shape), scaling.value_type)
        if spec.is_map:
            module = networks.decoder_at(module, spec)

        def step(block: Tensor) -> Tensor:
            return scaling.undo(module(block).cpu())  # some devices have no double precision

        run_in_blocks(step, codes, rows, module, spec, what="code")
        return rows


def network_facts(spec: NetworkSpec) -> dict[str, Any]:
    """Return what a manifest says of a network, and of the package that brings its architecture."""
    package = ARCHITECTURES.package(spec.architecture)
    versions = {} if package is None else {"versions": {package: version(package)}}
    return {"network": spec.as_json(), **versions}


def _check_installed(manifest: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a network of an architecture that neither Narrows nor an installed package has."""
    network = manifest.get("network")
    name = network.get("architecture") if isinstance(network, dict) else None
    if isinstance(name, str) and name not in ARCHITECTURES:
        raise FormatError(
            f"'{path}' holds a network of architecture={name!r}, which is not installed; install "
            f"{storage.packages_needed(manifest)}; there are {', '.join(ARCHITECTURES)}"
        )


def names_of(owner: object) -> list[str] | None:
    """Return the names of the columns of the training table, if they had names."""
    names = getattr(owner, "feature_names_in_", None)
    return None if names is None else list(names)


@torch.inference_mode()
def run_in_blocks(
    step: Callable[[Tensor], Tensor],
    rows: NDArray[Any],
    out: NDArray[np.floating],
    module: nn.Module,
    spec: NetworkSpec,
    *,
    what: Literal["row", "code"] = "row",
) -> None:
    """Apply a step to blocks of rows, on the module's device, and write the results to ``out``."""
    device = next(module.parameters()).device
    source, target = as_rows(rows), torch.from_numpy(out)
    largest = max(math.prod(rows.shape[1:]), math.prod(out.shape[1:]))
    size = min(spec.definition.rows_at_once, max(1, _VALUES // largest))
    for start in range(0, len(rows), size):
        block = slice(start, start + size)
        target[block] = step(source[block].to(device))
        check_made(target[block], start, what)


def check_made(made: Tensor, start: int, what: Literal["row", "code"]) -> None:
    """Refuse results of a network for rows or codes far outside the range of the training data.

    Parameters
    ----------
    made : Tensor of shape (n, ...)
        The results.
    start : int
        The number of the first of them.
    what : {"row", "code"}
        The input of the network.

    Raises
    ------
    DataError
        If a value is not finite: single precision holds numbers up to 3.4e38.
    """
    if math.isfinite(made.sum(dtype=torch.float64)):
        return
    are_finite = made.isfinite().flatten(1).all(1)
    if are_finite.all():  # only their sum is too large
        return
    bad = (~are_finite).nonzero()[:, 0]
    remedy = "compare its values with those of the training data, or remove it"
    if what == "code":
        remedy = "give codes of the size that transform (narrows encode) makes"
    raise DataError(
        f"{what} {start + int(bad[0])}, counted from 0, is so far from the training data that the "
        "network's result exceeds single precision (3.4e38) or is undefined "
        f"({len(bad)} such in {len(made)}); {remedy}"
    )
