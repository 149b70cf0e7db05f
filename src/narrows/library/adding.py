"""From what users give to rows of the table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from narrows.data.images import Progress
from narrows.errors import ParameterError
from narrows.library.pictures import GivenFiles, GivenRows
from narrows.library.table import Batch
from narrows.models import Encoder


@dataclass(frozen=True)
class Added:
    """What :meth:`narrows.Library.add` did.

    Attributes
    ----------
    count : int
        How many pictures were added.
    skipped : list of (str, str)
        Files that could not be read and were left out, each with the reason.
    """

    count: int
    skipped: list[tuple[str, str]]


def encode(
    encoder: Encoder,
    given: GivenFiles | GivenRows,
    names: Sequence[str] | None,
    skipped: list[tuple[str, str]] | None,
    progress: Progress | None,
) -> Iterator[Batch]:
    """Check the names now; read and encode the pictures part by part, as they are asked for.

    Parameters
    ----------
    encoder : Encoder
        Makes the codes.
    given : GivenFiles or GivenRows
        The pictures.
    names : sequence of str, or None
        One for each; None takes the files' own.
    skipped : list, or None
        Takes the files that cannot be read, each with the reason; None refuses them.
    progress : callable, optional
        Called with the number of pictures done and the number of all.

    Returns
    -------
    iterator of Batch

    Raises
    ------
    ParameterError
        If there are not as many names as pictures, or they are not strings.
    """
    paths = given.names if names is None else _check_names(names, len(given))

    def batches() -> Iterator[Batch]:
        for part in given.parts(skipped):
            own = None if paths is None else [paths[number] for number in part.numbers]
            yield Batch(own, part.contents, encoder.transform(part.rows))
            if progress is not None:
                progress(part.numbers[-1] + 1, len(given))

    return batches()


def _check_names(names: Sequence[str], count: int) -> list[str]:
    names = list(names)
    if len(names) != count:
        raise ParameterError(f"names has {len(names)} names for {count} pictures; give one each")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ParameterError(f"names holds {wrong[0]!r}, which is no text; give strings")
    return names
