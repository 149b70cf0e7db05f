"""Halves of models as ONNX files, for other programs and for encoding by ONNX Runtime.

This needs the extra ``narrows[onnx]``. The graphs include the scaling: inputs and outputs are in
the data's units.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from narrows.atomic import atomic_file, check_output
from narrows.data.arrays import as_rows
from narrows.errors import MissingDependencyError, ParameterError
from narrows.models import BaseAutoencoder, Decoder, Encoder
from narrows.models.encoder_decoder import check_made
from narrows.models.validation import check_number, check_rows

__all__ = ["OnnxEncoder", "export"]

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
# Rows at a time, so that what ONNX Runtime's convolutions keep fits the cache.
_BLOCK = 128


def export(half: Encoder | Decoder, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write an encoder or a decoder as an ONNX file, which other programs run.

    Parameters
    ----------
    half : Encoder or Decoder
        A half from ``model.split()`` or :func:`narrows.load`.
    path : str or Path
        The file, ending in .onnx.
    overwrite : bool, default=False
        Whether a file that already exists is replaced.

    Returns
    -------
    Path
        The file. Its input is called "rows" and its output "codes", or the other way round; both
        are float32, in the data's units, (n, ...) for any n.

    Raises
    ------
    MissingDependencyError
        If the extra ``narrows[onnx]`` is not installed.
    ParameterError
        If it is a whole model, or the path does not end in .onnx.
    OutputExistsError, OutputError
        If the file already exists, or cannot be written.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from narrows import Autoencoder
    >>> from narrows.onnx import export
    >>> X = np.random.default_rng(0).random((100, 8), dtype=np.float32)
    >>> encoder, decoder = Autoencoder(2, max_epochs=2, random_state=0).fit(X).split()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(encoder, f"{folder}/encoder.onnx").name
    'encoder.onnx'
    """
    if not isinstance(half, Encoder | Decoder):
        raise ParameterError(
            f"a {type(half).__name__} was given; give one half, of model.split() or of a folder "
            "that 'narrows split' wrote"
        )
    if Path(path).suffix.lower() != ".onnx":
        raise ParameterError(f"'{path}' does not end in .onnx; name a file that does")
    path = check_output(path, overwrite=overwrite)
    data = _serialise(half, half.sample_shape_)
    with atomic_file(path, overwrite=overwrite) as file:
        file.write_bytes(data)
    return path


class OnnxEncoder:
    """An encoder that is run by ONNX Runtime.

    Parameters
    ----------
    encoder : Encoder or BaseAutoencoder
        A model, or its encoder.
    n_threads : int, optional
        The number of threads; by default that of the processors.

    Raises
    ------
    MissingDependencyError
        If the extra ``narrows[onnx]`` is not installed.
    ParameterError
        If ``n_threads`` is not a whole number of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder
    >>> from narrows.onnx import OnnxEncoder
    >>> X = np.random.default_rng(0).random((100, 8), dtype=np.float32)
    >>> model = Autoencoder(2, max_epochs=2, random_state=0).fit(X)
    >>> bool(np.allclose(OnnxEncoder(model).transform(X), model.transform(X), atol=1e-5))
    True
    """

    def __init__(self, encoder: Encoder | BaseAutoencoder, n_threads: int | None = None) -> None:
        self.encoder = encoder.split()[0] if isinstance(encoder, BaseAutoencoder) else encoder
        if not isinstance(self.encoder, Encoder):
            raise ParameterError(
                f"a {type(self.encoder).__name__} was given; give a model of Narrows, or its "
                "encoder (a PictureEncoder from an ONNX file is run by ONNX Runtime as it is)"
            )
        if n_threads is not None:
            check_number("n_threads", n_threads, low=1, integral=True)
        self._n_threads = n_threads or 0
        # One session for each shape of rows; there are several only where codes are maps.
        self._sessions: dict[tuple[int, ...], Any] = {}
        self._session(self.encoder.sample_shape_)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode rows; see :meth:`narrows.Encoder.transform`.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows in the units of the training data; they are rounded to single precision.

        Returns
        -------
        ndarray of shape (n, K), float32
            Their latent codes (embeddings).

        Raises
        ------
        DataError
            If the rows are not like those learned from, or not finite.
        """
        rows = check_rows(self.encoder, X)
        source, session = as_rows(rows), self._session(rows.shape[1:])
        width = self.encoder.spec.at(rows.shape[1:]).code_width
        codes = np.empty((len(rows), width), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = source[slice(start, start + _BLOCK)].float().numpy()
            (some,) = session.run(None, {"rows": block})
            check_made(torch.from_numpy(some), start, "row")
            codes[start : start + len(block)] = some
        return codes

    def _session(self, sample_shape: tuple[int, ...]) -> Any:
        if sample_shape not in self._sessions:
            data = _serialise(self.encoder, sample_shape)
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._n_threads
            # Spinning threads would take the processor from others.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._sessions[sample_shape] = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[sample_shape]


class _InUnits(nn.Module):
    """A half with the scaling around it, as plain arithmetic in single precision."""

    def __init__(self, half: Encoder | Decoder) -> None:
        super().__init__()
        self.module = half.module
        self.encodes = isinstance(half, Encoder)
        for name, tensor in half.scaling_.tensors().items():
            shape = half.sample_shape_ if tensor.ndim else ()
            self.register_buffer(name, tensor.float().view(shape))

    shift: Tensor
    scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (n, ...) to codes (n, K), or back."""
        if self.encodes:
            codes: Tensor = self.module((x - self.shift) / self.scale)
            return codes
        rows: Tensor = self.module(x) * self.scale + self.shift
        return rows


def _serialise(half: Encoder | Decoder, sample_shape: tuple[int, ...]) -> bytes:
    """Return a half, for rows of one shape, as the bytes of an ONNX file."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"ONNX needs {' and '.join(missing)}, which are not installed; run: "
            "pip install 'narrows[onnx]'"
        )
    encodes = isinstance(half, Encoder)
    shape = sample_shape if encodes else (half.n_components,)
    names = ("rows", "codes") if encodes else ("codes", "rows")
    with _quietly():
        program = torch.onnx.export(
            _InUnits(half).eval(),
            (torch.zeros(2, *shape),),
            dynamo=True,
            verbose=False,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )
    data: bytes = cast("torch.onnx.ONNXProgram", program).model_proto.SerializeToString()
    return data


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the exporter's messages and warnings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
