from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from tiny_run import POSITIVES, SIZE, make_run
from torch import nn
from torchvision.models import VisionTransformer

from benchmarks.consistency import variants as module
from benchmarks.consistency.variants import ALL, HEAD, SMOOTHED, TRAINED, play, play_variants, variants
from benchmarks.methods import METHODS, Context, Explain, Method
from benchmarks.metrics.frame import FRAME
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.job import Job
from benchmarks.scoring.score import open_job

BLOCKS = ["fc", *(f"layer{stage}.{block}" for stage in (4, 3, 2, 1) for block in (1, 0)), "bn1", "conv1"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return open_job(make_run(tmp_path_factory.mktemp("variants"), score_batch_size=3))


def method(name: str, build, cost: str = "one_pass") -> Method:
    return Method(name, name, build, "gradient", cost=cost)


def bright(context: Context) -> Explain:
    """A map that asks the network only for its scores."""
    return lambda images, targets: images[:, :1] + context.network(images).detach()[:, :1, None, None]


def test_steps_of_the_cascade_end_at_the_head_and_at_all_weights() -> None:
    assert variants(["fc", "b", "a"]) == {HEAD: ("fc",), "cascade 02 b": ("fc", "b"), ALL: ("fc", "b", "a")}
    assert variants(["fc"]) == {HEAD: ("fc",), ALL: ("fc",)}


@pytest.mark.parametrize("smooth", [False, True])
def test_maxima_are_those_of_the_maps_as_they_are_and_smoothed(job: Job, smooth: bool) -> None:
    films = [FilmBatch(job, batch) for batch in range(job.batches)]
    maps = torch.rand(POSITIVES, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    result = play(films, maps, maps, smooth=smooth)

    frames = F.interpolate(maps.double(), size=(FRAME, FRAME), mode="bilinear", align_corners=False)[:, 0].numpy()
    for i, frame in enumerate(frames):
        if smooth:
            frame = gaussian_filter(frame, sigma=1, mode="mirror", radius=5)
        x, y = result.points[i].astype(int)
        assert frame[y, x] == pytest.approx(frame.max(), abs=1e-12)  # ties at the border
        rows, columns = np.nonzero(films[i // 3].masks[i % 3].numpy())
        assert result.distance[i] == pytest.approx(np.hypot(rows - y, columns - x).min())
    assert result.correlation == pytest.approx(np.ones(POSITIVES))


def test_a_map_that_is_not_finite_has_no_maximum(job: Job) -> None:
    films = [FilmBatch(job, batch) for batch in range(job.batches)]
    maps = torch.rand(POSITIVES, 1, 4, 4)
    maps[1, 0, 0, 0] = torch.nan
    result = play(films, maps, maps)

    assert np.isnan(result.points).all(axis=1).tolist() == [False, True, False, False, False]
    assert np.isnan(result.distance).tolist() == [False, True, False, False, False]


def test_variants_use_the_network_that_they_name(job: Job, tmp_path: Path) -> None:
    seen: dict[str, list[torch.Tensor]] = {}

    def build(context: Context) -> Explain:
        layer, head = context.network.layer4[1].conv1.weight, context.network.fc.weight
        weights = [tensor.detach().clone() for tensor in (context.network.conv1.weight, layer, head)]

        def explain(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            seen.setdefault(str(len(builds)), weights)
            classes.append(targets.clone())
            return images[:, :1]

        builds.append(1)
        return explain

    builds: list[int] = []
    classes: list[torch.Tensor] = []
    played, failures = play_variants(job, [method("spy", build)], tmp_path)

    assert failures == {}
    assert [variant for variant, _ in played] == [TRAINED, SMOOTHED, *variants(BLOCKS)]
    own = [job.network.conv1.weight, job.network.layer4[1].conv1.weight, job.network.fc.weight]
    same = [[torch.equal(a, b) for a, b in zip(weights, own, strict=True)] for weights in seen.values()]
    assert same[0] == [True, True, True]  # trained
    assert same[1] == [True, True, False]  # head
    assert same[2:-1] == [[True, False, False]] * (len(same) - 3)
    assert same[-1] == [False, False, False]
    batches = [FilmBatch(job, batch).targets for batch in range(job.batches)]
    assert len(classes) == len(seen) * job.batches
    assert all(torch.equal(given, batches[i % job.batches]) for i, given in enumerate(classes))


def test_the_class_explained_is_the_one_that_was_stored(job: Job, tmp_path: Path) -> None:
    whole = [FilmBatch(job, batch) for batch in range(job.batches)]
    verdicts = pd.DataFrame([{**row, "target": 1 - row["target"]} for films in whole for row in films.verdicts])
    given: list[int] = []

    def build(context: Context) -> Explain:
        def explain(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            given.extend(targets.tolist())
            return images[:, :1]

        return explain

    play_variants(job, [method("one", build)], tmp_path, verdicts)
    assert given[: len(verdicts)] == verdicts["target"].tolist()


def test_what_is_there_is_not_computed_again(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def build(context: Context) -> Explain:
        def explain(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return torch.rand(len(images), 1, 8, 8) + images[:, :1, :8, :8]

        return explain

    stop = 7
    one = method("one", build)
    with pytest.raises(KeyboardInterrupt):
        play_variants(job, [one], tmp_path / "a")
    assert play_variants(job, [one], tmp_path / "a")[0].keys() == play_variants(job, [one], tmp_path / "b")[0].keys()
    # 12 variants of two batches; smoothing calls for no maps; the seventh call broke the fifth variant off.
    assert len(calls) == 24 + 24 + 1
    broken, whole = (play_variants(job, [one], tmp_path / name)[0] for name in "ab")
    for key, result in whole.items():
        np.testing.assert_array_equal(broken[key].points, result.points)
        np.testing.assert_array_equal(broken[key].correlation, result.correlation)
    monkeypatch.setattr(module, "FilmBatch", None)  # nothing may be computed
    capsys.readouterr()
    play_variants(job, [one], tmp_path / "a")
    assert "nothing to do" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("damaged", ["trained.npz", "all_weights.npz", "maps.npy"])
def test_what_is_damaged_is_computed_again(job: Job, tmp_path: Path, damaged: str) -> None:
    one = method("one", bright)
    before, _ = play_variants(job, [one], tmp_path)
    (path,) = tmp_path.glob(f"*/{damaged}")
    path.write_bytes(path.read_bytes()[:60])
    again, failures = play_variants(job, [one], tmp_path)
    assert not failures
    assert again.keys() == before.keys()
    for key, result in before.items():
        np.testing.assert_array_equal(again[key].distance, result.distance)
        np.testing.assert_array_equal(again[key].correlation, result.correlation)


def test_another_version_of_a_method_is_computed_again(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = lambda place: lambda context: lambda images, targets: (torch.arange(64.0) == place).view(1, 1, 8, 8)  # noqa: E731
    points = []
    for version, place in ((1, 0), (2, 63)):
        one = replace(method("one", lambda context, at=place: fixed(at)(context)), version=version)
        monkeypatch.setitem(METHODS, "one", one)
        played, _ = play_variants(replace(job, positives=job.positives[:1]), [one], tmp_path)
        points.append(played[TRAINED, "one"].points[0, 0])
    assert points[0] < FRAME / 2 < points[1]


def test_rounding_noise_has_no_rank_correlation(job: Job) -> None:
    films = [FilmBatch(job, batch) for batch in range(job.batches)]
    flat = 1 + 1e-7 * torch.rand(POSITIVES, 1, 8, 8)
    assert np.isnan(play(films, flat, torch.rand(POSITIVES, 1, 8, 8)).correlation).all()


def test_other_films_or_weights_never_mix(job: Job, tmp_path: Path) -> None:
    one = method("one", bright)
    first, _ = play_variants(job, [one], tmp_path)
    fewer, _ = play_variants(replace(job, positives=job.positives[:3]), [one], tmp_path)

    assert len(first[TRAINED, "one"].points) == POSITIVES
    assert len(fewer[TRAINED, "one"].points) == 3


def test_methods_of_many_passes_skip_the_cascade(job: Job, tmp_path: Path) -> None:
    played, _ = play_variants(job, [method("slow", bright, "many_passes")], tmp_path)

    assert list(played) == [(name, "slow") for name in (TRAINED, SMOOTHED, HEAD, ALL)]


def test_methods_that_fail_are_told_and_the_others_go_on(job: Job, tmp_path: Path) -> None:
    trained = job.network.fc.weight.detach().clone()

    def refuse(context: Context) -> Explain:
        raise ValueError("no such\nlayer")

    def fussy(context: Context) -> Explain:
        if not torch.equal(context.network.fc.weight, trained):
            raise RuntimeError("not this one")
        return bright(context)

    methods = [method("refusing", refuse), method("fussy", fussy, "many_passes"), method("one", bright)]
    played, failures = play_variants(job, methods, tmp_path)

    assert failures == {
        "refusing": "ValueError: no such layer",
        f"fussy, {HEAD}": "RuntimeError: not this one",
        f"fussy, {ALL}": "RuntimeError: not this one",
    }
    assert {name for _, name in played} == {"fussy", "one"}
    assert (ALL, "one") in played


def test_random_numbers_are_the_same_in_all_variants(job: Job, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    noise = method("noise", lambda context: lambda images, targets: torch.rand(len(images), 1, 4, 4), "many_passes")
    played, _ = play_variants(job, [noise], tmp_path)

    assert played[ALL, "noise"].correlation == pytest.approx(np.ones(POSITIVES))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_vision_transformer_is_checked_by_the_methods_that_can(job: Job, tmp_path: Path) -> None:
    vit: nn.Module = VisionTransformer(
        image_size=SIZE, patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=2
    ).eval()
    nn.init.normal_(vit.heads.head.weight)
    methods = [METHODS["grad_cam"], METHODS["input_x_gradient"]]
    played, failures = play_variants(replace(job, network=vit), methods, tmp_path)

    assert list(failures) == ["grad_cam"]
    correlation = played[ALL, "input_x_gradient"].correlation
    assert correlation.shape == (POSITIVES,)
    assert (np.abs(correlation) < 0.9).all()
