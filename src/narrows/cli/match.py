"""``narrows match`` and ``duplicates``: searching a library."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from narrows.cli import options
from narrows.cli.console import answered, note, progress, table
from narrows.cli.contact_sheet import contact_sheet, decodes
from narrows.cli.exchange import options_by_file, read_for, reading_record
from narrows.texts import as_text, counted, guarded

if TYPE_CHECKING:
    from narrows import Library
    from narrows.library import Match
    from narrows.library.duplicates import Duplicates

_RERANKED = {"pixels": "pixels", "ssim": "SSIM"}
_SUFFIXES = (".csv", ".json", ".html")
_COLUMNS = ["group", "id", "distance", "path"]


@options.verb("match")
@options.library
@click.argument("query", type=options.PATH, metavar="[QUERY]", required=False)
@click.option(
    "--id", "ids", type=int, multiple=True, help="Instead of QUERY: a picture of the library."
)
@click.option(
    "--codes",
    type=options.PATH,
    metavar="FILE",
    help="Instead of QUERY: its codes by the library's model, which `narrows encode` writes.",
)
@click.option("-k", default=5, help="How many to find for each query.")
@click.option(
    "--where",
    metavar="FILTER",
    help="Match only pictures that a filter of columns lets through: \"label = 'boot' AND "
    'year > 2010"; `narrows info LIBRARY` lists your columns, docs/filters.md what it may say.',
)
@options.metric
@click.option(
    "--search",
    type=click.Choice(["auto", "exact", "approximate"]),
    default="auto",
    help="Compare with all codes, or with a small part of them (needs narrows[faiss]); auto does "
    "the latter above a million.",
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
    help="The library's pictures that are then compared: as stored, or restored from their codes.",
)
@click.option(
    "--n-candidates",
    default=100,
    help="How many nearest codes are ordered again.",
)
@click.option(
    "--save",
    type=options.PATH,
    metavar="PNG",
    help="Also draw a contact sheet of queries and matches.",
)
@options.reading
@options.overwrite
def match(
    *,
    library: Path,
    query: Path | None,
    ids: tuple[int, ...],
    codes: Path | None,
    rerank: Literal["pixels", "ssim"] | None,
    save: Path | None,
    reading: dict[str, Any],
    overwrite: bool,
    **how: Any,
) -> None:
    """Find the nearest pictures of a library.

    QUERY is a picture, a folder of them, or any other data that the library's model takes; each
    row is a query of its own. With --id, the nearest to pictures of the library are found among the
    others; with --codes, the nearest to pictures that have been encoded already.
    """
    from narrows import Library
    from narrows.atomic import atomic_file, check_output
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
    if save is not None and codes is not None and not decodes(opened):
        raise ParameterError(
            f"'{opened.path}' was built with an encoder alone, so codes show no picture; give "
            "QUERY or --id, or leave --save out"
        )
    queries, paths, record = _queries(opened, query, ids, codes, reading)
    names = list(map(as_text, paths))
    matched = opened.match(**queries, rerank=rerank, **how)
    found = cast("list[list[Match]]", matched)  # the queries of a command are a batch
    if save is not None:
        title = "Nearest pictures by code"
        if rerank is not None:
            title += f", ordered by {_RERANKED[rerank]}"
        figure = contact_sheet(opened, queries, query, names, found, title=title)
        with atomic_file(save, overwrite=overwrite) as temporary:
            figure.savefig(temporary, format="png")
    of_queries = [
        {"query": name, "matches": [_match_record(match) for match in matches]}
        for name, matches in zip(names, found, strict=True)
    ]
    record["metric"] = how["metric"] or opened.metric
    if answered({"queries": of_queries, "contact_sheet": save, **record}):
        return
    _show(names, found, list(opened.columns))
    if how["where"] is not None and not any(found):
        note("the filter lets no picture through")
    if save is not None:
        click.echo(f"contact sheet in {save}")


def _queries(
    library: "Library",
    query: Path | None,
    ids: tuple[int, ...],
    codes: Path | None,
    reading: dict[str, Any],
) -> tuple[dict[str, Any], Sequence[str], dict[str, Any]]:
    """Return the queries as a library takes them, their names, and the record of reading them."""
    from narrows.data.files import read
    from narrows.errors import ParameterError

    own, of_codes = options_by_file(reading, [query, codes])
    if query is not None:
        # All pictures of the library were brought to one size as well.
        rows = read_for(library.model, query, own, resizing="quiet")
        return {"query": rows.in_units(library.model)}, rows.names, reading_record(rows)
    if reading["exclude"]:
        raise ParameterError("--exclude leaves files out of a folder QUERY; leave it away")
    nothing: dict[str, Any] = {"skipped": []}
    if codes is not None:
        made = read(codes, options=of_codes["options"])
        return {"codes": made.values}, made.names, nothing
    return {"ids": ids}, [f"id {number}" for number in ids], nothing


def _match_record(match: "Match") -> dict[str, Any]:
    names = ("id", "distance", "path", "metadata")
    return {name: getattr(match, name) for name in names}


def _show(names: Sequence[str], found: "list[list[Match]]", columns: list[str]) -> None:
    is_one = len(names) == 1
    table(
        [*([] if is_one else ["query"]), "distance", "id", "path", *columns],
        [
            [
                *([] if is_one else [name]),
                f"{match.distance:.6g}",
                match.id,
                match.path,
                *("-" if value is None else value for value in match.metadata.values()),
            ]
            for name, matches in zip(names, found, strict=True)
            for match in matches
        ],
    )


@options.verb("duplicates")
@click.argument("pictures", type=options.PATH, metavar="FOLDER|LIBRARY")
@click.option(
    "--keep",
    type=click.Choice(["largest", "oldest", "newest", "shortest-path"]),
    help="Of a folder: which picture of a group to keep; of those as large, the least compressed.  "
    "[default: largest]",
)
@click.option(
    "--prefer",
    multiple=True,
    metavar="GLOB",
    help="Of a folder: pictures of such names are kept before others ('originals/*'); give it "
    "again for more, in the order of preference.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Of a folder: leave out files and folders of such names; give it again for more.",
)
@click.option(
    "--state",
    type=options.PATH,
    metavar="FILE",
    help="Of a folder: the file that keeps what is known of pictures, so that a scan goes on where "
    "it was stopped and looks only at what is new.  [default: copies.sqlite in the user's cache]",
)
@click.option("--no-state", is_flag=True, help="Of a folder: keep nothing between scans.")
@click.option(
    "--rotated/--no-rotated",
    default=None,
    help="Of a folder: whether to find copies rotated by quarters.  [default: rotated]",
)
@click.option(
    "--mirrored/--no-mirrored",
    default=None,
    help="Of a folder: whether to find mirrored copies.  [default: mirrored]",
)
@click.option(
    "--crops/--no-crops",
    default=None,
    help="Of a folder: whether to find copies that show a part of the other.  [default: crops]",
)
@click.option(
    "--move-to",
    type=options.PATH,
    metavar="PATH",
    help="Of a folder: move all pictures but the ones to keep to this folder, with a list "
    "(moved-1.jsonl) that puts them back.",
)
@click.option(
    "--undo",
    type=options.PATH,
    metavar="LIST",
    help="Of a folder: put back what was moved out of it, listed in LIST (moved-1.jsonl).",
)
@click.option(
    "--threshold",
    type=float,
    help="Of a library: the largest distance between duplicates' codes.  [default: suggested by "
    "the data]",
)
@click.option(
    "--metric",
    type=click.Choice(["euclidean", "cosine"]),
    help="Of a library: the distance between codes.  [default: the model's]",
)
@click.option(
    "-o",
    "--to",
    "--export",
    type=options.PATH,
    help="Write the groups into a file: .csv, .json, or .html to look at.",
)
@options.overwrite
@options.max_pixels
def duplicates(
    *,
    pictures: Path,
    threshold: float | None,
    metric: Literal["euclidean", "cosine"] | None,
    to: Path | None,
    overwrite: bool,
    **of_folders: Any,
) -> None:
    """Group the copies in a folder of pictures, or in a library.

    Nothing is deleted or changed, and files are moved only by --move-to. In a folder, copies are
    found that were resized, recompressed,
    brightened, darkened, made grey, cropped, mirrored, rotated, turned a little, put into a border
    or captioned; each group says what was done, and which picture to keep.

    In a library, codes are compared; distances are to the first picture of the group. Without
    --threshold, pixels decide where codes do not: pictures of which one is a little brighter,
    darker or cropped are found too.
    """
    from narrows.atomic import check_output
    from narrows.cli.copies import given_of_folders, holds_pictures, show_copies, undo_copies
    from narrows.errors import ParameterError

    if to is not None:
        check_output(to, overwrite=overwrite, kind="file")
        if to.suffix.lower() not in _SUFFIXES:
            raise ParameterError(f"'{to}' does not end in {', '.join(_SUFFIXES)}; name it so")
    if holds_pictures(pictures):
        if threshold is not None or metric is not None:
            raise ParameterError(
                f"--threshold and --metric compare codes, and '{pictures}' is a folder of "
                "pictures; leave them out, or index the folder first (narrows index)"
            )
        undo = of_folders.pop("undo")
        if undo is not None:
            undo_copies(pictures, undo, {**of_folders, "to": to, "overwrite": overwrite})
        else:
            show_copies(pictures, to=to, overwrite=overwrite, **of_folders)
        return
    if given := given_of_folders(of_folders):
        raise ParameterError(
            f"{given} is for folders of pictures, and '{pictures}' is none; "
            "leave it out, or name a folder"
        )
    _duplicates_in_library(pictures, threshold, metric, to, overwrite=overwrite)


def _duplicates_in_library(
    path: Path,
    threshold: float | None,
    metric: Literal["euclidean", "cosine"] | None,
    to: Path | None,
    *,
    overwrite: bool,
) -> None:
    from narrows import Library
    from narrows.library.duplicates import find

    opened = Library.open(path)
    with progress("comparing") as advance:
        found = find(
            opened, "auto" if threshold is None else threshold, metric=metric, progress=advance
        )
    groups = [
        [{"id": match.id, "distance": match.distance, "path": match.path} for match in group]
        for group in found.groups
    ]
    rows = [(number, *match.values()) for number, group in enumerate(groups) for match in group]
    record = {
        "metric": metric or opened.metric,
        "threshold": found.threshold,
        "confirmed": found.confirmed,
        "pictures": len(opened),
        "groups": groups,
    }
    if to is not None:
        _write(to, found, opened, rows, record, overwrite=overwrite)
    line = (
        f"{counted(len(found.groups), 'group')} of {counted(len(rows), 'picture')} among "
        f"{len(opened)}, threshold {found.threshold:.6g}"
    )
    if found.confirmed:
        line += f" and {counted(found.confirmed, 'pair')} farther apart, by their pixels"
    if answered({**record, "output": to}):
        return
    if to is not None:
        click.echo(f"{line}, in {to}")
        return
    if rows:
        table(_COLUMNS, [(n, id_, f"{distance:.6g}", path) for n, id_, distance, path in rows])
    note(line)


def _write(
    to: Path,
    found: "Duplicates",
    library: "Library",
    rows: list[tuple[Any, ...]],
    record: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    import csv
    import json

    from narrows.atomic import atomic_file
    from narrows.library.duplicates import duplicates_page

    with (
        atomic_file(to, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        match to.suffix.lower():
            case ".csv":
                safe = [(*known, guarded(path)) for *known, path in rows]
                csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *safe])
            case ".json":
                file.write(json.dumps(record, indent=2) + "\n")
            case _:
                file.writelines(duplicates_page(found, name=library.path.name, count=len(library)))
