"""The entry point `dacz`: the list of commands, and what becomes of errors.

Starting must stay cheap: no module of the command line imports torch or numpy before a command needs them.
"""

from __future__ import annotations

import os
import sys

import typer

import dacfile
from dacfile.atomic import discard_live
from dacfile.errors import DaczError
from dacfile.runner import INTERRUPTED, SOME_FAILED
from dacz import bench, compare, compress, decompress, info, models, optimize, priors, repack, salvage, verify
from dacz.render import complain
from dacz.streams import open_missing
from dacz.text import escape

USAGE = 1
BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell reports it

EXIT_CODES = (
    "Exit codes: 0 all done, 1 wrong usage, 2 some files failed, 3 damaged file, 4 unsupported file, "
    "5 model or prior missing, damaged or the wrong one, 130 interrupted."
)

app = typer.Typer(
    help=f"Compress audio into .dacz files with neural codecs, and back.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("compress")(compress.command)
app.command("decompress")(decompress.command)
app.command("info")(info.command)
app.command("verify")(verify.command)
app.command("repack")(repack.command)
app.command("optimize")(optimize.command)
app.command("salvage")(salvage.command)
app.command("compare")(compare.command)
app.command("bench")(bench.command)
app.add_typer(models.app, name="models")
app.add_typer(priors.app, name="prior")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dacz {dacfile.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run `dacz` and exit with one of the documented codes."""
    # Threads of torch that spin while they wait cost ten times the work itself on a busy machine (docs/decisions.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # NumPy's would take all cores in every one of the jobs that share them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    open_missing()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code. An error is one line on stderr, unless DACZ_DEBUG is set."""
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except DaczError as error:
        complain(None, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        discard_live()
        complain(None, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return _explain(error)


def _invoke(arguments: list[str]) -> object:
    """Run one command and return what it returns; typer would turn Ctrl-C and Ctrl-D into its own exceptions."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("dacz", list(arguments)) as context:
            return command.invoke(context)
    except typer.Exit as end:  # --help, --version
        return end.exit_code


def _explain(error: Exception) -> int:
    if hasattr(error, "format_message"):  # a usage error of typer, wherever this version of it keeps the class
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help text
            print(error.format_message(), file=sys.stderr)
        else:
            complain(None, f"{error.format_message()} ({_command(error)} --help shows what there is)")
        return USAGE
    if os.environ.get("DACZ_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        complain(None, f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return USAGE if isinstance(error, FileNotFoundError) else SOME_FAILED
    complain(None, f"internal error, please report it: {type(error).__name__}: {escape(error)}")
    return SOME_FAILED


def _command(error: Exception) -> str:
    """Return the command that a usage error belongs to, as it was called: "dacz prior add"."""
    return getattr(getattr(error, "ctx", None), "command_path", "dacz")
