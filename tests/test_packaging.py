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
    assert "captum" in metadata["Keywords"]
    assert metadata["Summary"]
    classifiers = metadata.get_all("Classifier") or []
    assert len(metadata.get_all("Project-URL") or []) >= 2
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.10"} <= set(classifiers)
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
        if floor and (floor[1] in pins or "extra ==" not in requirement or "'benchmarks'" in requirement):
            floors[floor[1]] = floor[2].split(".")
    assert floors.keys() <= pins.keys()
    for name, floor in floors.items():
        assert pins[name][: len(floor)] == floor, name


def test_twine_accepts_the_files(dist: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_citation_has_the_same_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {normgrad_attr.__version__}" in lines
    assert f"## {normgrad_attr.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


CLIENT = """
import torch
from torch import Tensor, nn

from normgrad_attr import CombinedNormGrad, NormGrad, tokens_to_map
from normgrad_attr.functional import normgrad_map

model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
combined: Tensor | tuple[Tensor, ...] = CombinedNormGrad(model, ["0", model[1]]).attribute(torch.rand(1, 3, 8, 8), 0)
plain: Tensor = normgrad_map(torch.rand(1, 2, 3), torch.rand(1, 2, 3), extract="scaling")
tokens: Tensor = tokens_to_map(torch.rand(1, 1, 17))
"""
WRONG = """
import torch
from normgrad_attr import NormGrad, tokens_to_map

NormGrad(torch.nn.Identity(), "0", extract=3)
tokens_to_map("no tensor")
"""


def test_a_client_sees_the_types(dist: Path, tmp_path: Path) -> None:
    """mypy believes an installed package's annotations only if py.typed lies where the wheel puts it."""
    environment, client = tmp_path / "environment", tmp_path / "client"
    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python*/site-packages")
    (wheel,) = dist.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
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
    assert (complaints.count("error:"), complaints.count("[arg-type]")) == (2, 2), complaints
    (site / "normgrad_attr" / "py.typed").unlink()
    assert "[import-untyped]" in check("right.py")


def test_the_library_imports_without_the_extras() -> None:
    """In a process where nothing but torch, captum and what they need themselves can be found."""
    script = """
import sys

class Absent:
    names = {"torchvision", "lightning", "pytorch_lightning", "torchmetrics", "pandas", "pyarrow", "rich", "benchmarks"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import normgrad_attr, normgrad_attr.functional
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_the_import_brings_nothing_that_captum_does_not() -> None:
    script = """
import sys, captum.attr
before = set(sys.modules)
import normgrad_attr, normgrad_attr.functional
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
assert "torchvision" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["normgrad_attr"]
