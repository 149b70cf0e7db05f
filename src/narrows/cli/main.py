"""The command ``narrows``: the list of verbs, the exit codes, and errors as one line.

A new verb is a line in ``VERBS`` and a module of its name with a ``command``, or a function of its
name in a module of ``_TOGETHER``. The module is imported only when the verb runs, and imports what
it needs beyond click inside its functions, so that ``narrows --help`` answers at once. Other
packages bring verbs as entry points ``narrows.verbs``.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import click

from narrows.cli.process import stopping
from narrows.texts import one_line

VERBS = {
    "train": "Train a model on pictures, a table or a signal.",
    "encode": "Turn data into codes.",
    "decode": "Turn codes back into data.",
    "reconstruct": "Encode and decode data in one go.",
    "impute": "Fill the gaps of a table; all other cells stay as they are.",
    "denoise": "Restore clean pictures, signals and rows from damaged ones.",
    "sample": "Draw new rows or pictures from a model of a density.",
    "pack": "Decode a folder of pictures once, into a Lance dataset to learn from.",
    "index": "Build a library of pictures that can be matched.",
    "match": "Find the nearest pictures of a library.",
    "duplicates": "Group the copies in a folder of pictures, or in a library.",
    "verify": "Look at every file and every row of a library, and repair it.",
    "reencode": "Move a library to another model.",
    "compact": "Free the room that a library no longer needs.",
    "evaluate-matching": "Score how often a model's codes find what belongs together.",
    "anomalies": "List rows that are unlike the others, and say why.",
    "report": "Say whether a model is any good, and show it.",
    "compare": "Train PCA and all models under one budget, and set them side by side.",
    "map": "Lay a model's codes out on a plane, and look at it.",
    "depth": "Compare the remedies for depth on one's own data.",
    "serve": "Show a library, a model and training in the browser.",
    "split": "Part a model into its encoder and its decoder.",
    "export": "Write a half of a model as an ONNX file.",
    "info": "Describe a model or a library.",
    "demo": "Train, compare with PCA and match pictures of a well-known data set.",
    "checks": "Test this installation against known answers.",
}

# Modules of several verbs, each a command of the verb's name.
_TOGETHER = {
    "codes": ("encode", "decode", "reconstruct", "sample"),
    "demo": ("demo", "checks"),
    "halves": ("split", "export"),
    "index": ("pack", "index"),
    "match": ("match", "duplicates"),
    "tables": ("impute",),
    "reports": ("report", "compare", "depth", "evaluate-matching"),
    "upkeep": ("verify", "reencode", "compact"),
}

EXIT_CODES = {
    0: "done",
    1: "failed checks, or a fault in Narrows itself",
    2: "wrong usage or parameter",
    3: "data missing, unreadable or unusable",
    4: "model or library damaged, foreign or not the right one",
    5: "output exists or cannot be written",
    6: "training failed, or processes that work together did",
    7: "optional package, data set or object store not to be had",
    129: "stopped by SIGHUP",
    130: "stopped by Ctrl-C",
    141: "done, but the reader of standard output left",
    143: "stopped by SIGTERM",
}
# The classes of errors of each exit code, by their names, as narrows.errors imports scikit-learn.
_ERRORS = {
    2: {"ParameterError"},
    3: {"DataError", "MissingFileError"},
    4: {"FormatError", "LibraryError", "NotFittedError"},
    5: {"OutputExistsError", "OutputError"},
    6: {"DivergedError", "CheckpointError", "WorkerError"},
    7: {"MissingDependencyError", "DownloadError", "StoreError"},
}


_PLUG_INS = "narrows.verbs"


class LazyGroup(click.Group):
    """The verbs: their names and a line for each are shown without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the list, then those of other packages."""
        del ctx
        return [*VERBS, *_verbs_of_others()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its ``command``."""
        del ctx
        if cmd_name in VERBS:
            return _command(cmd_name)
        from narrows.plugins import plug_ins, refuse

        command = package = None
        for found in plug_ins(_PLUG_INS):
            if found.name == cmd_name:
                if not isinstance(found.value, click.Command):
                    refuse(_PLUG_INS, cmd_name, found.package, "it is no command of click")
                elif command is None:
                    command, package = found.value, found.package
                else:
                    reason = f"the package '{package}' brings one of this name"
                    refuse(_PLUG_INS, cmd_name, found.package, reason)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help with the endings of the formats that are installed."""
        from narrows.cli.console import with_endings

        self.help = with_endings(self.help or "")
        super().format_help(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        del ctx
        for point in entry_points(group=_PLUG_INS):
            if point.name in VERBS:
                from narrows.plugins import refuse

                package = "an unknown package" if point.dist is None else point.dist.name
                refuse(_PLUG_INS, point.name, package, "Narrows has a verb of this name")
        with formatter.section("Verbs"):
            formatter.write_dl([*VERBS.items(), *_verbs_of_others().items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of exit codes."""
        del ctx
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def _command(verb: str) -> click.Command:
    name = verb.replace("-", "_")
    home = next((module for module, verbs in _TOGETHER.items() if verb in verbs), None)
    module = import_module(f"narrows.cli.{home or name}")
    command: click.Command = getattr(module, name if home else "command")
    return command


def _verbs_of_others() -> dict[str, str]:
    """Return a line for each verb of another package, without importing it."""
    return {
        point.name: f"Of the package {point.dist.name}."
        for point in entry_points(group=_PLUG_INS)
        if point.name not in VERBS and point.dist is not None
    }


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="narrows", message="%(package)s %(version)s")
@click.pass_context
def group(context: click.Context) -> None:
    """Autoencoders as easy as PCA: codes, restored data and image matching.

    Data are pictures (a folder, or one file), arrays ({arrays}), tables ({tables}), sound
    ({sounds}) or IDX files. "narrows VERB --help" tells more about a verb.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def exit_code(error: BaseException) -> int | None:
    """Return the exit code of an error that Narrows raises on purpose, otherwise None."""
    classes = {c.__name__ for c in type(error).__mro__ if c.__module__ == "narrows.errors"}
    return next((code for code, names in _ERRORS.items() if names & classes), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments after ``narrows``; by default those of the process.

    Returns
    -------
    int
        The exit code; ``narrows --help`` lists them.

    Examples
    --------
    >>> main(["--version"])  # doctest: +ELLIPSIS
    narrows ...
    0
    """
    from narrows.cli.console import collected_warnings

    with collected_warnings():
        try:
            result = group.main(arguments, prog_name="narrows", standalone_mode=False)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see '{context.command_path} --help')" if context else ""
            _complain(error.format_message(), _hint_of_file(error, arguments) or hint)
            return 2
        except click.Abort:
            return _stopped()
        except MemoryError as error:
            _complain(f"out of memory ({error}); give less data, or choose smaller parameters")
            return 3
        except Exception as error:
            if stopping.number is not None:
                # Another library was interrupted, and raised an error of its own.
                return _stopped()
            failed = exit_code(error)
            if failed is not None:
                _complain(str(error))
            elif isinstance(error, OSError) and None not in (error.errno, error.filename):
                # The operating system's message about a file of the user.
                _complain(f"'{error.filename}': {error.strerror}; give another path")
                failed = 3
            else:
                raise
            return failed
        code = result if isinstance(result, int) else 0
        return code if stopping.number is None else stopping.exit_code


def _stopped() -> int:
    by = "" if stopping.number is None else f" by {stopping.reason}"
    _complain(f"stopped{by}")
    return stopping.exit_code


def _complain(message: str, hint: str = "") -> None:
    from narrows.cli.console import LONGEST_LINE, note

    start = "narrows: error: "
    note(f"{start}{one_line(message, LONGEST_LINE - len(start) - len(hint))}{hint}")


def _hint_of_file(error: click.ClickException, arguments: Sequence[str] | None) -> str:
    """Say how a file whose name was taken for an option is named."""
    if isinstance(error, click.NoSuchOption):
        for name in sys.argv[1:] if arguments is None else arguments:
            if name.startswith(error.option_name) and Path(name).exists():
                return f"; the file of this name is ./{name}"
    return ""
