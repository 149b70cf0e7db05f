"""Small ONNX graphs, made node by node, and the same network in torch."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SEED = 20261201
SIDE, WIDTH = 16, 5
WEIGHTS = np.random.default_rng(SEED).normal(size=(WIDTH, 3, 3, 3)).astype(np.float32)
PIXELS = {"mean": 0, "deviation": 1}


def graph(
    shape=("n", 3, SIDE, SIDE),
    *,
    nodes=(),
    outputs=("codes",),
    inputs=("pictures",),
    kind=TensorProto.FLOAT,
    weights=WEIGHTS,
    opsets=(("", 17),),
):
    """Return a model: a convolution, ReLU, the mean over places, and further nodes."""
    first = [
        helper.make_node("Conv", ["pictures", "w"], ["maps"], strides=[2, 2]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["means"]),
        helper.make_node("Flatten", ["means"], ["codes"]),
    ]
    made = helper.make_graph(
        [*first, *nodes],
        "encoder",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(weights, "w")],
    )
    imports = [helper.make_opsetid(*opset) for opset in opsets]
    return helper.make_model(made, opset_imports=imports, ir_version=8)


def save(path, *given, **options):
    """Write a graph to a file, and return its path."""
    onnx.save(graph(*given, **options), path)
    return path


def module():
    """Return the same network as a torch module."""
    convolution = nn.Conv2d(3, WIDTH, 3, stride=2, bias=False)
    convolution.weight.data = torch.from_numpy(WEIGHTS)
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(convolution, nn.ReLU(), pool, nn.Flatten()).eval()


def expected(rows, mean=0.0, deviation=1.0, scale=1 / 255):
    """Return the codes of pixels (n, SIDE, SIDE, 3), computed by torch in double precision."""
    x = (torch.from_numpy(np.asarray(rows, np.float64)) * scale - torch.tensor(mean)) / (
        torch.tensor(deviation)
    )
    with torch.no_grad():
        return module().double()(x.permute(0, 3, 1, 2)).numpy()
