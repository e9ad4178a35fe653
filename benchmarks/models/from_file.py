"""Networks that a function in a Python file of the user makes."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.run.errors import UserError


def build(path: Path, factory: str) -> Any:
    """Call the function and return what it gives: a network, or a network and a preprocess function.

    Args:
        path: Of the file; its own folder is searched for what it imports, as if it were run.
        factory: Name of the function, which takes no arguments.

    Raises:
        UserError: There is no such file or function, or it raises.
    """
    if not path.is_file():
        raise UserError(f"--model {path}:{factory}: there is no file {path}.")
    spec = importlib.util.spec_from_file_location(f"_{path.stem}_of_the_user", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--model {path}:{factory}: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as dataclasses and pickle expect
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
        function = getattr(module, factory, None)
        if not callable(function):
            near = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise UserError(f"--model {path}:{factory}: the file has no function {factory!r}, but {', '.join(near)}.")
        return function()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the user's code raises what it likes, and may read a command line
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {lines[-1]}" if lines else ""
        raise UserError(
            f"--model {path}:{factory} raises {type(error).__name__}{line}: {' '.join(str(error).split())[:200]}"
        ) from None
    finally:
        sys.path.remove(str(path.parent.resolve()))
