"""``narrows index``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    note,
    one_answer,
    overwrite_option,
    progress,
    ray_option,
    reading_options,
    reading_record,
    recall_lines,
    recall_record,
    report_skipped,
    to_option,
)
from narrows.cli.exchange import data_argument, load_for, model_argument
from narrows.cli.reading import file_options, shared
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows.data.formats import FileOptions

if TYPE_CHECKING:
    from narrows.library.adding import Added
    from narrows.library.ivf import Recall


@click.command("index")
@model_argument
@data_argument
@to_option("The folder of the library.")
@click.option(
    "--add", is_flag=True, help="Add what is new to the library where there is one already."
)
@click.option(
    "--reference",
    is_flag=True,
    help="Leave the files where they are, and keep their paths and thumbnails.",
)
@click.option(
    "--metadata",
    type=PATH,
    metavar="FILE",
    help="A table (.csv, .tsv, .parquet) with a row for each picture: its column path, file, "
    "file_name or filename says which, the others are kept with it.",
)
@click.option(
    "--approximate",
    is_flag=True,
    help="Build the index of approximate searches as well (needs narrows[faiss]). With --ray, that "
    "is done for more than a million pictures where all have FAISS.",
)
@ray_option("Read, encode, write and index")
@file_options
@reading_options
@overwrite_option
@json_option
def command(
    *,
    model: Path,
    data: Path,
    to: Path,
    add: bool,
    reference: bool,
    metadata: Path | None,
    approximate: bool,
    ray: str | None,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Build a library of pictures that can be matched.

    The library holds the pictures, their codes and a copy of the model: nothing else is needed
    to match, unless --reference leaves the pictures where they are. With --add, the model has to
    be the one that made the codes that are there.

    With --ray, the workers have to see DATA and the library: on a disk that all machines share, or
    s3://bucket/pictures.lance.
    """
    from contextlib import nullcontext
    from typing import Any, Literal

    from narrows import Library
    from narrows.atomic import explain_os_errors
    from narrows.errors import NarrowsError, OutputExistsError, ParameterError
    from narrows.library.indexes import is_large
    from narrows.library.ivf import PACKAGES, faiss_module, is_installed
    from narrows.remote import place
    from narrows.scale.cluster import ray_workers

    if add and overwrite:
        raise ParameterError("--add keeps what is there and --overwrite replaces it; give one")
    shared(files, [data, metadata])
    if approximate:
        faiss_module()
    where = place(to)
    with explain_os_errors(to):
        exists = where.exists()
    if exists and not add and not overwrite:
        raise OutputExistsError(
            f"'{where}' exists already; add to it (--add), replace it (--overwrite) or choose "
            "another name"
        )
    encoder = load_for(model, "transform")
    store: Literal["pictures", "references"] = "references" if reference else "pictures"
    gathered = nullcontext() if ray is None else ray_workers(ray)
    with one_answer(), gathered as workers:
        if approximate and workers is not None:
            workers.check([], PACKAGES)
        with progress("indexing") as advance:
            options: dict[str, Any] = {
                "metadata": metadata,
                "store": store,
                "options": files,
                "skip_unreadable": skip_unreadable,
                "exclude": exclude,
                "progress": advance,
                "workers": workers,
            }
            if add and exists:
                library = Library.open(where, model=encoder)
                added = library.add(data, **options)
            else:
                library, added = Library.build(
                    where, data, model=encoder, overwrite=overwrite, **options
                )
        _tell(data, added)
        recall: Recall | None = None
        if approximate or (workers is not None and is_large(library) and is_installed()):
            note("building the approximate index")
            try:
                recall = library.build_index(workers=workers)
            except NarrowsError as error:
                known = f"{counted(added.count, 'picture')} added, {len(library)} in {where}"
                if approximate:
                    raise type(error)(f"{known}, but there is no index: {error}") from error
                note(f"there is no index: {error}")
    record = {
        "output": str(where),
        "added": added.count,
        "present": added.present,
        "rows": len(library),
        **reading_record(added),
    }
    if recall is not None:
        record |= recall_record({"euclidean": recall})
    present = f", {added.present} already there" if added.present else ""
    answer(
        record,
        as_json,
        f"{counted(added.count, 'picture')} added{present}, {len(library)} in {where}",
        *([] if recall is None else recall_lines(recall)),
    )


def _tell(data: Path, added: "Added") -> None:
    """List what was left out, and say if codes are made of smaller or larger pictures."""
    from narrows.data.decoding import tell_resized

    report_skipped(added.skipped)
    if added.resized is not None:
        tell_resized(data, added.resized, learned=True)
