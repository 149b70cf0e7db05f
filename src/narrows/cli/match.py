"""``narrows match``."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    reading_options,
    reading_record,
    table,
)
from narrows.cli.exchange import read_for
from narrows.cli.reading import file_options, shared
from narrows.texts import as_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from narrows import Library
    from narrows.data.formats import FileOptions
    from narrows.library import Match

# What fits a sheet that can still be looked at.
_MOST_DRAWN, _MOST_COLUMNS = 24, 12


@click.command("match")
@click.argument("library", type=PATH, metavar="LIBRARY")
@click.argument("query", type=PATH, metavar="[QUERY]", required=False)
@click.option(
    "--id", "ids", type=int, multiple=True, help="Instead of QUERY: a picture that is in there."
)
@click.option(
    "--codes",
    type=PATH,
    metavar="FILE",
    help="Instead of QUERY: what `narrows encode` made of it with the library's model.",
)
@click.option("-k", default=5, show_default=True, help="How many to find for each query.")
@click.option(
    "--where",
    metavar="FILTER",
    help="Match only pictures that a filter of columns lets through: \"label = 'boot' AND "
    'year > 2010"; `narrows info LIBRARY` lists your columns, docs/filters.md what it may say.',
)
@metric_option
@click.option(
    "--search",
    type=click.Choice(["auto", "exact", "approximate"]),
    default="auto",
    show_default=True,
    help="Look at all codes, or at most of them not (needs narrows[faiss]); auto does so above a "
    "million.",
)
@click.option(
    "--rerank",
    type=click.Choice(["pixels", "ssim"]),
    help="Order the nearest candidates by the squared difference between pixels, or by 1 - SSIM.",
)
@click.option(
    "--rerank-on",
    type=click.Choice(["stored", "decoded"]),
    default="stored",
    show_default=True,
    help="The library's pictures that are then compared: as stored, or restored from their codes.",
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
@file_options
@reading_options
@overwrite_option
@json_option
def command(
    *,
    library: Path,
    query: Path | None,
    ids: tuple[int, ...],
    codes: Path | None,
    k: int,
    where: str | None,
    metric: Literal["euclidean", "cosine"],
    search: Literal["auto", "exact", "approximate"],
    rerank: Literal["pixels", "ssim"] | None,
    rerank_on: Literal["stored", "decoded"],
    n_candidates: int,
    save: Path | None,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Find the nearest pictures of a library.

    QUERY is a picture, a folder of them, or any other data that the library's model takes; each
    row is a query of its own. With --id, pictures of the library are looked for among the others;
    with --codes, the pictures that somebody has encoded already.
    """
    from narrows import Library
    from narrows.atomic import check_output
    from narrows.errors import ParameterError

    if [query is None, not ids, codes is None].count(False) != 1:
        raise ParameterError("give QUERY, --id or --codes, one of them")
    if save is not None:
        check_output(save, overwrite=overwrite, kind="file")
        if save.suffix.lower() != ".png":
            raise ParameterError(
                f"'{save}' does not end in .png, as a contact sheet does; name it so"
            )
    opened = Library.open(library)
    if save is not None:
        _check_decoder(opened)
    looked_for, given, record = _queries(
        opened, query, ids, codes, files, skip_unreadable=skip_unreadable, exclude=exclude
    )
    names = list(map(as_text, given))
    found = opened.match(
        **looked_for,
        k=k,
        where=where,
        metric=metric,
        search=search,
        rerank=rerank,
        rerank_on=rerank_on,
        n_candidates=n_candidates,
    )
    if save is not None:
        X = _pictures(opened, looked_for)
        title = "Nearest pictures by code"
        if rerank is not None:
            title += ", ordered by " + {"pixels": "pixels", "ssim": "SSIM"}[rerank]
        _draw(save, opened, X, names, found, title=title, overwrite=overwrite)
    if as_json:
        answer({**_record(names, found, save), **record}, as_json=True)
        return
    _show(names, found, list(opened.columns))
    if where is not None and not any(found):
        note("the filter lets no picture through")
    if save is not None:
        answer({}, False, f"contact sheet in {save}")


def _queries(
    library: "Library",
    query: Path | None,
    ids: tuple[int, ...],
    codes: Path | None,
    files: "FileOptions",
    *,
    skip_unreadable: bool,
    exclude: tuple[str, ...],
) -> tuple[dict[str, Any], Sequence[str], dict[str, Any]]:
    """Return what is looked for, as it is given to a library, its names, and what was left out."""
    from narrows.data.files import read
    from narrows.errors import ParameterError

    own, of_codes = shared(files, [query, codes])
    if query is not None:
        rows = read_for(
            library.model,
            query,
            skip_unreadable=skip_unreadable,
            exclude=exclude,
            files=own,
            resizing="quiet",  # as all pictures of the library are
        )
        return {"query": rows.in_units(library.model)}, rows.names, reading_record(rows)
    if exclude:
        raise ParameterError("--exclude leaves files out of a folder QUERY; leave it away")
    nothing: dict[str, Any] = {"skipped": []}
    if codes is not None:
        made = read(codes, options=of_codes)
        return {"codes": made.values}, made.names, nothing
    return {"ids": ids}, [f"id {number}" for number in ids], nothing


def _pictures(library: "Library", looked_for: dict[str, Any]) -> "NDArray[np.generic]":
    """Return the pictures of what is looked for; of codes, those that the decoder restores."""
    if "ids" in looked_for:
        return library.read(looked_for["ids"])
    if "codes" in looked_for:
        model: Any = library.model
        restored: NDArray[np.generic] = model.inverse_transform(looked_for["codes"])
        return restored
    pictures: NDArray[np.generic] = looked_for["query"]
    return pictures


def _show(names: Sequence[str], found: "list[list[Match]]", columns: list[str]) -> None:
    one = len(names) == 1
    table(
        [*([] if one else ["query"]), "distance", "id", "path", *columns],
        [
            [
                *([] if one else [name]),
                f"{match.distance:.6g}",
                match.id,
                match.path,
                *("-" if value is None else value for value in match.metadata.values()),
            ]
            for name, matches in zip(names, found, strict=True)
            for match in matches
        ],
    )


def _record(
    names: Sequence[str],
    found: "list[list[Match]]",
    save: Path | None,
) -> dict[str, Any]:
    queries = [
        {
            "query": name,
            "matches": [
                {
                    "id": match.id,
                    "distance": match.distance,
                    "path": match.path,
                    "metadata": match.metadata,
                }
                for match in matches
            ],
        }
        for name, matches in zip(names, found, strict=True)
    ]
    return {"queries": queries, "contact_sheet": save}


def _draw(
    path: Path,
    library: "Library",
    X: "NDArray[np.generic]",
    names: Sequence[str],
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
    away: dict[int, str] = {}
    shown = [
        [_drawable(match, model.scaling_, away) for match in matches[:_MOST_COLUMNS]]
        for matches in found
    ]
    if away:
        more = f" (and {len(away) - 1} more)" if len(away) > 1 else ""
        note(f"the contact sheet shows {next(iter(away.values()))}{more}")
    figure = contact_sheet(
        X,
        model.reconstruct(X),
        shown,
        names=names,
        limits=(model.scaling_.low, model.scaling_.high),
        title=title,
    )
    with atomic_file(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format="png")


@dataclass(frozen=True)
class _StandIn:
    """A match whose file is away, to be drawn by its thumbnail."""

    distance: float
    path: str
    picture: "NDArray[Any]"
    decoded: "NDArray[Any]"


def _drawable(match: "Match", scaling: Any, away: dict[int, str]) -> "Match | _StandIn":
    """Return a match that can be drawn; what is shown instead of its picture goes into ``away``."""
    import numpy as np

    from narrows.errors import MissingFileError, NarrowsError, UnreadableFileError

    try:
        match.picture  # noqa: B018  it is read here, once
    except (MissingFileError, UnreadableFileError) as error:
        try:
            picture, what = scaling.from_pixels(match.thumbnail), "the thumbnail"
        except NarrowsError:
            picture, what = scaling.from_pixels(np.full((1, 1), 255, np.uint8)), "a blank instead"
        away[match.id] = f"{what} of picture {match.id}: {error}"
        return _StandIn(match.distance, match.path, picture, match.decoded)
    return match


def _check_decoder(library: "Library") -> None:
    from narrows import Encoder
    from narrows.errors import LibraryError

    if isinstance(library.model, Encoder):
        raise LibraryError(
            f"'{library.path}' was built with an encoder alone, so a contact sheet has nothing to "
            "show from the codes; build it with the whole model, or leave --save out"
        )
