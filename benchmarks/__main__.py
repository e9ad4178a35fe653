"""Command line of the benchmark: ``python -m benchmarks COMMAND``; ``--help`` names the commands."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

# While the rest is imported Ctrl-C just ends the process; one that was started to ignore it goes on doing so.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from benchmarks.commands.steps import add_steps, run_step
from benchmarks.commands.tools import TOOLS, add_tools
from benchmarks.run.errors import UserError
from benchmarks.run.process import keep_freed_memory, well_behaved


class _Parser(argparse.ArgumentParser):
    """That says how a value is given which begins with a minus, as ``-1,1`` does: it looks like an option."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        option, _, lacking = message.removeprefix("argument ").partition(": ")
        if lacking == "expected one argument":
            message += f"; one that begins with a minus goes behind an equals sign, as {option}=VALUE"
        super().error(message)


def build_parser() -> argparse.ArgumentParser:
    """The argument parser; settings that are not given are absent from its result."""
    parser = _Parser(
        prog="python -m benchmarks",
        description="Train a chest X-ray classifier and find out where its attribution maps point.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_steps(commands)
    add_tools(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program's name; ``None`` takes ``sys.argv``.

    Returns:
        The exit code: 0, 2 after an error of the user or the machine, 130 after Ctrl-C or SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of films may hold what the console has no letter for
            stream.reconfigure(errors="backslashreplace")
    settings = vars(build_parser().parse_args(arguments))
    command, debug = settings.pop("command"), settings.pop("debug", False)
    try:
        with well_behaved():
            if command in TOOLS:
                TOOLS[command](**settings)
            else:
                run_step(command, settings)
    except (UserError, OSError, KeyboardInterrupt) as error:
        if debug:
            raise
        if isinstance(error, KeyboardInterrupt):
            print("Stopped; the same command keeps what is finished, and does the rest.", file=sys.stderr)
            return 130
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_freed_memory()
    sys.exit(main())
