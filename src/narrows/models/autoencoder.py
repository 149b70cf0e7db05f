"""The plain autoencoder: min over f, g of the sum of L(x, g(f(x))).

Rumelhart, Hinton & Williams (1986), "Learning internal representations by error propagation";
Baldi & Hornik (1989): with linear halves and squared error it spans the PCA subspace.
"""

from dataclasses import dataclass

from narrows.models.base import BaseAutoencoder


@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(BaseAutoencoder):
    """A network that copies its input through a code narrower than the input.

    With ``hidden_layer_sizes=()`` it is the classic of three layers: input, code, output. With
    ``activation="identity"`` as well it is linear, and finds the subspace that PCA finds.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    Examples
    --------
    >>> from narrows import Autoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> model = Autoencoder(n_components=8, max_epochs=5, random_state=0).fit(digits.X_train)
    >>> codes = model.transform(digits.X_test)
    >>> codes.shape, model.inverse_transform(codes).shape
    ((360, 8), (360, 8, 8))
    """
