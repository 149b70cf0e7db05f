"""Networks in ONNX files, run by ONNX Runtime.

A file may come from a stranger. It is data: nothing of it is run but the operators that ONNX
Runtime brings. Operators of other libraries, and weights in files beside it, are refused before
ONNX Runtime sees it.
"""

from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from narrows.containment import IrregularFileError, read_regular
from narrows.errors import DataError, MissingDependencyError, MissingFileError, ParameterError
from narrows.errors import UnreadableFileError as Unreadable
from narrows.texts import listed

LARGEST = 2**31 - 1
"""Most bytes of an ONNX file; protocol buffers hold no more."""

_NEEDED = ("onnx", "onnxruntime")
# Operators that ONNX Runtime brings.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_SHOWN = 6  # names in a message
_AT_ONCE = 32  # pictures, where the graph takes any number


class Input(NamedTuple):
    """The input of a graph: its name and shape, with None for lengths that are not fixed."""

    name: str
    shape: tuple[int | None, ...]


class OnnxNetwork:
    """A checked ONNX graph of one input and one chosen output.

    Parameters
    ----------
    data : bytes
        The contents of the file.
    name : str
        Its name in messages.
    output : str, optional
        The output that gives the codes; it may be left out where there is one only.

    Attributes
    ----------
    input : Input
        The input.
    output : str
        The output.

    Raises
    ------
    MissingDependencyError
        If the extra ``narrows[onnx]`` is not installed.
    UnreadableFileError
        If this is no ONNX file, refers to other files, or uses operators of other libraries.
    ParameterError
        If it has several inputs, one that is no float32 or no batch of pictures, or several
        outputs of which none is chosen.
    """

    def __init__(self, data: bytes, name: str, output: str | None = None) -> None:
        missing = [package for package in _NEEDED if find_spec(package) is None]
        if missing:
            raise MissingDependencyError(
                f"encoders in ONNX files need {' and '.join(missing)}, which are not installed; "
                "run: pip install 'narrows[onnx]'"
            )
        self.data, self.name = data, name
        self._session: Any = None
        graph = _parse(data, name).graph
        known = {tensor.name for tensor in graph.initializer}
        self.input = _input_of([value for value in graph.input if value.name not in known], name)
        self.output = _choose([value.name for value in graph.output], output, name)

    def __getstate__(self) -> dict[str, Any]:
        # Sessions stay in their process; another one makes its own.
        return {**self.__dict__, "_session": None}

    @property
    def at_once(self) -> int:
        """How many pictures are encoded together."""
        return self.input.shape[0] or _AT_ONCE

    def __call__(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Run the graph on at most :attr:`at_once` pictures.

        Raises
        ------
        DataError
            If ONNX Runtime cannot run it; the message has its reason.
        """
        count, fixed = len(x), self.input.shape[0]
        if fixed and count < fixed:
            x = np.concatenate([x, np.repeat(x[-1:], fixed - count, axis=0)])
        try:
            self._session = self._session or self._open()
            (made,) = self._session.run([self.output], {self.input.name: x})
        except _failures() as error:
            why = " ".join(str(error).split())[:200]
            raise DataError(
                f"ONNX Runtime cannot run '{self.name}' on pictures of shape {x.shape[1:]}: {why}; "
                "give another size (--image-size), or export the network again"
            ) from error
        # Outputs may be lists or maps.
        values = np.asarray(made) if isinstance(made, np.ndarray) else np.empty(0)
        return values[:count] if fixed and len(values) == fixed else values

    def _open(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Spinning threads would take the processor from others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(self.data, options, providers=["CPUExecutionProvider"])


def read_onnx(path: str | Path) -> bytes:
    """Read an ONNX file.

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there is none, or it is no regular file of at most 2 GiB.
    """
    try:
        return read_regular(path, LARGEST, follow=True)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"there is no encoder '{path}'; name the ONNX file", path=path
        ) from error
    except (IrregularFileError, OSError) as error:
        raise Unreadable(
            f"'{path}' cannot be read ({error.strerror or error}); name an ONNX file of at most "
            "2 GiB",
            path=path,
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    """Return the errors that ONNX Runtime raises, which have no class of their own above them."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (kind for kind in vars(state).values() if isinstance(kind, type))
    return (*(kind for kind in own if issubclass(kind, Exception)), RuntimeError, ValueError)


def _parse(data: bytes, name: str) -> Any:
    """Parse a file; refuse what is no graph, or would reach beyond it."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise _no_graph(name, str(error)) from error
    if not model.graph.node or not model.graph.output or not model.ir_version:
        raise _no_graph(name, "it holds no graph")
    own = {function.domain for function in model.functions}
    unknown: Counter[str] = Counter()
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
                raise Unreadable(
                    f"'{name}' keeps the weights {message.name[:80]!r} in another file, which is "
                    "not read; save all in one file (onnx.save(model, path), "
                    "torch.onnx.export(..., external_data=False))"
                )
        elif message.domain not in (*_DOMAINS, *own):
            unknown[f"{message.domain}.{message.op_type}"] += 1
    if unknown:
        raise Unreadable(
            f"'{name}' uses operators of other libraries ({listed(unknown, _SHOWN)}), which are "
            "not loaded; those of ONNX and ONNX Runtime are; export it with these"
        )
    return model


def _no_graph(name: str, why: str) -> Unreadable:
    return Unreadable(
        f"'{name}' is no ONNX file ({' '.join(why.split())[:120]}); give a file that torch.onnx."
        "export or another exporter wrote, or a model's folder in place of --encoder"
    )


def _messages(message: Any) -> Iterator[Any]:
    """Yield all tensors and nodes within a message, those of subgraphs and functions too."""
    import onnx

    waiting = [message]
    while waiting:
        one = waiting.pop()
        if isinstance(one, onnx.TensorProto | onnx.NodeProto):
            yield one
        for field, value in one.ListFields():
            if field.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else list(value)


def _input_of(inputs: list[Any], name: str) -> Input:
    import onnx

    if len(inputs) != 1:
        names = listed((repr(value.name) for value in inputs), _SHOWN) or "none"
        raise ParameterError(
            f"'{name}' has {len(inputs)} inputs ({names}), and one, of pictures, is allowed; "
            "export a network of one input"
        )
    (value,) = inputs
    kind = value.type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        known = onnx.TensorProto.DataType.items()
        word = next((word for word, number in known if number == kind.elem_type), "no tensor")
        raise ParameterError(
            f"the input {value.name!r} of '{name}' is {word.lower()}, and float32 is allowed; "
            "export the network with an input of float32"
        )
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in kind.shape.dim
    )
    if len(shape) not in (3, 4):
        raise ParameterError(
            f"the input {value.name!r} of '{name}' has {len(shape)} axes, and pictures have 4, "
            "(n, C, H, W) or (n, H, W, C), or in grey 3, (n, H, W); export the network so"
        )
    return Input(value.name, shape)


def _choose(outputs: list[str], chosen: str | None, name: str) -> str:
    if chosen is None and len(outputs) == 1:
        return outputs[0]
    names = listed(map(repr, outputs), _SHOWN)
    if chosen is None:
        raise ParameterError(
            f"'{name}' has {len(outputs)} outputs ({names}), of which one gives the codes; say "
            f"which (--output-name {outputs[0]}, output={outputs[0]!r})"
        )
    if chosen not in outputs:
        raise ParameterError(
            f"output={chosen!r} is none of the outputs of '{name}' ({names}); name one of them",
            parameter="output",
        )
    return chosen
