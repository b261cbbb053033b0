"""What the documents name is there: commands, modules, files; and the README stays short."""

import ast
import importlib.util
import re
import subprocess
import sys

import pytest

from conftest import ROOT

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


def test_the_picture_of_the_stages_is_that_of_the_rules():
    page = ROOT / "docs/architecture.md"
    code = "import pathlib, stages; print(stages.updated(stages.PAGE.read_text(encoding='utf-8')), end='')"
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT / "docs", capture_output=True, text=True, encoding="utf-8", check=True)
    assert shown.stdout == text_of(page), "python docs/stages.py brings it up to date"


def test_the_rooms_of_the_page_are_those_of_the_package():
    rooms = {path.name for path in (ROOT / "src/palimpsest").iterdir() if (path / "__init__.py").exists()}
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text_of(ROOT / "docs/architecture.md"), re.MULTILINE)
    assert rooms == {name for row in table for name in re.findall(r"`(\w+)`", row)}


def test_the_python_of_the_documents_is_python():
    for page in PAGES:
        for block in re.findall(r"^```python\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL):
            if not block.startswith("# The toy family: pictures"):  # rules are Snakemake's
                ast.parse(block)
