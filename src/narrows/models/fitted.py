"""What models and classifiers have in common once they have learned."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils import Tags

from narrows import storage
from narrows.errors import NotFittedError
from narrows.models.display import learned_html
from narrows.training.history import History


class Fitted(
    BaseEstimator,  # type: ignore[misc]  # untyped
    ABC,
):
    """An estimator that takes pictures too, and says so itself where it has learned nothing."""

    history_: History

    @abstractmethod
    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there is something learned."""

    @abstractmethod
    def _stored(self) -> tuple[dict[str, Any], storage.Parts]:
        """Return what is kept: a manifest, and tensors."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write all that was learned to a folder; :func:`narrows.load` reads it.

        Parameters
        ----------
        path : str or Path
            The folder, of safetensors and JSON. A crash leaves what was there, or the whole.
            ``history.csv`` in it says how training went, of a stack's layers
            ``history-layer-1.csv`` and so on; loading does without them.
        overwrite : bool, default=False
            Whether a model that is there already is replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        NotFittedError
            If there is nothing learned yet.
        ParameterError
            If the labels of a classifier are neither numbers nor texts.
        OutputExistsError, OutputError
            If the folder is there already, or cannot be written.
        """
        self._check_fitted()
        return storage.write(
            path, *self._stored(), overwrite=overwrite, notes=self.history_.files()
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _check_fitted(self) -> None:
        """Refuse to be used before there is something learned.

        Raises
        ------
        NotFittedError
            If there is nothing yet.
        """
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet: it has learned nothing; "
                "call fit first, or load one"
            )

    def _repr_html_inner(self) -> str:
        """Return scikit-learn's diagram, and below it what was learned."""
        diagram: str = super()._repr_html_inner()
        return diagram + learned_html(self) if self.__sklearn_is_fitted__() else diagram

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._repr_html_inner()
        return bundle
