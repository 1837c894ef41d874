"""What all commands share: how they end, and --version.

A command module:

    app = new_app()

    @app.command()
    def info(bundle: Path, version: Version = False) -> None: ...

    def main() -> None:
        run_app(app)

Exit status: 0; 1 for a PoseError (one line on stderr) or a closed pipe (silent); 2 for wrong usage; 130 for Ctrl-C,
143 for SIGTERM; both unwind, so that nothing half-written stays.
Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pose_runtime.errors import PoseError
from pose_runtime.version import version


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"jetpose {version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]
"""Type of every command's `version` parameter; its default is False."""

BundleArgument = Annotated[
    str, typer.Argument(help="Folder NAME.pose/, or a network that comes with jetpose.", metavar="BUNDLE")
]
"""Type of the commands' `bundle` parameter."""

CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of built engines.", show_default="/var/lib/jetpose, else ~/.cache/jetpose", metavar="DIR"
    ),
]
"""Type of the commands' `cache` parameter; its default is None."""


def new_app() -> typer.Typer:
    """An app without completion options, rich boxes or pretty tracebacks: plain text that greps and pipes well."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def one_line(text: str) -> str:
    """`text` on one line: runs of white space become a blank, other unprintable characters are escaped."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)


def print_error(error: PoseError) -> None:
    """The command's name and the message, one line on stderr."""
    print(f"{Path(sys.argv[0]).name}: {one_line(str(error))}", file=sys.stderr)


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line as the module's docstring says, and exit."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if sys.stdout is None or sys.stderr is None:  # closed by the caller; a file opened next would take their place
        if sys.stderr is not None:
            print_error(PoseError("standard output is closed; send it to /dev/null instead"))
        sys.exit(1)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, so that a closed pipe shows before the interpreter ends
    except PoseError as error:
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain
        sys.exit(1)
    sys.exit(0)
