"""The paper: it compiles from a run, every number in it is a macro, and every reference leads somewhere."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from palimpsest.report import claims, collect, compile, numbers, provenance, tables
from palimpsest.report import figures as plotting
from palimpsest.run import ROOT, UserError
from synthetic_figures import TABLES, figures, params
from synthetic_measurements import MODELS, write_run

PAPER = ROOT / "paper"
SECTIONS = sorted((PAPER / "sections").glob("*.tex"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (PAPER / "main.tex", *SECTIONS))
# What may hold digits without being a number: names of labels, files and citations, and lengths of the layout.
NAMES = (
    r"\\(?:cite[tp]?(?:\[[^]]*\])*|ref|eqref|label|input|tablefile)\{[^}]*\}|\\url\{[^}]*\}"
    r"|\\partref\{\w+\}\{[^}]*\}|\\drawn(?:\[[^]]*\])?\{[^}]*\}\{[^}]*\}"
)


def typed_numbers(text: str) -> list[str]:
    """The lines of a section with digits in them that are no name and are not marked as a constant."""
    found = []
    for line in text.splitlines():
        code, _, comment = line.partition(" % ")
        if comment.strip() != "constant" and re.search(r"\d", re.sub(NAMES, "", code)):
            found.append(line)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Everything that the paper reads, made from synthetic measurements."""
    folder = tmp_path_factory.mktemp("run")
    made = folder / "paper"
    for kind in ("tables", "figures"):
        (made / kind).mkdir(parents=True)
    paths = write_run(folder / "measured")
    table, families = folder / "all.parquet", {"lcr": list(MODELS)}
    collect.collect(paths, table)
    names = ("verdicts.parquet", "verdicts.csv", "scorecard.tex", "scorecard.html", "verdicts.tex")
    claims.claims(
        [table], sorted((ROOT / "config/claims").glob("*.yaml")), *(made / name for name in names), families=families
    )
    macros, sections = made / "numbers.tex", made / "families.tex"
    numbers.numbers(
        [table],
        PAPER / "numbers.yaml",
        macros,
        sections,
        families=families,
        experiment="test",
        procedural=True,
        rehearsal=False,
    )
    benchmarks = folder / "benchmarks"
    benchmarks.mkdir()
    (benchmarks / "b.jsonl").write_text('{"s": 1.0, "max_rss": 10.0, "rule_name": "lcr_replace"}\n', encoding="utf-8")
    parts = [made / f"provenance.{kind}" for kind in ("json", "tex", "csv", "html")]
    provenance.provenance(table, paths, benchmarks, *parts, experiment="test", config={})
    for name in TABLES:
        twins = [made / "tables" / f"lcr_{name}.{kind}" for kind in ("tex", "csv", "html")]
        given = {"params": params("tables", name), "measurements": [table]}
        tables.tabulate(*twins, family="lcr", name=name, **given)
    for name, inputs in figures(folder / "inputs").items():
        twins = [made / "figures" / f"lcr_{name}.{kind}" for kind in ("pdf", "png")]
        given = {"params": params("figures", name), "measurements": [table], "inputs": inputs}
        plotting.plot(*twins, family="lcr", name=name, **given)
    return made


def typeset(built: Path, pdf: Path) -> dict:
    generated = sorted(path for path in built.rglob("*") if path.suffix in (".tex", ".pdf") and path != pdf)
    return compile.compile(
        PAPER / "main.tex", [*SECTIONS, PAPER / "references.bib"], built / "families.tex", generated, pdf
    )


@pytest.mark.skipif(shutil.which("latexmk") is None, reason="latexmk is not installed")
def test_the_paper_compiles_twice_to_the_same_bytes_and_fits_its_columns(built, tmp_path):
    result = typeset(built, tmp_path / "a.pdf")
    typeset(built, tmp_path / "b.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert result["overfull"] == []
    assert result["undefined"] == []
    assert 5 <= result["pages"] <= 30


@pytest.mark.skipif(shutil.which("latexmk") is None, reason="latexmk is not installed")
def test_a_fault_of_latex_is_named(built, tmp_path):
    main = tmp_path / "main.tex"
    main.write_text(r"\documentclass{article}\begin{document}\nosuchmacro\end{document}", encoding="utf-8")
    with pytest.raises(UserError, match="Undefined control sequence"):
        compile.compile(main, [], built / "families.tex", [], tmp_path / "x.pdf")


def test_without_latexmk_the_packages_are_named(built, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get install.*texlive-latex-recommended"):
        typeset(built, tmp_path / "x.pdf")


@pytest.mark.parametrize("path", SECTIONS, ids=lambda path: path.stem)
def test_no_number_is_typed_by_hand(path):
    assert typed_numbers(path.read_text(encoding="utf-8")) == []


def test_the_test_of_typed_numbers_finds_one():
    assert typed_numbers(r"the AUC is 0.96 here") != []
    assert typed_numbers(r"the AUC is \lcrAuc{} \citep{esser2021taming} % a note of 2021") == []
    assert typed_numbers("a level of 5\\,\\% % constant") == []


def test_every_macro_of_the_prose_is_defined_by_the_run_and_every_number_is_quoted(built):
    defined = set(re.findall(r"\\newcommand\{\\(\w+)\}", (built / "numbers.tex").read_text(encoding="utf-8")))
    defined |= set(re.findall(r"\\newcommand\{\\(\w+)\}", (built / "verdicts.tex").read_text(encoding="utf-8")))
    used = set(re.findall(r"\\((?:lcr|instance|erasure|memory|var|verdict)[A-Z]\w*)", SOURCE))
    assert used <= defined, used - defined
    quoted = {
        entry["name"] for entry in yaml.safe_load((PAPER / "numbers.yaml").read_text(encoding="utf-8"))["numbers"]
    }
    assert quoted <= used, f"defined in numbers.yaml and never quoted: {sorted(quoted - used)}"


def test_every_verdict_is_in_the_prose():
    for claim in claims.read(sorted((ROOT / "config/claims").glob("*.yaml"))):
        name = "verdict" + "".join(part.capitalize() for part in claim["id"].split("_"))
        assert f"\\{name}" in SOURCE, name


@pytest.mark.skipif(shutil.which("latexmk") is None, reason="latexmk is not installed")
def test_what_an_experiment_does_not_make_is_left_out_of_its_paper(built, tmp_path):
    less = tmp_path / "paper"
    shutil.copytree(built, less)
    for path in (less / "tables/lcr_models.tex", less / "figures/lcr_pareto.pdf"):
        path.unlink()
    macros = less / "numbers.tex"
    macros.write_text(
        macros.read_text(encoding="utf-8").replace("\\proceduraltrue", "\\proceduralfalse"), encoding="utf-8"
    )
    found = typeset(less, tmp_path / "less.pdf")
    assert found["undefined"] == [] and found["pages"] > 3


# The synthetic run has one family; the others' numbers say that they were not measured.
OTHERS = tuple(rf"\newcommand{{\{family}" for family in ("instance", "erasure", "var"))


def test_every_number_of_the_prose_was_measured(built):
    lines = (built / "numbers.tex").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "not measured" in line and not line.startswith(OTHERS)] == []
    assert any(line.startswith(r"\newcommand{\lcr") for line in lines)


def test_citations_and_references_match():
    keys = set(re.findall(r"@\w+\{(\w+),", (PAPER / "references.bib").read_text(encoding="utf-8")))
    cited = {key for group in re.findall(r"\\cite[tp]?(?:\[[^]]*\])*\{([^}]*)\}", SOURCE) for key in group.split(",")}
    assert cited == keys


@pytest.mark.parametrize("family", ["lcr", "instance"])
def test_every_table_and_figure_file_is_in_the_paper(family):
    for kind, command in (("tables", r"\\tablefile"), ("figures", r"\\drawn(?:\[figure\*\])?")):
        folder = ROOT / "src" / "palimpsest" / family / kind
        files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
        assert files == set(re.findall(rf"{command}\{{{family}_(\w+)\}}", SOURCE))
