"""A family is added by docs/adding_a_family.md alone, and what one lacks is said at once."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from conftest import ROOT, copy_of_the_project, snakemake
from palimpsest.plan import families
from palimpsest.plan.configuration import merged, parts, without_nulls

pytestmark = pytest.mark.workflow
PAGE = ROOT / "docs/adding_a_family.md"
TOY = ("--configfile", "config/with_toy.yaml")


def files_of_the_page() -> dict[str, str]:
    """Every file that the page shows, by its path: a block of code below a line with nothing but the path."""
    blocks = re.findall(r"^`([^`\n]+)`\n```\w+\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the family of the page."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("family"))
    for path, text in files_of_the_page().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def test_the_family_of_the_page_is_planned_whole_and_makes_its_table_and_its_verdict(project):
    planned = snakemake(project, "--dry-run", *TOY).stdout
    for rule in ("toy_edit", "tabulate", "execute_notebook", "judge_claims"):
        assert re.search(rf"^{rule} +1$", planned, re.MULTILINE), rule
    table, scorecard = (f"results/with_toy/paper/{name}.csv" for name in ("tables/toy_brightness", "scorecard"))
    snakemake(project, *TOY, "--", table, scorecard)
    table = pd.read_csv(project / table)
    before, after = table["Brightness"].astype(str).str.extract(r"([\d.]+)")[0].astype(float)
    assert list(table["Method"]) == ["before", "darken"] and after == pytest.approx(before / 2, abs=0.01)
    assert list(pd.read_csv(project / scorecard)["verdict"]) == ["holds"]


def test_measurements_that_no_rule_makes_are_refused_when_planning(project):
    plan = project / "src/palimpsest/plan/toy.py"
    written = plan.read_text(encoding="utf-8")
    plan.write_text(written.replace("{method}/measurements.parquet", "{method}/measured.parquet"), encoding="utf-8")
    said = snakemake(project, "--dry-run", *TOY, check=False)
    plan.write_text(written, encoding="utf-8")
    assert said.returncode != 0 and "results/with_toy/toy/darken/measured.parquet" in said.stdout


def test_everything_that_a_family_lacks_is_named_at_once(project):
    def lacks() -> list[str]:
        config = merged(parts(project, [project / "config/with_toy.yaml"], {}))
        without_nulls(config)
        return families.missing(project, config, "toy")

    assert lacks() == []
    listed = [
        "workflow/schemas/toy.schema.yaml",
        "workflow/rules/toy.smk",
        "src/palimpsest/plan/toy.py",
        "src/palimpsest/toy/names.py",
        "src/palimpsest/toy/tables/brightness.py",
        "config/claims/toy.yaml",
        "paper/sections/toy.tex",
        "notebooks/toy.ipynb",
    ]
    for path in listed:
        shutil.move(project / path, project / "aside")
        assert [line.split(" (")[0] for line in lacks()] == [path]
        shutil.move(project / "aside", project / path)
    for path in listed:
        (project / path).unlink()
    said = snakemake(project, "--dry-run", *TOY, check=False)
    assert said.returncode != 0 and all(path in said.stdout for path in listed)
