"""``narrows match``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    metric_option,
    note,
    overwrite_option,
    skip_option,
    table,
)
from narrows.cli.exchange import in_units, read_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from narrows import Library
    from narrows.library import Match

# What fits a sheet that can still be looked at.
_MOST_DRAWN, _MOST_COLUMNS = 24, 12


@click.command("match")
@click.argument("library", type=PATH, metavar="LIBRARY")
@click.argument("query", type=PATH, metavar="QUERY")
@click.option("-k", default=5, show_default=True, help="How many to find for each query.")
@metric_option
@click.option(
    "--rerank",
    type=click.Choice(["pixels"]),
    help="Order the nearest candidates by the distance between pixels.",
)
@click.option(
    "--n-candidates",
    default=100,
    show_default=True,
    help="How many nearest codes are ordered again.",
)
@click.option(
    "--save",
    type=PATH,
    metavar="PNG",
    help="Also draw a contact sheet of queries and matches.",
)
@skip_option
@overwrite_option
@json_option
def command(
    *,
    library: Path,
    query: Path,
    k: int,
    metric: Literal["euclidean", "cosine"],
    rerank: Literal["pixels"] | None,
    n_candidates: int,
    save: Path | None,
    skip_unreadable: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Find the nearest pictures of a library.

    QUERY is a picture, a folder of them, or any other data that the library's model takes; each
    row is a query of its own.
    """
    from narrows import Library
    from narrows.atomic import check_output
    from narrows.errors import ParameterError

    if save is not None:
        check_output(save, overwrite=overwrite, kind="file")
        if save.suffix.lower() != ".png":
            raise ParameterError(
                f"'{save}' does not end in .png, as a contact sheet does; name it so"
            )
    opened = Library.open(library)
    if save is not None:
        _check_decoder(opened)
    rows = read_for(opened.model, query, skip_unreadable=skip_unreadable)
    X = in_units(rows, opened.model)
    found = opened.match(X, k, metric=metric, rerank=rerank, n_candidates=n_candidates)
    if save is not None:
        title = "Nearest pictures by code" + (", ordered by pixels" if rerank else "")
        _draw(save, opened, X, rows.names, found, title=title, overwrite=overwrite)
    if as_json:
        answer(_record(rows.names, found, rows.skipped, save), as_json=True)
        return
    one = len(rows.names) == 1
    table(
        ["distance", "path"] if one else ["query", "distance", "path"],
        [
            [f"{match.distance:.6g}", match.path]
            if one
            else [name, f"{match.distance:.6g}", match.path]
            for name, matches in zip(rows.names, found, strict=True)
            for match in matches
        ],
    )
    if save is not None:
        answer({}, False, f"contact sheet in {save}")


def _record(
    names: list[str],
    found: "list[list[Match]]",
    skipped: list[tuple[str, str]],
    save: Path | None,
) -> dict[str, Any]:
    queries = [
        {
            "query": name,
            "matches": [
                {"id": match.id, "distance": match.distance, "path": match.path}
                for match in matches
            ],
        }
        for name, matches in zip(names, found, strict=True)
    ]
    return {
        "queries": queries,
        "contact_sheet": save,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
    }


def _draw(
    path: Path,
    library: "Library",
    X: "NDArray[np.generic]",
    names: list[str],
    found: "list[list[Match]]",
    *,
    title: str,
    overwrite: bool,
) -> None:
    from narrows.atomic import atomic_file
    from narrows.evaluation import contact_sheet

    if len(X) > _MOST_DRAWN:
        note(f"the contact sheet shows the first {_MOST_DRAWN} of {len(X)} queries")
        X, names, found = X[:_MOST_DRAWN], names[:_MOST_DRAWN], found[:_MOST_DRAWN]
    model: Any = library.model
    figure = contact_sheet(
        X,
        model.reconstruct(X),
        [matches[:_MOST_COLUMNS] for matches in found],
        names=names,
        limits=(model.scaling_.low, model.scaling_.high),
        title=title,
    )
    with atomic_file(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format="png")


def _check_decoder(library: "Library") -> None:
    from narrows import Encoder
    from narrows.errors import LibraryError

    if isinstance(library.model, Encoder):
        raise LibraryError(
            f"'{library.path}' was built with an encoder alone, so a contact sheet has nothing to "
            "show from the codes; build it with the whole model, or leave --save out"
        )
