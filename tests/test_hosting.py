"""What the code's host reads: the files parse, and their commands are those that are run here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml  # lightning needs it as well

ROOT = Path(__file__).parent.parent
FILES = [*ROOT.glob(".github/**/*.yml"), ROOT / ".readthedocs.yaml"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_parses(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_workflow_runs_what_a_developer_runs() -> None:
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    tests = re.search(r"<!-- ci: test -->\n```bash\n(.*?)\n```", read("README.md"), re.DOTALL)
    assert tests
    assert commands == {"everything": ["bash .ci/run"], "tests": [tests[1]]}
    assert (ROOT / ".ci" / "run").is_file()
    pythons = re.findall(r"Programming Language :: Python :: (3\.\d+)", read("pyproject.toml"))
    assert jobs["tests"]["strategy"]["matrix"]["python"] == pythons


def test_the_documentation_is_built_as_by_ci() -> None:
    settings = yaml.safe_load(read(".readthedocs.yaml"))
    extra = settings["python"]["install"][0]["extra_requirements"]
    assert f"\n{extra[0]} = [" in read("pyproject.toml")
    assert (ROOT / settings["sphinx"]["configuration"]).is_file()
    assert settings["sphinx"]["fail_on_warning"] == ("sphinx -W" in read(".ci/run"))


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*_*.yml")), ids=lambda path: path.name)
def test_a_form_asks_for_something(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"]
    assert form["description"]
    assert any(field.get("validations", {}).get("required") for field in form["body"])
    assert len({field["id"] for field in form["body"]}) == len(form["body"])
