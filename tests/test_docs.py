"""What the documents name is there: commands, modules, files; and the README stays short."""

import ast
import dataclasses
import importlib.util
import re
import subprocess
import sys
import tomllib

import grimp
import pytest

from conftest import ROOT
from palimpsest.models.edit_table import Edit
from palimpsest.unlearning.engine import Step

PAGES = [
    ROOT / "README.md",
    ROOT / "config/README.md",
    ROOT / "profiles/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# What a run, a download or the user makes, and what the page that adds a family makes itself.
MADE = (
    "results/",
    "profiles/mine",
    "resources/checkpoints/",
    "resources/photographs",
    "resources/collections",
    ".venv",
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def text_of(page) -> str:
    return page.read_text(encoding="utf-8")


def made_by_the_page(page) -> set[str]:
    """The files that a page shows in full, each below a line with its path."""
    return set(re.findall(r"^`([^`\n]+)`\n```", text_of(page), re.MULTILINE))


def blocks(page, *languages: str) -> list[str]:
    """The fenced blocks of a page in some languages; "" is none, as of a shell's lines."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [text for language, text in fenced if language in languages]


def allowed_imports() -> dict[str, set[str]]:
    """Room to the rooms that docs/architecture.md lets it import."""
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \|[^|]*\| ([^|]*) \|$", text_of(ROOT / "docs/architecture.md"), re.MULTILINE
    )
    return {room: set(re.findall(r"`(\w+)`", row[1])) for row in rows for room in re.findall(r"`(\w+)`", row[0])}


def is_there(path: str, page) -> bool:
    """Whether a path of the repository exists; <names> in it stand for anything."""
    pattern = re.sub(r"<[^>]+>", "*", path.split("{")[0] if "{" in path else path).rstrip("/")
    return bool(list(ROOT.glob(pattern))) or bool(list(page.parent.glob(pattern)))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 9000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text_of(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_path_and_make_target_exists(page):
    text, own = text_of(page), made_by_the_page(page)
    roots = "|".join(
        ["config", "docs", "envs", "notebooks", "paper", "profiles", "resources", "src", "tests", "workflow"]
    )
    named = set(re.findall(rf"`((?:{roots})/[^`\s*]*)`", text)) - own
    missing = [path for path in sorted(named) if not path.startswith(MADE) and not is_there(path, page)]
    made_later = {path for path in missing if any(each.startswith(path) for each in own)}
    # A page speaks of the paper of a run, results/<experiment>/paper, in short.
    assert [
        path
        for path in missing
        if path not in made_later and not re.match(r"paper/(measurements|figures|tables)", path)
    ] == []
    assert {name for name in re.findall(r"`make ([a-z-]+)", text)} <= TARGETS


def test_every_named_module_exists():
    for page in PAGES:
        for name in set(re.findall(r"python -m (palimpsest(?:\.\w+)+)", text_of(page))):
            if f"src/{name.replace('.', '/')}.py" not in made_by_the_page(page):
                assert importlib.util.find_spec(name), f"{page.name}: {name}"


@pytest.mark.workflow
def test_the_picture_of_the_stages_is_that_of_the_rules():
    page = ROOT / "docs/architecture.md"
    code = "import pathlib, stages; print(stages.updated(stages.PAGE.read_text(encoding='utf-8')), end='')"
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT / "docs", capture_output=True, text=True, encoding="utf-8", check=True)
    assert shown.stdout == text_of(page), "python docs/stages.py brings it up to date"


def test_every_rule_has_one_stage():
    found = importlib.util.spec_from_file_location("stages", ROOT / "docs/stages.py")
    stages = importlib.util.module_from_spec(found)
    found.loader.exec_module(stages)
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")]
    rules = [name for text in texts for name in re.findall(r"^rule (\w+):", text, re.MULTILINE)]
    assert sorted(rules) == sorted(rule for names in stages.STAGES.values() for rule in names)


def test_the_rooms_of_the_page_are_those_of_the_package():
    rooms = {path.name for path in (ROOT / "src/palimpsest").iterdir() if (path / "__init__.py").exists()}
    assert rooms == allowed_imports().keys()


def test_rooms_import_what_the_page_allows_and_nothing_else():
    allowed, graph = allowed_imports(), grimp.build_graph("palimpsest", cache_dir=None)
    strays = []
    for module in sorted(graph.modules):
        room = module.split(".")[1] if "." in module else None
        for other in graph.find_modules_directly_imported_by(module) if room in allowed else ():
            # What is no room stands beside them: run, options, arrays, errors.
            target = other.split(".")[1]
            beside = target not in allowed and (room != "plan" or target in ("errors", "consent"))
            if target not in {room} | allowed[room] and not beside:
                strays.append(f"{module} imports {other}")
    assert strays == []


def test_the_page_allows_nothing_that_a_contract_forbids():
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    allowed, forbidden = allowed_imports(), set()
    for contract in linter["contracts"]:
        first = contract["modules" if contract["type"] == "independence" else "source_modules"]
        second = contract.get("forbidden_modules", first)
        forbidden |= {(a.split(".")[1], b.split(".")[1]) for a in first for b in second if a != b}
    assert len(forbidden) > 10
    assert [(a, b) for a, b in sorted(forbidden) if b in allowed.get(a, ())] == []


def test_every_program_and_make_target_of_a_shells_lines_exists():
    assert any("make paper" in text for text in blocks(ROOT / "README.md", "", "sh", "bash"))
    for page in PAGES:
        lines = "\n".join([*blocks(page, "", "sh", "bash"), *re.findall(r"`([^`\n]+)`", text_of(page))])
        assert set(re.findall(r"^(?:\w+=\S+ )?make ([a-z-]+)", lines, re.MULTILINE)) <= TARGETS, page
        programs = set(re.findall(r"^(?:\w+=\S+ )?(?:python|bash) ([\w/]+\.\w+)", lines, re.MULTILINE))
        assert [program for program in programs if not (ROOT / program).is_file()] == [], page


def test_every_path_at_the_head_of_an_example_can_be_edited_or_made():
    for page in PAGES:
        for path in re.findall(r"^# ([\w/]+\.\w+)(?:,|$)", "\n".join(blocks(page, "python", "yaml")), re.MULTILINE):
            # A new module is made; a configuration is there.
            assert (ROOT / path).is_file() or (path.endswith(".py") and (ROOT / path).parent.is_dir()), (
                f"{page}: {path}"
            )


def test_every_module_that_measures_exists():
    tables = re.findall(
        r"^\| in (?:the paper|all).*?\n\n", text_of(ROOT / "docs/artifacts.md") + "\n", re.MULTILINE | re.DOTALL
    )
    named = {name for table in tables for name in re.findall(r"`(\w+\.\w+)`", table)}
    assert {"lcr.replace", "instance.unlearn", "report.claims"} <= named
    assert [name for name in sorted(named) if not importlib.util.find_spec(f"palimpsest.{name}")] == []


def test_the_columns_of_edited_models_are_those_of_the_table():
    part = text_of(ROOT / "docs/artifacts.md").partition("one row for each edited model: ")[2].partition("relative")[0]
    told = re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", part))
    assert told == [field.name for field in dataclasses.fields(Edit)]


def test_the_example_of_a_method_uses_what_a_step_has():
    example = next(text for text in blocks(ROOT / "docs/adding_things.md", "python") if "def direction" in text)
    nodes = [node for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "step"}
    assert {"error_gradient", "forget"} <= used
    assert used <= set(dir(Step)) | {field.name for field in dataclasses.fields(Step)}


def test_the_python_of_the_documents_is_python():
    for page in PAGES:
        for text in blocks(page, "python"):
            if not text.startswith("# The toy family: pictures"):  # rules are Snakemake's
                ast.parse(text)
