"""The workflow as a user meets it: what is run, what is run again, and what survives a kill. One file, so that the
smoke run behind it is made once."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pandas as pd
import pytest

from conftest import CONDA, ROOT, SMOKE, configuration, copy_of_the_project, heed_interrupts, snakemake

pytestmark = pytest.mark.workflow
FORMATS = {".npy", ".npz", ".parquet", ".safetensors"}


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs per rule of a dry-run."""
    text = snakemake(folder, *SMOKE, "--dry-run", *arguments).stdout
    if "Nothing to be done" in text:
        return {}
    table = text.split("Job stats:")[1].split("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE) if name != "total"}


def test_the_smoke_run_makes_every_part_of_the_paper(smoke):
    paper = smoke / "results/smoke/paper"
    assert len(list(paper.glob("tables/*.tex"))) >= 10
    assert len(list(paper.glob("figures/*.pdf"))) >= 8
    assert (paper / "scorecard.html").stat().st_size > 1000


def test_the_papers_parts_stand_in_the_order_of_the_configuration(smoke):
    order = configuration("smoke")["families"]
    shown = (smoke / "results/smoke/paper/families.tex").read_text(encoding="utf-8")
    assert re.findall(r"sections/(\w+)", shown) == order and order != sorted(order)


def test_a_second_run_has_nothing_to_do_in_whatever_environments(smoke):
    """The first run was in conda's environments; here are the virtual one, and conda's again."""
    assert "Nothing to be done" in snakemake(smoke, *SMOKE).stdout
    assert "Nothing to be done" in snakemake(smoke, "--sdm", "conda", *SMOKE, programs=CONDA).stdout


def test_every_step_of_the_first_run_was_in_an_environment_of_its_locks(smoke):
    [log] = [
        text
        for path in (smoke / ".snakemake/log").glob("*.log")
        if "rule train:" in (text := path.read_text(encoding="utf-8"))
    ]
    made = [path.parent for path in (smoke / ".snakemake/conda").glob("*/bin")]
    scripts = {path.with_suffix(".post-deploy.sh").read_bytes() for path in made}
    assert scripts == {path.read_bytes() for path in (ROOT / "envs").glob("*.post-deploy.sh")}
    jobs = len(re.findall(r"^(?:local)?rule (?!all:)\w+:$", log, re.MULTILINE))
    assert log.count("Activating conda environment: .snakemake/conda/") == jobs > 100
    # The paper's has no torch, and is enough.
    with_torch = [path for path in made if list(path.glob("lib/python*/site-packages/torch"))]
    assert len(made) == 3 and len(with_torch) == 2


def test_notebooks_open_the_runs_artifacts(smoke):
    for name in ("lcr", "instance"):
        made = smoke / f"results/smoke/notebooks/{name}.ipynb"
        book = json.loads(made.read_text(encoding="utf-8"))
        outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
        assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
        assert not any(output["output_type"] == "error" for output in outputs)
        page = made.with_suffix(".html").read_text(encoding="utf-8")
        pictures = re.findall(r"<img [^>]*>", page)
        assert len(pictures) >= 5 and all(re.search(r'alt="[^"]{10,}"', picture) for picture in pictures)


def test_the_report_opens_with_the_question_and_the_answer(smoke, tmp_path):
    snakemake(smoke, *SMOKE, "--report", str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text(encoding="utf-8").replace("\\n", "")  # ends of lines in a script's text
    [shown] = re.findall(r"data:image/png,((?:%[0-9a-f]{2})+)", text)
    assert unquote_to_bytes(shown) == (smoke / "results/smoke/paper/figures/remains_overview.png").read_bytes()


def test_two_runs_are_compared(smoke):
    shutil.copytree(smoke / "results/smoke/paper", smoke / "results/again/paper")
    verdicts = pd.read_parquet(smoke / "results/smoke/paper/verdicts.parquet")

    def compared():
        snakemake(smoke, *SMOKE, "--", "results/smoke/notebooks/compare_with_again.html")
        return (smoke / "results/smoke/notebooks/compare_with_again.html").read_text(encoding="utf-8")

    page = compared()
    assert page.count(".parquet: byte-identical") == 2 and "0 of them differ" in page
    assert f"0 of {len(verdicts)} verdicts differ" in page
    path = smoke / "results/again/paper/measurements.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "value"] += 1.0
    table.iloc[:-1].to_parquet(path)
    page = compared()
    assert "1 of them differ" in page and "Only in the first: 1, of 1 metrics" in page
    for place in ("results/again", "results/smoke/notebooks/compare_with_again.html"):
        path = smoke / place
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_misspelt_rule_is_refused_though_older_results_are_there(smoke, tmp_path):
    (tmp_path / "config.yaml").write_text("lcr: {rules: {no_such_rule: {}}}", encoding="utf-8")
    done = snakemake(smoke, *SMOKE, str(tmp_path / "config.yaml"), "--dry-run", check=False)
    assert done.returncode != 0 and "src/palimpsest/lcr/rules/no_such_rule.py does not exist" in done.stdout


def test_touching_the_code_and_reverting_an_edit_run_nothing(smoke):
    source = smoke / "src/palimpsest/lcr/replace.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "\n# an edit\n", encoding="utf-8")
    assert planned(smoke)["lcr_replace"] > 10
    source.write_text(text, encoding="utf-8")
    for path in (smoke / "src").rglob("*.py"):
        path.touch()
    assert planned(smoke) == {}


def test_an_edit_of_one_rule_runs_its_jobs_and_what_hangs_on_them(smoke):
    source = smoke / "src/palimpsest/lcr/rules/shuffle_in_mask.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "\n# an edit\n", encoding="utf-8")
    jobs = planned(smoke)
    source.write_text(text, encoding="utf-8")
    assert jobs.pop("lcr_replace") == 2  # one per model
    assert not [rule for rule in jobs if rule.startswith(("lcr_", "train_", "make_", "detect"))]
    # Three tables show rules, and the one over all families; other families' measurements are not collected again.
    assert (jobs["collect"], jobs["tabulate"], jobs["remains_compare"]) == (2, 4, 1) and "judge_claims" in jobs


def test_a_changed_parameter_runs_its_rule_only(smoke):
    config = smoke / "config/smoke.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("learned_map: {steps: 3", "learned_map: {steps: 4"), encoding="utf-8")
    jobs = planned(smoke)
    config.write_text(text, encoding="utf-8")
    assert jobs.pop("lcr_replace") == 2
    assert not [rule for rule in jobs if rule.startswith(("lcr_", "train_", "make_"))]


def test_a_rule_is_added_by_one_file_and_one_entry(smoke):
    source, config = smoke / "src/palimpsest/lcr/rules/mirrored.py", smoke / "config/smoke.yaml"
    text = config.read_text(encoding="utf-8")
    source.write_text(
        '"""Every cell becomes its mirror image\'s code."""\n\nimport numpy as np\n\n\n'
        "def replace(codes, cells, context, rng):\n    return np.where(cells, codes[:, :, ::-1], codes)\n",
        encoding="utf-8",
    )
    config.write_text(text.replace("    learned_map:", "    mirrored: {}\n    learned_map:"), encoding="utf-8")
    jobs = planned(smoke)
    assert jobs.pop("lcr_replace") == 2
    assert not [rule for rule in jobs if rule.startswith(("lcr_", "train_", "make_"))]
    # It also runs, and stands in the main table.
    table = "results/smoke/paper/tables/lcr_replacement.csv"
    before = (smoke / table).read_bytes()
    snakemake(smoke, *SMOKE, "--", table)
    assert b"mirrored" in (smoke / table).read_bytes()
    source.unlink()
    config.write_text(text, encoding="utf-8")
    snakemake(smoke, *SMOKE, "--", table)
    assert (smoke / table).read_bytes() == before


def test_a_killed_run_goes_on_to_the_same_files(smoke, tmp_path):
    """Also the test of determinism: what two runs in two folders make, the first in conda's environments and the second
    in the virtual one, is equal byte by byte.

    The second run starts from the first one's data and networks, and makes a part: that a training gives the same
    weights again, and that the other family's steps do, has tests of its own; a table is a function of the files.
    """
    folder = copy_of_the_project(tmp_path / "again")
    for name in ("data", "models"):
        shutil.copytree(smoke / "results/smoke" / name, folder / "results/smoke" / name)
    made = Path("results/smoke/lcr/corrected/tiny_gumbel")
    rules = ("random_safe", "nn_embed", "learned_map")
    steps = [f"grid/forget_test/{rule}" for rule in rules] + ["classify", "locality", "encoder_noise"]
    command = [*SMOKE, "--", *(str(made / step / "measurements.parquet") for step in steps)]
    for end, until in ((signal.SIGKILL, "lcr_encode"), (signal.SIGINT, "lcr_replace")):
        log = (tmp_path / "log").open("w+", encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *command],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )
        deadline = time.monotonic() + 600
        while f"rule {until}:" not in (tmp_path / "log").read_text(encoding="utf-8") and time.monotonic() < deadline:
            assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")[-3000:]
            time.sleep(0.2)
        time.sleep(1.0)  # into the middle of the step
        assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")[-3000:]
        os.killpg(process.pid, end)
        process.wait()
        # A killed Snakemake leaves its lock behind; the message says so.
        snakemake(folder, "--unlock", *command, check=False)
    snakemake(folder, *command)
    assert not list(folder.glob("results/**/.partial-*"))
    # Records say when a file was made.
    files = [path.relative_to(folder) for path in (folder / made).rglob("*") if path.suffix in FORMATS]
    assert len(files) > 30 and {path.suffix for path in files} == FORMATS
    assert [str(name) for name in files if (folder / name).read_bytes() != (smoke / name).read_bytes()] == []
