"""Torch modules that know nothing of training: two halves, and the architectures to build them.

An architecture is a record, :class:`Architecture`; one line below makes it known, and an entry
point in the group "narrows.architectures" one of another package.
"""

from narrows.networks.activations import ACTIVATIONS, OUTPUTS, Selection, is_pointwise
from narrows.networks.convolutional import CONVOLUTIONAL, CONVOLUTIONAL_1D, FULLY_CONVOLUTIONAL
from narrows.networks.dense import DENSE, NORMALIZATIONS
from narrows.networks.network import (
    ARCHITECTURES,
    BUILT_IN,
    METRICS,
    STRUCTURE,
    Architecture,
    Axes,
    Body,
    Decoder,
    Encoder,
    Layer,
    Metric,
    Network,
    NetworkSpec,
    Start,
    Trace,
    build,
    build_decoder,
    build_encoder,
    check,
    decoder_at,
    drawing_of,
    join,
    size,
    with_weights,
)
from narrows.networks.pca_residual import PCA_RESIDUAL
from narrows.networks.restoring import RESTORING, RESTORING_1D

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "BUILT_IN",
    "METRICS",
    "NORMALIZATIONS",
    "OUTPUTS",
    "STRUCTURE",
    "Architecture",
    "Axes",
    "Body",
    "Decoder",
    "Encoder",
    "Layer",
    "Metric",
    "Network",
    "NetworkSpec",
    "Selection",
    "Start",
    "Trace",
    "build",
    "build_decoder",
    "build_encoder",
    "check",
    "decoder_at",
    "drawing_of",
    "is_pointwise",
    "join",
    "size",
    "with_weights",
]

BUILT_IN.update(
    dense=DENSE,
    pca_residual=PCA_RESIDUAL,
    convolutional=CONVOLUTIONAL,
    convolutional_1d=CONVOLUTIONAL_1D,
    fully_convolutional=FULLY_CONVOLUTIONAL,
    restoring=RESTORING,
    restoring_1d=RESTORING_1D,
)
