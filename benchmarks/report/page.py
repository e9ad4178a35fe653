"""The report as one self-contained page, with the tables and figures behind it as files of their own."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from benchmarks.analysis.breakdown import break_down
from benchmarks.analysis.significance import ranking, significance_table, tied_groups
from benchmarks.analysis.tallies import hit_matrices, hit_matrix
from benchmarks.methods import METHODS, Method
from benchmarks.metrics.pointing_game import MAIN_PROTOCOL, MAIN_TOLERANCE, PROTOCOLS, TOLERANCES
from benchmarks.report.charts import draw_breakdowns, draw_cost, draw_froc, draw_ranking
from benchmarks.report.gallery import MAP_SIDE, choose_films, choose_methods, gallery_entries, gallery_maps
from benchmarks.report.results import Results
from benchmarks.report.step_tables import TABLES, consistency_data, froc_data, markdown, measures_data, read_table
from benchmarks.report.subject import Subject
from benchmarks.report.verdict_tables import localisation_data, verdict_data
from benchmarks.run.config import Config
from benchmarks.run.files import write_csv, write_text
from benchmarks.run.stored import DamagedError, Environment, read_json
from benchmarks.run.text_tables import counted
from benchmarks.scoring.job import Job

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("state.js", "brief.js", "table.js", "heat.js", "charts.js", "froc.js", "gallery.js")


def write_html(config: Config, job: Job, content: dict[str, Any], results: Results, subject: Subject) -> None:
    """Write ``report.html`` and what belongs to it into the run directory.

    Besides the page: ``significance.csv``, ``breakdown.csv``, ``tables.md``, and ``ranking``, ``cost``, ``froc`` and
    ``breakdown_size`` and so on, each as PNG and SVG. What other steps wrote is shown where it is there, see
    :mod:`benchmarks.report.step_tables`.

    Args:
        config: Of the run.
        job: Network and films.
        content: What ``summary.json`` holds.
        results: The scores.
        subject: What they are about.
    """
    rows, scores, questions = pd.DataFrame(content["rows"]), results.scores, subject.questions
    tests = significance_table(scores, config.seed, questions)
    breakdown = break_down(scores, results.true_scores, results.chance, subject.groups)
    write_csv(config.out / "significance.csv", tests)
    write_csv(config.out / "breakdown.csv", breakdown)
    measures, froc, consistency = (_whole(config.out, name) for name in TABLES)
    text = markdown(tests, breakdown, subject, measures, froc)
    write_text(config.out / "tables.md", text)
    keys = ["protocol", "tolerance", "method"]
    rows = rows.merge(tests.drop(columns="accuracy"), on=keys)
    draw_ranking(rows, content["chance"], config.out / "ranking")
    draw_cost(rows, config.out / "cost", subject.unit)
    draw_breakdowns(breakdown, config.out, subject.unit)
    if froc is not None:
        draw_froc(froc, config.out / "froc")
    methods = [METHODS[name] for name in METHODS if name in set(rows["method"])]
    data = {
        "run": {
            "facts": subject.facts,
            "hit": subject.hit,
            "unit": subject.unit,
            "count": content["images"],
            "mean": subject.mean,
            "classifier": subject.classifier,
            "notes": subject.notes,
        },
        "protocols": list(PROTOCOLS)[::-1],
        "tolerances": list(TOLERANCES),
        "chance": content["chance"],
        "methods": [described(method) for method in methods],
        "rows": rows.round(6).to_dict(orient="records"),
        "groups": [
            {"protocol": protocol, "tolerance": tolerance, "groups": tied_groups(hits, questions)}
            for (protocol, tolerance), hits in hit_matrices(scores).items()
        ],
        "verdicts": [] if subject.by_verdict is None else verdict_data(subject.by_verdict),
        "breakdowns": subject.breakdowns,
        "breakdown": _breakdown(breakdown),
        "measures": measures_data(measures),
        "froc": froc_data(froc),
        "localisation": [] if subject.localisation is None else localisation_data(subject.localisation),
        "consistency": consistency_data(consistency),
        "gallery": _gallery(config, job, methods, results, subject),
        "remarks": [*subject.remarks, *_remarks(config, content)],
    }
    write_text(config.out / "report.html", page(data))


def _whole(folder: Path, name: str) -> pd.DataFrame | None:
    """A table of another step, or None where it is damaged, which has been said before."""
    try:
        return read_table(folder, name)
    except DamagedError:
        return None


def page(data: dict[str, Any]) -> str:
    """The page with its data, style and scripts inside; it needs nothing else."""
    texts = {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *SCRIPTS)}
    # A film may be called "</script>": inside of JSON, "<" can be written as an escape.
    plain = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    result = _worded(texts["page.html"], data["run"]["unit"]).replace("/*STYLE*/", texts["style.css"])
    result = result.replace("/*SCRIPT*/", "\n".join(texts[name] for name in SCRIPTS))
    return result.replace("/*DATA*/", plain)


def _worded(text: str, unit: str) -> str:
    """The page, which is written for films, with another word for them; what is drawn are images then."""
    if unit != "film":
        text = re.sub(r"\b(over|resampled) films\b", r"\1 images", text)
    for word in (unit, unit.capitalize()):
        film = "Film" if word[0].isupper() else "film"
        text = re.sub(rf"\b{film}(s?)\b", rf"{word}\1", text)
    return text


def _gallery(config: Config, job: Job, methods: list[Method], results: Results, subject: Subject) -> dict[str, Any]:
    hits = hit_matrix(results.scores, MAIN_PROTOCOL, MAIN_TOLERANCE)[[method.name for method in methods]]
    judges = [method.name for method in methods if method.family != "baseline"]
    names = choose_films(hits[judges] if judges else hits)
    position = results.verdicts.set_index("image")["position"]
    positions = [int(position[name]) for name in names]
    order = ranking(hits, subject.questions)
    chosen = choose_methods({name: METHODS[name].family for name in order})
    drawn = [method for method in methods if method.name in chosen]
    maps = gallery_maps(job, drawn, positions, results, config.cache_dir / "gallery", show=not config.quiet)
    total = len(job.positives)
    unit = "annotated film" if subject.unit == "film" else subject.unit
    which = f"All {counted(total, unit)}." if total > 1 else f"The only {unit}."
    if len(names) < total:
        which = (
            f"{len(names)} of {total} {unit}s: a third that the fewest methods hit, a third on which they are "
            "most divided, a third evenly spaced over the rest."
        )
    if len(drawn) < len(order):
        of = f"{len(drawn)} of {counted(len(methods), 'method')}"
        which += f" Maps of {of}: the best of each family, then the second, and so on."
    ramp = (matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    return {
        "films": gallery_entries(job, positions, maps, results.scores, subject.verdicts),
        "side": MAP_SIDE,
        "ramp": base64.b64encode(ramp.tobytes()).decode(),
        "which": which,
    }


def described(method: Method) -> dict[str, str]:
    """What the page says of a method whatever its results."""
    return {
        "name": method.name,
        "title": " ".join(method.title.split()),
        "family": method.family,
        "cost": method.cost,
        "reduction": method.reduction,
    }


def _breakdown(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One table for each breakdown, protocol and tolerance: groups, and ``[accuracy, ci_low, ci_high]`` by method."""
    result = []
    for (by, protocol, tolerance), rows in table.groupby(["breakdown", "protocol", "tolerance"], sort=False):
        groups = rows.drop_duplicates("group")[["group", "films", "chance"]].rename(columns={"group": "name"})
        values: dict[str, list[list[float]]] = {}
        for row in rows.itertuples():  # groups come in the same order for every method
            cell = [round(value, 4) for value in (row.accuracy, row.ci_low, row.ci_high)]
            values.setdefault(str(row.method), []).append(cell)
        result.append(
            {
                "by": by,
                "protocol": protocol,
                "tolerance": int(tolerance),
                "groups": groups.round({"chance": 4}).to_dict(orient="records"),
                "values": values,
            }
        )
    return result


def _remarks(config: Config, content: dict[str, Any]) -> list[tuple[str, str]]:
    """Notes on this run: what could not run, odd maps, versions."""
    remarks = [(f"{name} could not run", reason) for name, reason in content["methods_that_could_not_run"].items()]
    for name, counts in content["maps"][MAIN_PROTOCOL].items():
        if any(counts.values()):
            text = (
                f"{counted(counts['constant'], 'map')} constant (a tie of all places), {counts['non_finite']} not "
                "finite (a miss each)."
            )
            remarks.append((f"Maps of {name}", text))
    path = config.out / "environment.json"
    if path.is_file():
        try:
            facts = read_json(
                path, Environment, "the report does without, and the next step that computes writes it anew"
            )
        except DamagedError as error:
            print(error)
        else:
            known = [f"{name} {value}" for name, value in facts.items() if value is not None]
            remarks.append(("Versions", ", ".join(known)))
    return remarks
