"""What requests may say in their addresses: one table, which reads it and documents it."""

from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import QueryParams

from narrows.errors import ParameterError

CORRUPTIONS = ("none", "gaussian", "masking", "salt_and_pepper")


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes
    ----------
    kind : {"integer", "number", "string", "integers"}
        What it is.
    about : str
        One sentence.
    default : object
        What it is where nothing is said.
    low, high : float, optional
        Of numbers.
    choices : tuple of str
        Of texts; empty for any.
    """

    kind: Literal["integer", "number", "string", "integers"]
    about: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The parameter in the words of JSON Schema."""
        if self.kind == "integers":
            # Written 1,2,3.
            item = {"type": "integer", "minimum": 0, "maximum": self.high}
            return {"type": "array", "items": item, "minItems": 1, "maxItems": 500}
        schema: dict[str, Any] = {"type": self.kind}
        if self.default is not None:
            schema["default"] = self.default
        if self.low is not None:
            schema |= {"minimum": self.low, "maximum": self.high}
        if self.choices:
            schema["enum"] = list(self.choices)
        return schema

    def read(self, name: str, word: str) -> Any:
        """Turn what was said into a value; ParameterError if it is not allowed."""
        try:
            if self.kind == "integers":
                numbers = [int(one) for one in word.split(",")]
                if all(0 <= n <= (self.high or 0) for n in numbers) and len(numbers) <= 500:
                    return numbers
            elif self.kind == "string":
                if not self.choices or word in self.choices:
                    return word
            else:
                value = int(word) if self.kind == "integer" else float(word)
                if (self.low or 0) <= value <= (self.high or 0):
                    return value
        except ValueError:
            pass
        raise ParameterError(f"{name}={word[:40]!r} is not allowed; use {self._allowed()}")

    def _allowed(self) -> str:
        if self.kind == "integers":
            return "up to 500 ids with commas between"
        if self.kind == "string":
            return f"one of {', '.join(self.choices)}"
        kind = "an integer" if self.kind == "integer" else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"


_LARGEST = 2**31 - 1
PARAMETERS = {
    "id": Parameter("integer", "A picture of the library, instead of a file.", None, 0, _LARGEST),
    "ids": Parameter("integers", "Pictures of the library, in this order.", None, 0, _LARGEST),
    "k": Parameter("integer", "How many matches.", 12, 1, 100),
    "metric": Parameter(
        "string", "The distance between codes.", "euclidean", choices=("euclidean", "cosine")
    ),
    "where": Parameter("string", "A filter of columns, such as label = 'boot' AND year > 2010."),
    "rerank": Parameter(
        "string",
        "What puts the nearest candidates in order.",
        "none",
        choices=("none", "pixels", "ssim"),
    ),
    "n_candidates": Parameter("integer", "How many are put in order.", 100, 1, 1000),
    "limit": Parameter("integer", "How many pictures.", 60, 1, 500),
    "offset": Parameter("integer", "How many to pass over.", 0, 0, _LARGEST),
    "corruption": Parameter(
        "string", "The damage that is done first.", "none", choices=CORRUPTIONS
    ),
    "amount": Parameter("number", "How much of it.", 0.3, 0, 1),
    "seed": Parameter("integer", "Seed of all random numbers.", 0, 0, _LARGEST),
    "color": Parameter("string", "A column, 'error' or 'none'.", "none"),
}


def read_query(query: QueryParams, *names: str) -> dict[str, Any]:
    """Read the parameters of these names; what else is said is refused.

    Raises
    ------
    ParameterError
        Naming the first that is not known or not allowed.
    """
    for name in query:
        if name not in (*names, "token"):
            known = ", ".join(names) or "none"
            raise ParameterError(f"{name[:40]!r} is no parameter here; known are: {known}")
    return {
        name: PARAMETERS[name].read(name, query[name])
        if name in query
        else PARAMETERS[name].default
        for name in names
    }
