"""Kills, full disks, damaged films, lack of memory, several processes: nothing computed is lost, nothing is mixed."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scored import SOME
from tiny_run import POSITIVES, make_run

from benchmarks import __main__ as cli
from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.methods import Context, Method
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_torch
from benchmarks.scoring.batch import FilmBatch
from benchmarks.scoring.score import ScoreStep, open_job, score

ROOT = Path(__file__).parents[3]


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "scores.parquet").drop(columns="seconds")


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output


def kill_when(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    with process:
        deadline = time.monotonic() + 120
        while not condition() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()[0]
        process.send_signal(signal.SIGKILL)


def units(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'scores.sqlite'}?mode=ro", uri=True)) as connection, connection:
            return int(connection.execute("SELECT COUNT(*) FROM units").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, which is how a process can fill a disk of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_training_and_scoring_killed_by_sigkill_end_with_the_numbers_of_a_whole_run(
    tmp_path: Path, finished: Config
) -> None:
    options = [
        "--data", str(finished.data), "--weights", "none", "--image-size", "64", "--epochs", "3",
        "--batch-size", "4", "--accelerator", "cpu", "--threads", "1", "--quiet",
    ]  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train = ["train", *options, "--out"]
    assert cli.main([*train, str(whole)]) == 0
    kill_when(lambda: (broken / "checkpoints" / "last.ckpt").exists(), start("-m", "benchmarks", *train, str(broken)))
    assert not (broken / "classifier.json").exists()
    assert cli.main([*train, str(broken)]) == 0
    networks = [load_classifier(folder).state_dict() for folder in (whole, broken)]
    torch.testing.assert_close(*networks, rtol=0, atol=0)

    score_options = ["score", "--quiet", "--score-batch-size", "4", "--methods", ",".join(SOME), "--checkpoint"]
    outs = [tmp_path / "scores-whole", tmp_path / "scores-broken"]
    assert cli.main([*score_options, str(whole), "--out", str(outs[0])]) == 0
    kill_when(
        lambda: units(outs[1]) >= 1,
        start("-m", "benchmarks", *score_options, str(broken), "--out", str(outs[1])),
    )
    assert cli.main([*score_options, str(broken), "--out", str(outs[1])]) == 0
    pd.testing.assert_frame_equal(rows(outs[1]), rows(outs[0]))


def test_two_devices_score_the_classifier_of_another_run(tmp_path: Path, finished: Config) -> None:
    out = tmp_path / "scores"
    command = ["score", "--checkpoint", str(finished.out), "--out", str(out), "--devices", "2", "--accelerator", "cpu"]
    finish(start("-m", "benchmarks", *command, "--quiet"))

    pd.testing.assert_frame_equal(rows(out), rows(finished.out))
    assert not rows(out).duplicated(["image", "method", "protocol"]).any()
    assert not list(out.glob("scores.rank*"))


def test_torchrun_gives_the_rows_of_one_process(tmp_path: Path, finished: Config) -> None:
    out = tmp_path / "scores"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "benchmarks"]
    command = ["score", "--checkpoint", str(finished.out), "--out", str(out), "--devices", "2", "--accelerator", "cpu"]
    finish(start(*launcher, *command, "--quiet"))

    pd.testing.assert_frame_equal(rows(out), rows(finished.out))


def test_slurm_gives_the_rows_of_one_process(tmp_path: Path, finished: Config) -> None:
    """Two machines of one task each, as ``srun`` presents them to the tasks."""
    out = tmp_path / "scores"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "score", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2", "SLURM_JOB_NUM_NODES": "2", "SLURM_NODELIST": "127.0.0.1", "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    command = ["score", "--checkpoint", str(finished.out), "--out", str(out), "--devices", "1", "--num-nodes", "2"]
    finish(
        *(
            start("-m", "benchmarks", *command, "--accelerator", "cpu", "--quiet", **shared, **own)
            for own in ({"SLURM_PROCID": n, "SLURM_NODEID": n} for n in "01")
        )
    )

    pd.testing.assert_frame_equal(rows(out), rows(finished.out))


def test_a_full_disk_while_scoring_loses_nothing(tmp_path: Path, finished: Config) -> None:
    config = make_run(tmp_path, methods=("center",))
    score(config)
    before = rows(config.out)
    done = units(config.out)
    everything = config.replace(methods=SOME)
    size = (config.out / "scores.sqlite").stat().st_size
    with disk_full_at(size // 2), pytest.raises(UserError, match="cannot be written"):
        score(everything)
    pd.testing.assert_frame_equal(rows(config.out), before)
    assert units(config.out) >= done
    score(everything)

    pd.testing.assert_frame_equal(rows(config.out), rows(finished.out))


def test_what_keeps_a_checkpoint_from_being_written_is_said(tmp_path: Path) -> None:
    """And not torch's words for it; of a full disk they lead to the remedy."""
    with disk_full_at(1000), pytest.raises(UserError, match=r"best\.ckpt cannot be written \(File too large\)"):
        write_torch(tmp_path / "best.ckpt", {"weights": torch.zeros(10000)})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_decoding_is_one_sentence(tmp_path: Path, finished: Config) -> None:
    records = read_split(finished.data_root, "test")
    with disk_full_at(1000), pytest.raises(UserError, match=r"cache has no room for the decoded films, 0\.0 GB"):
        FilmDataset(records, 64, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(FilmDataset(records, 64, tmp_path / "cache")) == len(records)


def test_the_space_of_decoded_films_is_taken_before_they_are_written(
    tmp_path: Path, finished: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        assert length > POSITIVES * 64 * 64
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(UserError, match=r"no room .*No space left on device"):
        FilmDataset(read_split(finished.data_root, "test"), 64, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_film_that_breaks_in_the_middle_is_named_and_scores_stay(tmp_path: Path, finished: Config) -> None:
    config = make_run(tmp_path, methods=SOME[:2])
    score(config)
    films = [config.data_root / "test" / f"0000{number}.png" for number in (3, 4)]
    content = [film.read_bytes() for film in films]
    for film in films:
        film.write_bytes(film.read_bytes()[:40])
    everything = config.replace(methods=SOME)
    with pytest.raises(UserError, match=r"test\.csv, row 5: .*00003\.png is neither DICOM nor PNG.*in all: 2 of 7"):
        score(everything)
    assert units(config.out) == (2 + 1) * 3  # the films themselves are one, too
    for film, data in zip(films, content, strict=True):
        film.write_bytes(data)  # at another time than before, which must not count
    job = open_job(everything)
    with ScoreStep().reading(everything, job) as store:
        assert len(store.finished()) == (2 + 1) * 3
    score(everything)

    pd.testing.assert_frame_equal(rows(config.out), rows(finished.out))


def test_scores_of_a_film_that_was_replaced_are_not_kept(tmp_path: Path) -> None:
    config = make_run(tmp_path, methods=("input_x_gradient",))
    score(config)
    before = rows(config.out)
    path = config.data_root / "test" / "00001.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    score(config)

    changed = rows(config.out)
    pixels = ["x", "y", "probability"]
    mine = before["image"] == "00001.png"
    assert (changed.loc[mine, pixels] != before.loc[mine, pixels]).any(axis=None)
    pd.testing.assert_frame_equal(changed[~mine], before[~mine])


def test_the_networks_own_pass_halves_its_batch_too(finished: Config) -> None:
    job = open_job(finished)
    whole = FilmBatch(job, 0)

    class Small(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return network(images)

    network = job.network
    tight = FilmBatch(replace(job, network=Small()), 0)

    assert torch.equal(tight.targets, whole.targets)
    torch.testing.assert_close(tight.probabilities, whole.probabilities)


def test_lack_of_memory_in_one_method_loses_nothing(
    tmp_path: Path, finished: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fits: list[torch.Tensor] = []

    def built(self: Method, context: Context) -> Any:
        explain = plain(self, context)

        def hungry(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            fits.append(images)  # the films of the first batch
            if not any(torch.equal(images[0], film) for film in fits[0]):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return explain(images, targets)

        return hungry if self.name == "input_x_gradient" else explain

    plain = Method.built
    config = make_run(tmp_path, methods=SOME)
    with monkeypatch.context() as patch:
        patch.setattr(Method, "built", built)
        score(config)
    assert "input_x_gradient could not run: out of memory even with one image at a time" in capsys.readouterr().out
    expected, scores = rows(finished.out), rows(config.out)
    hungry = expected["method"] == "input_x_gradient"
    kept = expected[~hungry | expected["image"].isin(["00000.png", "00001.png"])]  # the batch before memory ran out
    pd.testing.assert_frame_equal(scores, kept.reset_index(drop=True))
    score(config)

    pd.testing.assert_frame_equal(rows(config.out), expected)


def test_a_network_that_changed_since_training_is_one_sentence(tmp_path: Path) -> None:
    config = make_run(tmp_path)
    path = config.out / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["network.fc.weight"] = torch.zeros(2, 7)
    torch.save(content, path)
    with pytest.raises(UserError, match=r"holds the weights of another network than today's slim_resnet18") as told:
        load_classifier(config.out)
    assert "\n" not in str(told.value)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"best\.ckpt is damaged"):
        load_classifier(config.out)


def test_another_configuration_is_refused_in_the_same_directory(finished: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--truth box, not shape"):
        cli.main(["score", "--out", str(finished.out), "--truth", "shape", "--debug"])
    assert json.loads((finished.out / "config.json").read_text())["truth"] == "box"
