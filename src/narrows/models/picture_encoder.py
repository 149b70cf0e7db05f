"""Encoders of pictures that were trained elsewhere: ONNX files and torch modules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from narrows import storage
from narrows.data.reading import reading
from narrows.data.scaling import Scaling
from narrows.errors import DataError, FormatError, LibraryError, ParameterError, warn
from narrows.models.onnx_network import OnnxNetwork, read_onnx
from narrows.models.preprocessing import PIXEL_SCALE, Channels, Colors, Numbers, Preprocessing
from narrows.models.validation import check_rows
from narrows.networks import Metric

_FILE = "network.onnx"
_WIDEST = 2**16  # numbers of a code
_BLANK = 127  # pixels of the picture that tells the width of codes


class CodeSpec(Protocol):
    """What a library asks of the description of an encoder."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one row."""

    @property
    def shows_pictures(self) -> bool:
        """Whether rows are pictures."""

    @property
    def code_width(self) -> int:
        """Numbers in one code, K."""

    @property
    def metric(self) -> Metric:
        """How codes are compared unless another metric is asked for."""


class CodeEncoder(Protocol):
    """What makes the codes of a library: the encoder of a model, or a :class:`PictureEncoder`."""

    sample_shape_: tuple[int, ...]
    scaling_: Scaling
    fingerprint_: str

    @property
    def spec(self) -> CodeSpec:
        """The description of rows and codes."""

    @property
    def takes_any_size_(self) -> bool:
        """Whether pictures of other sizes can be encoded."""

    @property
    def n_components(self) -> int:
        """Numbers in one code, K."""

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode rows, (n, *sample_shape) to (n, K)."""

    def encode(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Encode checked rows."""


class _Network(Protocol):
    @property
    def at_once(self) -> int: ...

    def __call__(self, x: NDArray[np.float32]) -> NDArray[Any]: ...


@dataclass(frozen=True)
class PictureSpec:
    """The description of a :class:`PictureEncoder`: see :class:`CodeSpec`."""

    sample_shape: tuple[int, ...]
    code_width: int
    shows_pictures: ClassVar[bool] = True
    is_map: ClassVar[bool] = False
    signal: ClassVar[bool] = False
    rate: ClassVar[None] = None
    metric: ClassVar[Metric] = "euclidean"

    @property
    def n_components(self) -> int:
        """Numbers in one code, K."""
        return self.code_width


class PictureEncoder:
    """An encoder of pictures that was trained elsewhere, for libraries.

    Made by :meth:`from_onnx` and :meth:`from_module`. It takes pixels from 0 to 255, prepares them
    as the network expects, and gives codes as :class:`narrows.Encoder` does. What "similar" means
    in a library of such codes is what the network learned.

    Attributes
    ----------
    preprocessing_ : Preprocessing
        What is done to pixels before the network sees them.
    unit_length_ : bool
        Whether codes are divided by their length, so that Euclidean distances order as cosines do.
    kind_ : {"onnx", "torch"}
        What the network is.
    network_sha256_ : str
        SHA-256 of the ONNX file, or of the module's weights.
    output_ : str or None
        The output of the ONNX graph that gives the codes.
    fingerprint_ : str
        Of all of these; a library refuses an encoder of another fingerprint.
    sample_shape_ : tuple of int
        (H, W) for grey, (H, W, 3) for colours.
    n_components : int
        Numbers in one code, K.
    can_encode : bool
        Whether the network is at hand; libraries do not keep torch modules.

    See Also
    --------
    narrows.Library.create : Takes one as ``encoder``.

    Examples
    --------
    A torch module that gives the mean colour:

    >>> import numpy as np, torch
    >>> from narrows import PictureEncoder
    >>> pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    >>> encoder = PictureEncoder.from_module(pool, size=8, mean=0, deviation=1)
    >>> encoder.transform(np.full((1, 8, 8, 3), (255, 0, 51), np.uint8)).round(3).tolist()
    [[1.0, 0.0, 0.20000000298023224]]
    """

    def __init__(
        self,
        network: _Network | None,
        preprocessing: Preprocessing,
        *,
        kind: Literal["onnx", "torch"],
        network_sha256: str,
        output: str | None,
        unit_length: bool,
        n_components: int,
    ) -> None:
        self._network = network
        self.preprocessing_ = preprocessing
        self.kind_, self.network_sha256_, self.output_ = kind, network_sha256, output
        self.unit_length_ = unit_length
        self.sample_shape_ = preprocessing.sample_shape
        self.spec = PictureSpec(self.sample_shape_, n_components)
        zero, one = (torch.tensor(x, dtype=torch.float64) for x in (0.0, 1.0))
        self.scaling_ = Scaling(zero, one, 0.0, 255.0, bounded=False, dtype="uint8")
        self.fingerprint_ = storage.fingerprint(self._facts(), {})

    @classmethod
    def from_onnx(
        cls,
        path: str | Path,
        *,
        size: int | Sequence[int] | None = None,
        crop: float | None = None,
        colors: Colors | None = None,
        scale: float = PIXEL_SCALE,
        mean: Numbers | None = None,
        deviation: Numbers | None = None,
        channels: Channels | None = None,
        output: str | None = None,
        unit_length: bool = False,
    ) -> Self:
        """Take an encoder from an ONNX file, which ONNX Runtime runs (``narrows[onnx]``).

        The file is data, and may come from a stranger: operators of other libraries and weights in
        other files are refused. How much memory and time a graph takes is its maker's choice.

        Parameters
        ----------
        path : str or Path
            The file, of at most 2 GiB. Its one input are pictures in float32, (n, C, H, W),
            (n, H, W, C) or (n, H, W).
        size : int or (int, int), optional
            Height and width; by default those of the graph, if it fixes them.
        crop : float, optional
            By default whole pictures are brought to this size. A share, such as 0.875, brings the
            middle of each in its proportions: this share of the largest such part.
        colors : {"rgb", "bgr", "grey"}, optional
            The network's channels; by default "rgb", and "grey" for one channel.
        scale : float, default=1 / 255
            The factor of pixels, which are from 0 to 255.
        mean, deviation : float or sequence of float, optional
            What is taken from scaled pixels, and what they are divided by, for each of the
            network's channels or for all; by default those of ImageNet, and 0 and 1 for grey.
        channels : {"first", "last", "none"}, optional
            The axis of the channels; by default the graph's, or the first if that says nothing.
        output : str, optional
            The output that gives the codes, where there are several.
        unit_length : bool, default=False
            Whether codes are divided by their length.

        Returns
        -------
        PictureEncoder

        Raises
        ------
        MissingFileError, UnreadableFileError
            If there is no such file, or it is no ONNX file of one's own operators and weights.
        MissingDependencyError
            If the extra ``narrows[onnx]`` is not installed.
        ParameterError
            If the graph takes or gives something else than pictures and codes, or what is given
            here contradicts it.
        DataError
            If the network fails with a blank picture, or gives what is not finite.

        Warns
        -----
        NarrowsWarning
            "preprocessing_chosen" if mean or deviation are not given: no graph tells them.
        """
        data = read_onnx(path)
        network = OnnxNetwork(data, str(path), output)
        axis, fixed, n_channels = _layout(network.input.shape, channels, colors, str(path))
        if colors is None:
            colors = "grey" if n_channels == 1 or axis == "none" else "rgb"
        if size is None:
            if None in fixed:
                raise ParameterError(
                    f"'{path}' takes pictures of any size (its input is "
                    f"{_shown(network.input.shape)}), and one is needed; say which "
                    "(--image-size 224, size=224)",
                    parameter="size",
                )
            size = [side for side in fixed if side is not None]
        how = Preprocessing.of(
            size,
            crop=crop,
            colors=colors,
            scale=scale,
            mean=mean,
            deviation=deviation,
            channels=axis,
        )
        wanted = network.input.shape[1:]
        if any(w not in (None, g) for w, g in zip(wanted, how.input_shape, strict=True)):
            raise ParameterError(
                f"'{path}' takes pictures of shape {_shown(wanted)}, and {how.input_shape} would "
                "be given; leave out size, colors and channels (--image-size, --colors, "
                "--channels), or give those of the graph"
            )
        if mean is None or deviation is None:
            warn(
                f"'{path}': no graph tells how its pictures are prepared; chosen are "
                f"{how.words()}; --colors, --scale, --mean, --deviation and --crop choose others",
                kind="preprocessing_chosen",
                stacklevel=2,
                **how.facts(),
            )
        return cls._made(
            network,
            how,
            kind="onnx",
            network_sha256=sha256(data).hexdigest(),
            output=network.output,
            unit_length=unit_length,
        )

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        *,
        size: int | Sequence[int],
        crop: float | None = None,
        colors: Colors = "rgb",
        scale: float = PIXEL_SCALE,
        mean: Numbers | None = None,
        deviation: Numbers | None = None,
        channels: Channels = "first",
        unit_length: bool = False,
    ) -> Self:
        """Take a torch module as encoder.

        Libraries keep its fingerprint and preprocessing, and not the module, as this would be code
        (and Narrows unpickles nothing): give it again to :meth:`narrows.Library.open`.

        Parameters
        ----------
        module : torch.nn.Module
            In evaluation mode; maps float32 pictures, by default (n, C, H, W), to codes (n, K).
        size, crop, colors, scale, mean, deviation, channels, unit_length
            As for :meth:`from_onnx`.

        Returns
        -------
        PictureEncoder

        Raises
        ------
        ParameterError
            If this is no module, is in training mode, or gives no codes.
        DataError
            If it fails with a blank picture, or gives what is not finite.

        Notes
        -----
        The fingerprint is of the module's class name and weights. Other code with the same weights
        is not noticed when a library is opened; :meth:`narrows.Library.verify` notices it.
        """
        if not isinstance(module, nn.Module):
            raise ParameterError(
                f"module is a {type(module).__name__}; give a torch.nn.Module, or the ONNX file of "
                "one (PictureEncoder.from_onnx)"
            )
        if module.training:
            raise ParameterError(
                "the module is in training mode, in which codes may depend on chance and on the "
                "other pictures; call its eval() first"
            )
        how = Preprocessing.of(
            size,
            crop=crop,
            colors=colors,
            scale=scale,
            mean=mean,
            deviation=deviation,
            channels=channels,
        )
        weights = {n: t for n, t in module.state_dict().items() if isinstance(t, Tensor)}
        digest = storage.fingerprint({"class": type(module).__name__}, {"module": weights})
        return cls._made(
            _TorchNetwork(module),
            how,
            kind="torch",
            network_sha256=digest,
            output=None,
            unit_length=unit_length,
        )

    @classmethod
    def _made(cls, network: _Network, how: Preprocessing, **facts: Any) -> Self:
        """Find the width of codes from a blank picture."""
        blank = np.full((network.at_once, *how.sample_shape), _BLANK, np.uint8)
        made = network(how(blank))
        if made.ndim < 2 or len(made) != len(blank) or made[0].size != made.shape[1]:
            raise ParameterError(
                f"the encoder gives the shape {made.shape} for {len(blank)} pictures, and (n, K) "
                "is allowed; choose an output of this shape (--output-name), or average over "
                "places before the export"
            )
        if made.dtype.kind != "f" or not 1 <= made.shape[1] <= _WIDEST:
            raise ParameterError(
                f"the encoder gives {made.shape[1]} numbers of type {made.dtype} for a picture; 1 "
                f"to {_WIDEST} floats are allowed; choose another output (--output-name)"
            )
        encoder = cls(network, how, **facts, n_components=made.shape[1])
        encoder.encode(blank[:1])
        return encoder

    @property
    def spec_(self) -> PictureSpec:
        """The description of rows and codes, under the name that it has in models."""
        return self.spec

    @property
    def takes_any_size_(self) -> bool:
        """Whether pictures of other sizes than ``sample_shape_`` can be encoded: False."""
        return False

    @property
    def n_components(self) -> int:
        """Numbers in one code, K."""
        return self.spec.code_width

    @property
    def crop(self) -> float | None:
        """The share of pictures that is read; see :class:`narrows.data.reading.Reading`."""
        return self.preprocessing_.crop

    @property
    def can_encode(self) -> bool:
        """Whether the network is at hand."""
        return self._network is not None

    def __repr__(self) -> str:
        return (
            f"PictureEncoder({self.kind_}, n_components={self.n_components}, "
            f"sample_shape={self.sample_shape_})"
        )

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode pictures.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), Tensor or path
            Pixels from 0 to 255, or a folder of pictures or any data of such rows.

        Returns
        -------
        ndarray of shape (n, K), float32
            The codes.

        Raises
        ------
        DataError
            If these are no such pixels, or a code is not finite; the message says of which picture,
            and so does the error's attribute ``row``.
        LibraryError
            If the network is not at hand.
        """
        with reading(crop=self.crop):
            return self.encode(check_rows(self, X))

    def encode(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Encode checked rows of pixels: (n, *sample_shape) to (n, K).

        Raises
        ------
        DataError, LibraryError
            As :meth:`transform`.
        """
        network = self._network
        if network is None:
            raise LibraryError(
                f"the codes were made by a torch module ({self.network_sha256_[:12]}), which "
                "libraries do not keep; give it in Python (Library.open(path, encoder="
                "PictureEncoder.from_module(...))), or look for pictures by their ids (--id)"
            )
        codes = np.empty((len(rows), self.n_components), np.float32)
        for start in range(0, len(rows), network.at_once):
            block = np.asarray(rows[start : start + network.at_once])
            _check_pixels(block, start)
            made = network(self.preprocessing_(block))
            if made.size != len(block) * self.n_components:
                raise DataError(
                    f"the encoder gave the shape {made.shape} for {len(block)} pictures, and codes "
                    f"of {self.n_components} numbers were expected; export it again"
                )
            self._finish(made.reshape(len(block), -1), codes[start : start + len(block)], start)
        return codes

    def _finish(self, made: NDArray[Any], codes: NDArray[np.float32], start: int) -> None:
        """Check codes, bring them to length 1 where asked, and write them to ``codes``."""
        finite = np.isfinite(made).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise DataError(
                f"the encoder gives NaN or infinity for picture {row}, counted from 0; check the "
                "preprocessing (--scale, --mean, --deviation), or leave this picture out",
                row=row,
            )
        codes[:] = made
        if self.unit_length_:
            length = np.linalg.norm(codes.astype(np.float64), axis=1, keepdims=True)
            codes /= np.where(length > 0, length, 1).astype(np.float32)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save the encoder to a folder; :func:`narrows.load` reads it.

        Of a torch module, its fingerprint and the preprocessing alone are saved.

        Parameters
        ----------
        path : str or Path
            The folder.
        overwrite : bool, default=False
            Whether an existing model is replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        OutputExistsError, OutputError
            If the folder exists, or cannot be written.
        """
        network = self._network
        files = {_FILE: network.data} if isinstance(network, OnnxNetwork) else None
        manifest = {
            "kind": "picture_encoder",
            "fingerprint": self.fingerprint_,
            "encoder": {**self._facts(), "n_components": self.n_components},
        }
        return storage.write(path, manifest, {}, overwrite=overwrite, files=files)

    @classmethod
    def restore(cls, manifest: Mapping[str, Any], path: str | Path) -> Self:
        """Build an encoder from its saved manifest and file.

        Raises
        ------
        FormatError
            If they do not belong together.
        MissingDependencyError
            If it is an ONNX file, and the extra ``narrows[onnx]`` is not installed.
        """
        network = None
        with storage.explain_damage("encoder", path):
            facts = manifest["encoder"]
            kind, digest, output = facts["network"], facts["sha256"], facts["output"]
            width, unit_length = facts["n_components"], facts["unit_length"]
            types = (type(width), type(unit_length), type(digest))
            if kind not in ("onnx", "torch") or types != (int, bool, str) or width < 1:
                raise ValueError(f"{kind!r}, {types} are not the facts of an encoder")
            how = Preprocessing.restore(facts["preprocessing"])
        if kind == "onnx":
            data = storage.read_file(Path(path), _entry(manifest, path))
            if sha256(data).hexdigest() != digest:
                raise FormatError(
                    f"the encoder in '{path}' is not the one that its manifest states "
                    f"({digest[:12]}); copy its folder again, whole"
                )
            network = OnnxNetwork(data, str(Path(path, _FILE)), output)
        encoder = cls(
            network,
            how,
            kind=kind,
            network_sha256=digest,
            output=output,
            unit_length=unit_length,
            n_components=width,
        )
        storage.check_fingerprint(encoder.fingerprint_, manifest, path)
        return encoder

    def describe(self) -> dict[str, Any]:
        """Return what it is, for JSON."""
        return {
            "model": type(self).__name__,
            "network": self.kind_,
            "network_sha256": self.network_sha256_,
            **({} if self.output_ is None else {"output": self.output_}),
            "n_components": self.n_components,
            "unit_length": self.unit_length_,
            "sample_shape": self.sample_shape_,
            "preprocessing": self.preprocessing_.facts(),
            "fingerprint": self.fingerprint_,
        }

    def _facts(self) -> dict[str, Any]:
        """Return what decides the codes."""
        return {
            "network": self.kind_,
            "sha256": self.network_sha256_,
            "output": self.output_,
            "unit_length": self.unit_length_,
            "preprocessing": self.preprocessing_.facts(),
        }


class _TorchNetwork:
    """A torch module that maps arrays to arrays."""

    at_once = 32

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @torch.inference_mode()
    def __call__(self, x: NDArray[np.float32]) -> NDArray[Any]:
        weight = next(self.module.parameters(), None)
        try:
            made = self.module(torch.from_numpy(x).to(None if weight is None else weight.device))
        except (RuntimeError, ValueError, TypeError) as error:
            why = " ".join(str(error).split())[:200]
            raise DataError(
                f"the module fails with pictures of shape {x.shape[1:]}: {why}; give another "
                "size, colors or channels"
            ) from error
        if not isinstance(made, Tensor):
            raise ParameterError(
                f"the module gives a {type(made).__name__}, and one tensor (n, K) is allowed; wrap "
                "it in a module that returns the codes alone"
            )
        values: NDArray[Any] = made.float().cpu().numpy()
        return values


def _entry(manifest: Mapping[str, Any], path: str | Path) -> Mapping[str, str]:
    entry = manifest.get("files", {}).get(_FILE)
    if entry is None:
        raise FormatError(f"'{path}' lacks its ONNX file; copy the model's folder again, whole")
    named: Mapping[str, str] = entry
    return named


def _layout(
    shape: tuple[int | None, ...], channels: Channels | None, colors: Colors | None, name: str
) -> tuple[Channels, tuple[int | None, ...], int | None]:
    """Return the axis of channels, the fixed height and width, and the fixed channels."""
    if len(shape) == 3:
        if channels not in (None, "none") or colors not in (None, "grey"):
            raise ParameterError(
                f"'{name}' takes {_shown(shape)}, grey pictures without an axis of channels; leave "
                "out channels and colors (--channels, --colors)"
            )
        return "none", shape[1:], 1
    if channels == "none":
        raise ParameterError(
            f"channels='none' is for inputs of 3 axes, and '{name}' takes {_shown(shape)}; use "
            "'first' or 'last'",
            parameter="channels",
        )
    first, last = (shape[axis] in (1, 3) for axis in (1, 3))
    axis = channels or ("last" if last and not first else "first")
    place = 1 if axis == "first" else 3
    if shape[place] not in (None, 1, 3):
        raise ParameterError(
            f"'{name}' takes {_shown(shape)}, which has {shape[place]} channels; grey pictures "
            "have 1 and colours 3; give a network of pictures, or say where the channels are "
            "(--channels first or last)"
        )
    fixed = (shape[2], shape[3]) if axis == "first" else (shape[1], shape[2])
    return axis, fixed, shape[place]


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"


def _check_pixels(rows: NDArray[Any], start: int) -> None:
    """Refuse rows that are no pixels from 0 to 255."""
    if rows.dtype == np.uint8 or not rows.size:
        return
    low, high = float(rows.min()), float(rows.max())
    if low < 0 or high > 255 or (rows.dtype.kind in "bf" and 0 < high <= 1):
        raise DataError(
            f"rows from {start} on, counted from 0, have values from {low:g} to {high:g}; pixels "
            "from 0 to 255 are allowed; bring them to these (255 * X)"
        )
