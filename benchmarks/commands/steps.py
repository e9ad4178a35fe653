"""The steps of a run, and the command that does them all; each writes to one run directory, which it holds alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.commands.options import add_command, add_common, add_devices, add_scoring, add_training, path
from benchmarks.run.config import CACHE, EVALUATION, Config
from benchmarks.run.devices import check_devices, use_threads
from benchmarks.run.files import make_folder, refuse_folder_of_others
from benchmarks.run.lock import lock_file, only_one
from benchmarks.run.presets import PRESETS, make_config
from benchmarks.run.process import process_rank
from benchmarks.run.step_times import timed

COMMANDS = {
    "run": "data, train, score, measure and report, one after the other; goes on where a stopped run stood",
    "data": "write the synthetic set, or check the annotations of --data",
    "train": "train the classifier and measure it on the test split",
    "score": "apply the attribution methods to the positive test films and keep one row per film and method",
    "measure": "take further measures of the maps on some test films: FROC, insertion, deletion, class sensitivity",
    "report": "make the table and the figures from the scores",
}


def add_steps(commands: Any) -> None:
    """The parsers of the steps."""
    for name, description in COMMANDS.items():
        command = add_command(commands, name, description)
        add_common(command)
        if name in ("run", "train"):
            add_training(command)
        if name in ("run", "score", "measure", "report"):
            add_scoring(command, saved="" if name == "run" else ", or what the run was started with")
        if name in ("run", "score"):
            command.add_argument("--allow-weak", action="store_true", help="score a classifier that guesses, too")
        if name == "score":
            command.add_argument("--checkpoint", type=path, metavar="RUN", help="score the classifier of this run")
        if name in ("run", "measure"):
            command.add_argument("--measure-films", type=int, metavar="N", help="most films of the step measure")
        if name in ("run", "train", "score", "measure"):
            add_devices(command)


def configure(command: str, settings: dict[str, Any]) -> Config:
    """Settings of a command: the preset's for ``run``, ``data`` and ``train``, the run directory's for the others.

    Raises:
        UserError: Settings that make no sense, or that differ from those of the run directory.
    """
    preset = _preset(settings)
    settings.pop("preset", None)
    if command in ("run", "data", "train"):
        return make_config(preset, settings)

    from benchmarks.data.open_run import open_existing

    return open_existing(settings.pop("out"), settings)


def _preset(settings: dict[str, Any]) -> str:
    """The preset that was asked for; films of the user's own ask for the recipe that is made for them."""
    return settings.get("preset") or ("films" if settings.get("data") else "synthetic")


def run_directory(command: str, settings: dict[str, Any]) -> Path:
    """The run directory that a command writes to."""
    usual = PRESETS[_preset(settings)]["out"]
    if settings.get("seeds", 1) > 1:
        usual = usual.with_name(f"{usual.name}_seeds")
    given = settings.get("out") or (None if command in ("run", "data", "train") else settings.get("checkpoint"))
    return Path(given or usual)


def run_step(command: str, settings: dict[str, Any]) -> None:
    """Run one of :data:`STEPS`, the only one that writes to its run directory."""
    out = settings["out"] = run_directory(command, settings)
    if (out / EVALUATION).exists():
        _report_evaluation(command, settings)
        return
    new = configure(command, settings) if command in ("run", "data", "train") else None
    if new or "checkpoint" in settings:
        # Data and cache are looked into before they are written to.
        refuse_folder_of_others(out, {"config.json", lock_file("results")}, {"data", CACHE}, "a run")
        make_folder(out)
    with only_one(out, "report" if command == "report" else "results", command):
        config = new or configure(command, settings)
        use_threads(config.devices.threads)
        if command == "run":  # a misspelt method is not to be found behind the training
            from benchmarks.methods import select_methods

            select_methods(config.scoring.methods)
        if command in ("run", "train"):  # nor a device that is not there, or a network, behind the films
            from benchmarks.classifier.train import check_start

            check_devices(config)
            check_start(config)
        if config.seeds > 1:
            _each_seed(command, config)
        else:
            STEPS[command](config)


def _report_evaluation(command: str, settings: dict[str, Any]) -> None:
    """Report an evaluation, to which no other step belongs."""
    from benchmarks.run.directory import refuse_evaluation

    if command != "report":
        refuse_evaluation(settings["out"])
    from benchmarks.evaluation.command import report_command

    with only_one(settings["out"], "report", command):
        report_command(**settings)


def _each_seed(command: str, config: Config) -> None:
    """Run one of :data:`STEPS` for every seed, and say what all of them say together."""
    from benchmarks.data.open_run import open_run

    if command in ("run", "train"):
        _data(config)
        open_run(config)
    seeds = config.of_each_seed()
    for number, one in enumerate(seeds, start=1):
        print(f"seed {one.seed}, {number} of {len(seeds)}: {one.out}", flush=True)
        make_folder(one.out)
        with only_one(one.out, "report" if command == "report" else "results", command):
            if command not in ("run", "train"):
                open_run(one)
            STEPS[command](one)
    if command in ("run", "report"):
        from benchmarks.report.over_seeds import report_seeds

        if process_rank() == 0:
            with only_one(config.out, "report", command) if command == "run" else nullcontext():
                report_seeds(config)


# Each step imports what it needs itself: `--help` and errors of the command line answer at once, without torch.
def _data(config: Config) -> None:
    from benchmarks.synthetic.prepare import prepare

    with timed(config.out, "data"):
        prepare(config)


def _train(config: Config) -> None:
    from benchmarks.classifier.train import train
    from benchmarks.data.open_run import open_run

    if not config.one_of_seeds:  # whose films are those of all
        _data(config)
    open_run(config)
    with timed(config.out, "train"):
        train(config)


def _score(config: Config) -> None:
    from benchmarks.classifier.worth import refuse_weak
    from benchmarks.scoring.score import score

    if not config.scoring.allow_weak:
        refuse_weak(config.classifier_dir)
    with timed(config.out, "score"):
        score(config)


def _measure(config: Config) -> None:
    from benchmarks.scoring.measure import measure

    with timed(config.out, "measure"):
        measure(config)


def _report(config: Config) -> None:
    from benchmarks.report.assemble import report

    if process_rank() == 0:
        with timed(config.out, "report"):
            report(config)


def _run(config: Config) -> None:
    from benchmarks.report.assemble import is_current, results_digest

    for step in (_train, _score, _measure):
        step(config)
    if process_rank() == 0:
        with only_one(config.out, "report", "run"):
            if is_current(config.out, results_digest(config)):
                print(f"{config.out}: report.html and the tables show these results already; nothing to do.")
            else:
                _report(config)


STEPS: dict[str, Callable[[Config], None]] = {
    "run": _run,
    "data": _data,
    "train": _train,
    "score": _score,
    "measure": _measure,
    "report": _report,
}
