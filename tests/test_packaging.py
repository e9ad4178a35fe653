"""What is shipped: wheel, sdist, metadata, types."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml  # lightning needs it as well

import normgrad_attr

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built by the backend that pyproject.toml names, in this environment."""
    folder = tmp_path_factory.mktemp("dist")
    script = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1])); print(b.build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_library_alone(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "normgrad_attr").rglob("*.py")}
    info = f"normgrad_attr-{normgrad_attr.__version__}.dist-info/"
    assert {n for n in names if not n.startswith(info)} == modules | {"normgrad_attr/py.typed"}
    assert f"{info}licenses/LICENSE" in names


def test_the_sdist_holds_sources_and_tests(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    root = f"normgrad_attr-{normgrad_attr.__version__}/"
    with tarfile.open(sdist) as archive:
        names = {n.removeprefix(root) for n in archive.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "tests/oracle.py"):
        assert name in names
    if (ROOT / ".git").exists():  # from a checkout: everything but what only a checkout needs
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
        files = {
            n
            for n in listed
            if (ROOT / n).is_file() and not n.startswith((".ci/", ".github/", ".pre-commit", ".readthedocs"))
        }
        assert names - {"PKG-INFO"} == files
    heads = {n.partition("/")[0] for n in names}
    assert heads <= {
        "normgrad_attr", "benchmarks", "docs", "examples", "tests", "pyproject.toml", "README.md", "LICENSE",
        "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "PKG-INFO", ".gitignore",
    }  # fmt: skip
    assert not [n for n in names if n.endswith((".ckpt", ".pt", ".pyc")) or re.match("docs/(_build|gallery|made)/", n)]


def test_metadata_is_complete(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        info = f"normgrad_attr-{normgrad_attr.__version__}.dist-info/METADATA"
        metadata = email.message_from_bytes(archive.read(info))
    assert metadata["Version"] == normgrad_attr.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.10"
    assert {"captum", "normgrad", "saliency"} <= set(metadata["Keywords"].split(","))
    assert metadata["Summary"]
    assert metadata["Author"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(metadata.get_all("Project-URL") or []) >= 2
    classifiers = set(metadata.get_all("Classifier") or [])
    assert {"Typing :: Typed", "Intended Audience :: Science/Research"} <= classifiers
    assert any(c.startswith("Development Status ::") for c in classifiers)
    versions = sorted(int(c.rpartition(".")[2]) for c in classifiers if re.search(r":: 3\.\d+$", c))
    assert versions == list(range(10, versions[-1] + 1))
    needed = {r.split(">")[0] for r in metadata.get_all("Requires-Dist") or [] if "extra ==" not in r}
    assert {name.split("<")[0] for name in needed} == {"torch", "captum"}
    assert set(metadata.get_all("Provides-Extra") or []) >= {"benchmarks", "test", "docs", "dev"}


def test_ci_runs_with_the_oldest_versions_that_are_declared(dist: Path) -> None:
    pinned = ROOT / ".ci" / "oldest.txt"
    if not pinned.exists():
        pytest.skip("this is not a checkout of the repository")
    lines = [line.strip() for line in pinned.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pins = {name: version.split(".") for name, _, version in (line.partition("==") for line in lines)}
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        info = f"normgrad_attr-{normgrad_attr.__version__}.dist-info/METADATA"
        metadata = email.message_from_bytes(archive.read(info))
    floors = {}
    for requirement in metadata.get_all("Requires-Dist") or []:
        floor = re.match(r"([\w-]+)[^;]*>=([\d.]+)", requirement)
        if "'zoo'" in requirement:  # surveys what is new
            continue
        if floor and (floor[1] in pins or "extra ==" not in requirement or "'benchmarks'" in requirement):
            floors[floor[1]] = floor[2].split(".")
    assert floors.keys() <= pins.keys()
    for name, floor in floors.items():
        assert pins[name][: len(floor)] == floor, name


def test_twine_accepts_the_files(dist: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_is_the_same_everywhere() -> None:
    """The build reads it from the package; what else names it must agree."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == normgrad_attr.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == normgrad_attr.__version__
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_citation_is_complete() -> None:
    """What version 1.2.0 of the format asks for, and the papers that a user should cite."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license", "type"} <= set(citation)
    assert citation["license"] == "BSD-3-Clause"
    cited = {reference["year"] for reference in citation["references"]}
    assert cited == {2020, 2021}
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


CLIENT = """
import torch
from torch import Tensor, nn

from normgrad_attr import (
    CombinedNormGrad, MetaSaliency, NormGrad, attribute_together, class_sensitivity, explain, probe_weights, smooth,
    suggest_layers, tokens_to_map,
)
from normgrad_attr.functional import Peak, combine_maps, normgrad_map
from normgrad_attr.visualize import overlay

model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
images = torch.rand(1, 3, 8, 8)
maps: Tensor = explain(model, images, class_sensitive=True).maps
places: list[list[Peak]] = explain(model, images).boxes()
one: Tensor = NormGrad(model, "0").attribute(images, 0)
several: list[Tensor] = NormGrad(model, ["0", model[1]]).attribute(images, [0])
one_and_output: tuple[Tensor, Tensor] = NormGrad(model, model[0]).attribute(images, return_output=True)
grid: dict[tuple[str, str], list[Tensor]] = NormGrad(model, ["*"]).attribute_grid(images, 0)
method = CombinedNormGrad(model, suggest_layers(model, images), combine="sum", weights="linear")
combined: Tensor = method.attribute(images, 0)
for_each_input: tuple[Tensor, ...] = method.attribute((images,), 0)
combined_and_output: tuple[Tensor, Tensor] = method.attribute(images, torch.tensor([0]), return_output=True)
together: list[Tensor] = attribute_together([NormGrad(model, "0"), method], images, 0)
plain: Tensor = normgrad_map(torch.rand(1, 2, 3), torch.rand(1, 2, 3), extract="scaling")
tokens: Tensor = tokens_to_map(torch.rand(1, 1, 17))
layers: list[str] = suggest_layers(model, images)
weights: list[float] = probe_weights(model, layers, [(images, torch.tensor([0]))])
product: Tensor = smooth(combine_maps([plain], (8, 8), weights=weights), sigma=1.0)
change: Tensor = class_sensitivity(MetaSaliency(NormGrad(model, "0", aggregate="sum"), lr=1e-3), images)
overlay(images, {"product": product}).savefig("maps.png")
"""
WRONG = """
import torch
from normgrad_attr import CombinedNormGrad, NormGrad, tokens_to_map

NormGrad(torch.nn.Identity(), "0", extract=3)
CombinedNormGrad(torch.nn.Identity(), "0", combine="mean")
CombinedNormGrad(torch.nn.Identity(), "0", weights="even")
maps: torch.Tensor = NormGrad(torch.nn.Identity(), ["0"]).attribute(torch.rand(1), 0)
tokens_to_map("no tensor")
"""


def test_a_client_sees_the_types(dist: Path, tmp_path: Path) -> None:
    """mypy believes an installed package's annotations only if py.typed lies where the wheel puts it."""
    environment, client = tmp_path / "environment", tmp_path / "client"
    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python*/site-packages")
    (wheel,) = dist.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # torch and captum from here
    client.mkdir()
    (client / "right.py").write_text(CLIENT)
    (client / "wrong.py").write_text(WRONG)

    def check(name: str) -> str:
        python = environment / "bin" / "python"
        command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), name]
        return subprocess.run(command, cwd=client, capture_output=True, text=True, check=False).stdout

    assert "Success" in check("right.py")
    complaints = check("wrong.py")
    kinds = [line.rpartition("[")[2].rstrip("]") for line in complaints.splitlines() if "error:" in line]
    assert kinds == ["call-overload", "arg-type", "arg-type", "assignment", "arg-type"], complaints
    (site / "normgrad_attr" / "py.typed").unlink()
    assert "[import-untyped]" in check("right.py")


def test_the_library_imports_without_the_extras() -> None:
    """In a process where nothing but torch, captum and what they need themselves can be found."""
    script = """
import sys

class Absent:
    names = {
        "torchvision", "lightning", "pytorch_lightning", "torchmetrics", "pandas", "pyarrow", "rich", "scipy",
        "pydicom", "pytorch_grad_cam", "torchcam", "sphinx", "pytest", "benchmarks",
    }
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import importlib, pkgutil
import normgrad_attr
modules = [m.name for m in pkgutil.walk_packages(normgrad_attr.__path__, "normgrad_attr.")]
assert "normgrad_attr.visualize" in modules
for name in modules:
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_the_import_brings_nothing_that_captum_does_not() -> None:
    script = """
import sys, captum.attr
before = set(sys.modules)
import normgrad_attr
assert normgrad_attr.functional.normgrad_map and normgrad_attr.visualize.overlay  # no import of their own
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
assert "torchvision" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["normgrad_attr"]
