"""The commands put together, and what becomes of errors: one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from hvnas._names import brief, plain
from hvnas.cli._failure import BAD_INPUT, INTERRUPTED, TERMINATED, Failure, one_line
from hvnas.cli._group import MAIN_EXAMPLE, Group, OnDemand, load_command, load_group, load_module
from hvnas.cli._screen import JsonOption, hoisted, is_verbose, print_json, set_verbosity

# typer carries a copy of click or uses click itself, which depends on its version; this leads to either.
_UsageError: type[Any] = typer.BadParameter.__bases__[0]


LONGEST = 480  # characters of an error, beside what stands before it

# In the order of the help, with their lines there; but for `version` each is a module beside this one.
COMMANDS = {
    "search": "Find networks that meet a latency budget.",
    "resume": "Continue an interrupted search.",
    "refine": "Choose the best network of a search by times measured on the device.",
    "history": "List the networks that a search evaluated, in order.",
    "compare": "Compare the Pareto fronts of several runs.",
    "show": "Show a network, its size, latency and top-1.",
    "models": "List the models of the papers.",
    "devices": "List the devices by the vendor of their chip, or show one.",
    "verify": "Verify the models of the papers.",
    "ablate": "Compare networks that differ in one thing.",
    "rediscover": "Search for the layouts of a family left out of all fits.",
    "bench": "Run strategies on a table of published results.",
    "train": "Train a network on images, with the recipe of a paper.",
    "evaluate": "Score a trained network on the test split of images.",
    "predict": "Name what a trained network sees in images.",
    "export": "Export a network to another runtime.",
    "report": "Write one HTML page about runs and networks.",
    "doctor": "Show what is installed, what is missing, and what works.",
    "cache": "Show the cache, or clear it.",
    "version": "Show the version.",
}
GROUPS = {
    "spaces": "Search spaces: list them, show one, check a file of your own.",
    "latency": "Latency tables: build, import, calibrate, check, read.",
    "accuracy": "Accuracy estimators: errors, proxies, one of your own.",
    "supernet": "The supernet: one weight-sharing network for a whole space.",
    "weights": "Weights of other code bases for our networks.",
}


def _loaded(name: str) -> Any:
    if name == "version":
        return load_command(name, version, example="hvnas version")
    load = load_group if name in GROUPS else load_module
    return load(name, of=f"hvnas.cli.{name}")


class Commands(Group):
    """A group whose expected errors end in one line on standard error; bugs keep their traceback."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = OnDemand((*COMMANDS, *GROUPS), _loaded)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """As typer's, but for what errors look like, and ``-q`` and ``-v`` anywhere."""
        set_verbosity(quiet=False, verbose=False)
        show_waits()
        try:
            code = super().main(
                args=hoisted(sys.argv[1:] if args is None else args),
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except _UsageError as error:
            code = _fail(_usage(error), BAD_INPUT)
        except Failure as failure:
            code = _fail(str(failure), failure.code)
        except (ValueError, OSError) as error:
            code = _fail(one_line(error), BAD_INPUT)
        if standalone_mode:
            raise SystemExit(code or 0)
        return code

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """As typer's, without loading the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *GROUPS.items()])

    def invoke(self, ctx: Any) -> Any:
        """As typer's, but an interrupt is a failure like others."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Failure("stopped", code=INTERRUPTED) from None


def show_waits() -> None:
    """Have waits told on standard error."""
    from hvnas._waiting import LOGGER
    from hvnas.cli._screen import ScreenHandler

    if not any(isinstance(handler, ScreenHandler) for handler in LOGGER.handlers):
        LOGGER.addHandler(ScreenHandler())


def _fail(message: str, code: int) -> int:
    from hvnas.cli._screen import Screen

    if is_verbose():
        for line in traceback.format_exc().splitlines():
            Screen(errors=True).line(line)
    label = "hvnas:" if code in (INTERRUPTED, TERMINATED) else "hvnas: error:"
    # what was asked for may be of any length, and is in the message
    Screen(errors=True).line(
        f"{label} {message if len(message) <= LONGEST else brief(message, most=LONGEST)}"
    )
    return code


def _usage(error: Any) -> str:
    command = error.ctx.command_path if error.ctx is not None else "hvnas"
    # where the library lists choices, it sets them apart by several blanks
    said = " ".join(plain(error.format_message()).split()).rstrip(".")
    return f"{said}{' See' if said.endswith('?') else '; see'} {command} --help"


app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    # Help in plain lines, with boxes nowhere: it must read well in a file, too, and start fast.
    rich_markup_mode=None,
    # Of every command below, too.
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=MAIN_EXAMPLE,
    help="Search for convolution/attention image networks that meet a latency budget on a named device.",
)


def version(
    as_json: JsonOption = False,
) -> None:
    """Show the version."""
    from hvnas._version import __version__

    if as_json:
        print_json({"version": __version__})
    else:
        typer.echo(f"hvnas {__version__}")


def _show_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    asked_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only results and errors; may be given anywhere.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print logs and tracebacks; may be given anywhere.")
    ] = False,
) -> None:
    set_verbosity(quiet=quiet, verbose=verbose)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
