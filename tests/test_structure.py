"""What the layout of the project promises: who may import whom, docstrings, no paths of a machine."""

import ast
import re
import shutil
import subprocess

import grimp
import pytest

from conftest import ROOT

SOURCE = ROOT / "src"
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "palimpsest").rglob("*.py"))
}
RULE_FILES = sorted((ROOT / "workflow/rules").glob("*.smk"))


def runs_a_step(tree: ast.Module) -> bool:
    """Whether a module calls step(...) under `if __name__ == "__main__"`."""
    mains = [node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    calls = [node for main in mains for node in ast.walk(main) if isinstance(node, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id == "step" for call in calls)


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
STEPS = {name for name, tree in TREES.items() if runs_a_step(tree)}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("palimpsest", include_external_packages=True, cache_dir=None)


def test_the_steps_are_found():
    assert {"palimpsest.lcr.replace", "palimpsest.worlds.make", "palimpsest.judges.train"} <= STEPS
    assert not {"palimpsest.run", "palimpsest.lcr.cells", "palimpsest.models.vqgan"} & STEPS


def test_no_module_imports_a_step(graph):
    importers = {step: graph.find_modules_that_directly_import(step) for step in STEPS}
    assert {step: sorted(names) for step, names in importers.items() if names} == {}


def test_no_module_imports_snakemake(graph):
    outside = {name for name in graph.modules if name.split(".")[0] != "palimpsest"}
    assert {"numpy", "torch"} <= outside
    assert not {name for name in outside if name.split(".")[0].startswith("snakemake")}


def test_families_know_each_other_only_through_files(graph):
    # Everything in the package that is no family.
    shared = {"worlds", "judges", "models", "metrics", "report", "run", "errors", "plan", "imitations", "sources"}
    shared |= {"arrays", "consent", "options", "unlearning"}
    families = {name.split(".")[1] for name in FILES if name.count(".")} - shared
    assert "lcr" in families
    for family in families:
        imported = {
            other.split(".")[1]
            for name in FILES
            if name.startswith(f"palimpsest.{family}")
            for other in graph.find_modules_directly_imported_by(name)
            if other.startswith("palimpsest.")
        }
        assert imported <= shared | {family}


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_step_and_its_function_say_what_they_do(name):
    tree = TREES[name]
    assert ast.get_docstring(tree), f"{name} has no docstring"
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "step"
    )
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == call.args[0].id)
    assert ast.get_docstring(function), f"{name}.{function.name} has no docstring"
    arguments = [*function.args.args, *function.args.kwonlyargs]
    assert all(argument.annotation is not None for argument in arguments)


def test_every_module_of_code_says_what_it_is():
    silent = [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


def rules():
    """(file, rule name, text) of every rule."""
    found = []
    for path in RULE_FILES:
        parts = re.split(r"^(?:rule|checkpoint) (\w+):\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        # A rule ends with the next line that is not indented.
        bodies = (re.split(r"^\S", text, maxsplit=1, flags=re.MULTILINE)[0] for text in parts[2::2])
        found += [(path, name, body) for name, body in zip(parts[1::2], bodies, strict=True)]
    return found


RULES = rules()


def test_the_rules_of_the_workflow_are_found():
    assert len(RULES) >= 20 and {"make_data", "train", "lcr_encode"} <= {name for _, name, _ in RULES}
    assert len({name for _, name, _ in RULES}) == len(RULES)


@pytest.mark.parametrize(("path", "name", "body"), RULES, ids=[name for _, name, _ in RULES])
def test_a_rule_is_described_and_names_existing_modules(path, name, body):
    assert re.match(r'\s+"""\S', body), f"{name} of {path.name} has no docstring"
    # Names with a wildcard in them stand for a folder of modules.
    for module in set(re.findall(r"\bpalimpsest(?:\.\w+)+(?:\.\{)?", body)):
        if module.endswith(".{"):
            assert (SOURCE / module.removesuffix(".{").replace(".", "/")).is_dir(), f"{name} names {module}"
        else:
            assert module in FILES, f"{name} names {module}"
    for module in re.findall(r"python -m (palimpsest[\w.]+)", body):
        assert module in STEPS, f"{name} runs {module}, which is no step"
        assert f'"{module}"' in body, f"the code of {module} is no input of {name}"


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.name)
def test_rule_files_name_existing_modules(path):
    for module in set(re.findall(r"\bpalimpsest(?:\.\w+)+(?![\w.{])", path.read_text(encoding="utf-8"))):
        known = module in FILES or (SOURCE / module.replace(".", "/")).is_dir()
        assert known or module.rpartition(".")[0] in FILES, f"{path.name} names {module}"


# Spelled in parts, so that this file holds none of them itself.
PLACES = [
    r"/" + r"home/\w",
    r"/" + r"Users/\w",
    r"/" + r"root/\w",
    r"/" + r"(?:var/)?tmp/\w",
    r"/" + r"work/\w",
    r"[A-Z]:" + r"\\\\?Users",
]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_no_file_names_a_folder_of_a_machine():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    # A path begins a word: results/tmp or https://example.org/home/page are none.
    places = re.compile(rf"(?<![\w./~:-])(?:{'|'.join(PLACES)})")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or path.suffix in (".safetensors", ".pdf", ".png", ".npy", ".parquet"):
            continue
        for number, line in enumerate(path.read_text(errors="replace", encoding="utf-8").splitlines(), 1):
            if places.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == []


def without_encoding(code: str) -> list[int]:
    """Lines of code that read or write text in whatever encoding the machine's locale has.

    ruff's PLW1514 knows the type of few paths; this goes by the names of the calls.
    """
    lines = []
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        given = {keyword.arg for keyword in call.keywords}
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
        mode = call.args[-1].value if call.args and isinstance(call.args[-1], ast.Constant) else None
        is_text = name in ("read_text", "write_text") or ("text" in given and name in ("run", "Popen", "check_output"))
        is_text |= name == "open" and isinstance(mode, str) and set(mode) <= set("rwxat+")
        if is_text and "encoding" not in given:
            lines.append(call.lineno)
    return lines


def test_text_is_read_and_written_as_utf8():
    files = [path for name in ("src", "tests", "bench", "profiles") for path in (ROOT / name).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): without_encoding(path.read_text(encoding="utf-8")) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}
    for path in [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]:
        assert not re.search(r"_text\((?!.*encoding=)|text=True", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "code",
    ["path.read_text()", "path.write_text(text)", "path.open('w')", "open(path, 'r')", "run(command, text=True)"],
)
def test_the_test_of_encodings_finds_one(code):
    assert without_encoding(f"\n{code}") == [2]
    assert without_encoding(f"{code[:-1]}, encoding='utf-8')" if code[-2] != "(" else "path.read_bytes()") == []
