from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from further_tables_made_up import write_further_tables
from many_methods import embedded
from PIL import Image
from tiny_run import POSITIVES, make_run

from benchmarks.analysis.breakdown import annotation_facts, break_down, film_groups
from benchmarks.data.open_run import open_run
from benchmarks.methods import METHODS
from benchmarks.report import drawn_maps, gallery
from benchmarks.report.assemble import report
from benchmarks.report.charts import draw_breakdowns
from benchmarks.report.gallery import choose_films, choose_methods, shrink
from benchmarks.report.page import page
from benchmarks.report.results import read_results
from benchmarks.run.config import Config
from benchmarks.scoring.job import Job
from benchmarks.scoring.score import open_job, score

SOME = ("center", "random", "grad_cam", "guided_backprop", "normgrad_conv1x1_combined", "normgrad_scaling_single")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_run(tmp_path_factory.mktemp("html"), methods=SOME)
    # Films of all kinds: one with a large object, one with a second object that is a polygon.
    table = config.data_root / "test.csv"
    rows = table.read_text().splitlines()
    rows[1] = "00000.png,0 0 0 60 50"
    rows[2] += ";2 5 5 20 5 10 20"
    table.write_text("\n".join(rows) + "\n")
    (config.data_root / "test_kinds.csv").write_text(
        "image_name,kinds\n00000.png,coin\n00001.png,coin;pin\n00002.png,pin\n"
    )
    (config.out / "config.json").unlink()
    open_run(config)
    score(config)
    write_further_tables(config.out, SOME)
    report(config)
    return config


def test_page_is_self_contained(run: Config) -> None:
    text = (run.out / "report.html").read_text()

    addresses = set(re.findall(r"https?://[^\"'\s)<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.search(r"<link[^>]+stylesheet|<script[^>]+src|@import|url\((?!\$)", text)
    assert len(text) < 12e6


def test_page_holds_the_numbers_of_the_summary(run: Config) -> None:
    data = embedded((run.out / "report.html").read_text())
    summary = pd.read_csv(run.out / "summary.csv").set_index(["protocol", "tolerance", "method"])

    assert len(data["rows"]) == len(summary) == 2 * 3 * len(SOME)
    for row in data["rows"]:
        expected = summary.loc[(row["protocol"], row["tolerance"], row["method"])]
        assert row["accuracy"] == pytest.approx(expected["accuracy"])
        assert row["ci_low"] == pytest.approx(expected["ci_low"], abs=1e-6)  # rounded in both
    assert {method["name"] for method in data["methods"]} == set(SOME)
    assert [measure["name"] for measure in data["measures"]][:2] == ["energy", "iou"]
    assert {"size", "objects", "shape", "kind"} <= {table["by"] for table in data["breakdown"]}


def test_page_holds_the_breakdown(run: Config) -> None:
    data = embedded((run.out / "report.html").read_text())
    table = pd.read_csv(run.out / "breakdown.csv").set_index(["breakdown", "protocol", "tolerance", "method", "group"])

    cells = 0
    for entry in data["breakdown"]:
        for method, values in entry["values"].items():
            for group, (accuracy, low, high) in zip(entry["groups"], values, strict=True):
                row = table.loc[(entry["by"], entry["protocol"], entry["tolerance"], method, group["name"])]
                assert (accuracy, low, high) == pytest.approx(
                    (row["accuracy"], row["ci_low"], row["ci_high"]), abs=1e-4
                )
                assert (group["films"], group["chance"]) == pytest.approx((row["films"], row["chance"]), abs=1e-4)
                cells += 1
    assert cells == len(table)


def test_gallery_holds_points_films_and_maps(run: Config) -> None:
    films = embedded((run.out / "report.html").read_text())["gallery"]["films"]
    scores = pd.read_parquet(run.out / "scores.parquet").set_index(["image", "protocol", "method"])

    assert len(films) == POSITIVES
    for film in films:
        assert (film["width"], film["height"]) == (90, 60)
        for protocol, points in film["points"].items():
            for method, (x, y, distance) in points.items():
                row = scores.loc[(film["name"], protocol, method)]
                assert (x * 600 - 0.5, y * 600 - 0.5) == pytest.approx((row["x"], row["y"]))
                assert distance == pytest.approx(row["distance"], abs=0.051)
        sheet = Image.open(io.BytesIO(base64.b64decode(film["maps"].partition(",")[2])))
        assert sheet.size == (64, 64 * len(film["drawn"]))
        assert set(film["drawn"]) == set(SOME)
    order = [sum(film["points"]["fair"][name][2] < 15 for name in SOME[2:]) for film in films]
    assert order == sorted(order)  # the worst first


def test_map_of_the_gallery_peaks_where_the_scored_map_does(run: Config) -> None:
    for film in embedded((run.out / "report.html").read_text())["gallery"]["films"]:
        sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(film["maps"].partition(",")[2]))))
        for row, method in enumerate(film["drawn"]):
            x, y, _ = film["points"]["fair"][method]
            small = sheet[64 * row : 64 * (row + 1)]
            if method in ("center", "normgrad_conv1x1_combined"):  # others have spikes, which a mean of cells evens out
                around = small[max(int(64 * y) - 2, 0) : int(64 * y) + 3, max(int(64 * x) - 2, 0) : int(64 * x) + 3]
                assert around.max() >= 0.95 * small.max()


def test_maps_are_not_computed_twice(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    before = (run.out / "report.html").read_text()
    monkeypatch.setattr(drawn_maps, "scored_maps", refuse)
    report(run)

    assert (run.out / "report.html").read_text() == before


def test_slow_methods_are_drawn_on_the_worst_films_only(run: Config, tmp_path: Path) -> None:
    job = open_job(run)
    methods = [METHODS["center"], METHODS["grad_cam"]]

    results = read_results(run, job)
    slow = {"center": 9.0, "grad_cam": 21.0, "random": 5.0}  # two films a batch for random, which draws for all of it
    results.scores["seconds"] = results.scores["method"].map(slow)

    maps = gallery.gallery_maps(job, [*methods, METHODS["random"]], job.positives, results, tmp_path)

    assert {name: len(own) for name, own in maps.items()} == {"center": 2, "grad_cam": 0, "random": 4}


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00garbage", "other"])
def test_damaged_maps_are_computed_again(
    run: Config, tmp_path: Path, damage: bytes | str, capsys: pytest.CaptureFixture[str]
) -> None:
    job, methods = open_job(run), [METHODS["center"]]
    results = read_results(run, job)
    whole = gallery.gallery_maps(job, methods, job.positives, results, tmp_path)["center"]
    (path,) = tmp_path.iterdir()
    np.save(path, whole[:1]) if isinstance(damage, str) else path.write_bytes(damage)

    assert (gallery.gallery_maps(job, methods, job.positives, results, tmp_path)["center"] == whole).all()
    assert "is damaged; its maps are computed again" in capsys.readouterr().out


def test_figures_and_tables_lie_beside_the_page(run: Config) -> None:
    for name in ("ranking", "cost", "froc", *(f"breakdown_{by}" for by in ("size", "objects", "shape", "kind"))):
        with Image.open(run.out / f"{name}.png") as figure:
            assert min(figure.size) > 200
        assert "<svg" in (run.out / f"{name}.svg").read_text()
    tests = pd.read_csv(run.out / "significance.csv")
    assert len(tests) == 2 * 3 * len(SOME)
    text = (run.out / "tables.md").read_text()
    assert "## Protocol `fair`, within 15 px" in text
    assert "## By size, protocol `paper`, inside" in text
    assert "| grad_cam | 0.500 [0.400, 0.600] |" in text
    widths = {line.count("|") for line in text.split("# Other measures")[0].splitlines() if line.startswith("|")}
    assert widths == {8}


def test_a_film_with_a_hostile_name_stays_data() -> None:
    text = page({"name": "</script><img src=x onerror=alert(1)>.png", "run": {"unit": "film"}})

    assert "</script><img" not in text
    assert embedded(text)["name"] == "</script><img src=x onerror=alert(1)>.png"


def test_choice_of_films() -> None:
    shares = np.linspace(0, 1, 101)[::-1]
    hits = pd.DataFrame([np.arange(100) < round(100 * share) for share in shares], index=[f"f{i}" for i in range(101)])

    chosen = choose_films(hits, most=12)

    assert len(chosen) == 12
    assert chosen[:4] == ["f100", "f99", "f98", "f97"]  # the worst
    assert {"f50", "f51", "f49"} <= set(chosen)  # half of the methods hit
    share = hits.mean(axis=1)
    assert [share[name] for name in chosen] == sorted(share[name] for name in chosen)
    assert choose_films(hits.iloc[:5], most=12) == ["f4", "f3", "f2", "f1", "f0"]


def test_choice_of_methods_is_fair_to_families() -> None:
    ranking = {"a1": "a", "a2": "a", "a3": "a", "a4": "a", "b1": "b", "a5": "a", "c1": "c", "b2": "b"}

    assert choose_methods(ranking, most=3) == {"a1", "b1", "c1"}
    assert choose_methods(ranking, most=6) == {"a1", "b1", "c1", "a2", "b2", "a3"}
    assert choose_methods(ranking) == set(ranking)


def test_the_page_is_bounded_whatever_is_on_the_films() -> None:
    """Noise compresses worst: a sheet of maps and a film of it, as often as a page may hold them."""
    rng = np.random.default_rng(0)
    sheet = gallery._data_uri(rng.integers(0, 256, (64 * gallery.METHODS_WITH_MAPS, 64), np.uint8), "PNG")
    film = gallery._data_uri(rng.integers(0, 256, (gallery.FILM_SIDE, gallery.FILM_SIDE), np.uint8), "JPEG")

    assert gallery.FILMS * (len(sheet) + len(film)) < 9e6  # and 3 MB for all else


def test_shrink() -> None:
    large, small = torch.zeros(1, 1, 128, 128), torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    large[0, 0, 100:104, 20:24] = 5.0

    assert shrink(large)[0, 50:52, 10:12].tolist() == [[255, 255], [255, 255]]
    assert shrink(small).shape == (1, 64, 64)
    assert np.unravel_index(shrink(small)[0].argmax(), (64, 64))[1] > 40
    assert not shrink(torch.full((1, 1, 9, 9), 3.0)).any()
    assert not shrink(torch.full((1, 1, 99, 99), torch.nan)).any()


@pytest.fixture(scope="module")
def job(run: Config) -> Job:
    return open_job(run)


def test_facts_of_films(job: Job) -> None:
    facts = annotation_facts(job.annotated())

    assert facts["count"].tolist() == [1, 2, 1, 1, 1]
    assert facts["shape"].tolist() == ["rectangle", "mixed", *["rectangle"] * 3]
    assert facts["kind"].fillna("unknown").tolist() == ["coin", "several kinds", "pin", "unknown", "unknown"]
    assert facts["side"].iloc[0] == pytest.approx(np.sqrt(60 * 50 / (90 * 60)))
    assert facts["side"].iloc[1] == pytest.approx(np.sqrt(20 * 15 / (90 * 60)))  # the rectangle is the larger


def test_breakdown_by_hand() -> None:
    facts = pd.DataFrame(
        {
            "side": [0.05, 0.1, 0.3, 0.5, 0.2, 0.9],
            "count": [1, 1, 2, 3, 9, 1],
            "shape": ["rectangle"] * 5 + ["mixed"],
            "kind": ["pin", "zip", "zip", "several kinds", None, "zip"],
        },
        index=pd.Index(list("abcdef"), name="image"),
    )
    distance = {"a": 0.0, "b": 10.0, "c": 20.0, "d": 0.0, "e": 90.0, "f": 0.0}
    scores = pd.DataFrame(
        [
            {"image": image, "method": "m", "protocol": protocol, "distance": value, "status": "ok",
             "target": int(image != "d"), "label": 1}
            for image, value in distance.items() for protocol in ("fair", "paper")
        ]
    )  # fmt: skip
    chance = pd.DataFrame([(i, t, 0.1 if i < "d" else 0.4) for i in "abcdef" for t in (0, 15, 25)])
    chance.columns = ["image", "tolerance", "chance"]

    table = break_down(scores, scores[:0], chance, film_groups(facts))

    rows = table[(table["protocol"] == "fair") & (table["tolerance"] == 15)].set_index(["breakdown", "group"])
    assert rows["films"].to_dict() == {
        ("size", "small, below 17 %"): 2, ("size", "medium, 17 to 37 %"): 2, ("size", "large, above 37 %"): 2,
        ("objects", "1 object"): 3, ("objects", "2 objects"): 1, ("objects", "3 or more"): 2,
        ("shape", "rectangle"): 5, ("shape", "mixed"): 1,
        ("kind", "zip"): 3, ("kind", "pin"): 1, ("kind", "several kinds"): 1,
    }  # fmt: skip
    assert rows.loc[("size", "small, below 17 %"), "accuracy"] == 1.0
    assert rows.loc[("size", "medium, 17 to 37 %"), "accuracy"] == 0.0
    assert rows.loc[("objects", "3 or more"), "accuracy"] == 0.5
    assert rows.loc[("kind", "zip"), "accuracy"] == pytest.approx(2 / 3)
    assert rows.loc[("objects", "1 object"), "chance"] == pytest.approx(0.2)
    # Wilson's interval for 1 of 2, by its formula.
    z = 1.959964
    half = z * np.sqrt(0.25 / 2 + z**2 / 16) / (1 + z**2 / 2)
    assert rows.loc[("objects", "3 or more"), ["ci_low", "ci_high"]].tolist() == pytest.approx([0.5 - half, 0.5 + half])


def test_explained_classes_are_broken_down_where_the_classifier_is_wrong() -> None:
    facts = pd.DataFrame({"side": 0.1, "count": 1, "shape": "ellipse", "kind": None}, index=list("abcd"))
    predicted = pd.DataFrame(
        {"image": list("abcd"), "method": "m", "distance": [0.0, 0.0, 99.0, 99.0], "status": "ok",
         "target": [1, 1, 1, 0], "label": 1}
    )  # fmt: skip
    true = predicted[3:].assign(target=1, distance=0.0)
    both = (pd.concat([rows.assign(protocol=name) for name in ("fair", "paper")]) for rows in (predicted, true))
    scores, true_scores = both
    chance = pd.DataFrame([(i, t, 0.1) for i in "abcd" for t in (0, 15, 25)], columns=["image", "tolerance", "chance"])

    table = break_down(scores, true_scores, chance, film_groups(facts))

    rows = table[(table["protocol"] == "paper") & (table["tolerance"] == 15)].set_index(["breakdown", "group"])
    assert rows.loc["target", "accuracy"].to_dict() == {"predicted class": 0.5, "true class": 0.75}
    assert rows.loc["target", "films"].tolist() == [4, 4]
    assert rows.loc["target", "chance"].tolist() == pytest.approx([0.1, 0.1])
    right = scores.assign(target=1)
    assert "target" not in set(break_down(right, right[:0], chance, film_groups(facts))["breakdown"])


def test_rare_kinds_share_a_group() -> None:
    kinds = [f"kind {number:02}" for number in range(15)]
    facts = pd.DataFrame({"side": 0.1, "count": 1, "shape": "ellipse", "kind": kinds + kinds[:13]})
    facts.index = pd.Index([f"{i}" for i in range(len(facts))], name="image")

    groups = film_groups(facts)["kind"].value_counts()

    assert groups[groups > 0].to_dict() == {**dict.fromkeys(kinds[:12], 2), "other kinds": 4}
    named = film_groups(facts.replace({"kind 00": "several kinds", "kind 01": "other kinds"}))["kind"]
    assert named.value_counts()["other kinds"] == 2 + 4 - 2  # a kind may bear the names of the groups


def test_scores_of_a_run_fit_its_groups(run: Config, job: Job) -> None:
    results = read_results(run, job)
    scores = results.scores

    groups = film_groups(annotation_facts(job.annotated()))
    table = break_down(scores, results.true_scores, results.chance, groups)

    center = table[(table["method"] == "center") & (table["tolerance"] == 0) & (table["protocol"] == "fair")]
    films = center.groupby("breakdown")["films"].sum()
    assert films[["size", "objects", "shape"]].tolist() == [POSITIVES] * 3
    own = scores.query("method == 'center' and protocol == 'fair'")
    total = own["distance"].eq(0).sum()
    for name in ("size", "objects", "shape"):
        rows = center[center["breakdown"] == name]
        assert (rows["accuracy"] * rows["films"]).sum() == pytest.approx(total)


def test_films_of_one_kind_are_not_broken_down(tmp_path: Path) -> None:
    facts = pd.DataFrame({"side": 0.1, "count": 1, "shape": "ellipse", "kind": None}, index=["a", "b"])
    scores = pd.DataFrame({"image": ["a", "b"], "method": "m", "protocol": "fair", "distance": 0.0, "status": "ok",
                           "target": 1, "label": 1})  # fmt: skip
    chance = pd.DataFrame([(i, t, 0.1) for i in "ab" for t in (0, 15, 25)], columns=["image", "tolerance", "chance"])

    both = pd.concat([scores, scores.assign(protocol="paper")])
    table = break_down(both, both[:0], chance, film_groups(facts))
    (tmp_path / "breakdown_size.png").write_text("old")
    (tmp_path / "breakdown.csv").write_text("a table")
    draw_breakdowns(table, tmp_path)

    assert table.empty
    assert [path.name for path in tmp_path.iterdir()] == ["breakdown.csv"]
