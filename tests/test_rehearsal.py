"""The rehearsal: it runs what the full experiment runs, on files in the published layouts, and its paper says so."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from conftest import ROOT, configuration, snakemake
from palimpsest.imitations import pictures, torchscript, write
from palimpsest.judges import inception, lpips_alex, nudenet, sscd
from palimpsest.plan.erasure import Erasure
from palimpsest.plan.memory import Memory
from palimpsest.plan.var import Var
from palimpsest.report import numbers
from palimpsest.run import UserError, sha256

# SSCD and Inception are published as TorchScript, and as nothing newer.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")
FULL, REHEARSAL = "config/full.yaml", "config/rehearsal.yaml"
# What a rehearsal puts its imitations in the place of; tests/test_fetch.py runs these on a local server.
NOT_REHEARSED = {"fetch", "state_licence", "unpack"}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """The rules that each of these experiments would run."""
    mine = {"layout": "folder", "path": str(tmp_path_factory.mktemp("pictures"))}
    names = {row["collection"] for row in configuration("full")["datasets"].values()}
    overlay = tmp_path_factory.mktemp("overlay") / "pictures.yaml"
    captions = tmp_path_factory.mktemp("texts") / "captions.csv"
    captions.write_text("file,caption\na.png,a red kite\n", encoding="utf-8")
    texts = {family: {"captions": str(captions)} for family in ("erasure", "memory", "var")}
    brought = {"collections": {name: mine for name in names}, **texts}
    overlay.write_text(yaml.safe_dump(brought), encoding="utf-8")
    found = {}
    experiments = {"full": (FULL, str(overlay)), "rehearsal": (REHEARSAL,)}
    experiments |= {name: (f"config/{name}.yaml",) for name in ("classes", "rehearsal_classes", "rehearsal_gpu")}
    for name, files in experiments.items():
        text = snakemake(ROOT, "--dry-run", "--nolock", "--configfile", *files).stdout
        table = text.split("Job stats:")[1].split("\n\n")[0]
        found[name] = set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total"}
    return found


def test_every_rule_of_the_full_experiment_is_rehearsed(rules):
    assert {"instance_evaluate_prompt", "lcr_locality", "memory_crossed", "convert", "detect"} <= rules["full"]
    assert rules["full"] - rules["rehearsal"] == NOT_REHEARSED & rules["full"]
    assert rules["rehearsal"] - rules["full"] == {"imitate_checkpoint", "imitate_collection"}
    assert rules["rehearsal_gpu"] == rules["rehearsal"]


def test_where_there_is_a_gpu_every_network_of_the_full_experiment_is_whole():
    full, rehearsed = configuration("full"), configuration("rehearsal_gpu")
    for row in rehearsed["networks"].values():
        random = rehearsed["checkpoints"].get(row["published"], {}).get("random", {})
        assert not {"layers", "text_layers", "size"} & random.keys(), row
    assert rehearsed["networks"] == full["networks"]
    assert rehearsed["var"]["models"] == full["var"]["models"] == ["infinity_2b_256"]
    plan, given = Var(rehearsed), SimpleNamespace(model="infinity_2b_256", study="comparison", method="s_vare")
    # Both losses of S-VARE are taken once, and what is trained is kept in halves.
    assert json.loads(plan.plan_of(given))["runs"][0]["training"]["steps"] == 2 and plan.kept() == "--half true"


def test_where_there_is_a_gpu_every_eraser_is_run_and_audited_for_one_step():
    full, rehearsed, whole = (configuration(name) for name in ("full", "rehearsal", "rehearsal_gpu"))
    methods = Erasure(full).methods_of("comparison")
    for plan in (Erasure(whole), Erasure(full)):
        assert plan.methods_of("tuning") == plan.methods_of("comparison") == methods and len(methods) == 11
    assert Memory(whole).methods() == methods
    trained = [
        run["training"]
        for study in ("tuning", "comparison")
        for method in methods
        for run in Erasure(whole).runs_of(study, method)
    ]
    # One of objects, one of explicit content, of which some have settings of their own; UCE solves.
    assert len(trained) == 22 and [each for each in trained if each and (each["steps"], each["batch"]) != (1, 1)] == []
    # What is kept in each way, on a processor too: tensors of the UNet, adapters, a text encoder.
    assert {"uce", "spm", "advunlearn"} < set(Erasure(rehearsed).methods_of("comparison"))


def test_every_rule_of_a_model_of_classes_is_rehearsed(rules):
    assert {"var_erase", "var_feeding", "var_likelihood", "convert"} <= rules["classes"]
    assert rules["classes"] - rules["rehearsal_classes"] == NOT_REHEARSED & rules["classes"]
    # It names real pictures to measure distances to, too.
    more = {"imitate_checkpoint", "imitate_collection", "make_data"}
    assert rules["rehearsal_classes"] - rules["classes"] == more


def test_every_published_network_of_the_full_experiments_has_an_imitation():
    rows = yaml.safe_load((ROOT / "config/models.yaml").read_text(encoding="utf-8"))["checkpoints"]
    used = {row["published"] for name in ("full", "classes") for row in configuration(name)["networks"].values()}
    for name in used:
        module = __import__(f"palimpsest.imitations.{rows[name]['layout']}", fromlist=["ARCHITECTURES"])
        assert name in module.ARCHITECTURES


def imitated(folder: Path, name: str, layout: str, file: str) -> Path:
    write.write(folder / name, name=name, layout=layout, files=[file], settings={})
    return folder / name / file


def test_the_judges_have_the_published_sizes_and_are_opened_by_their_loaders(tmp_path):
    # torchvision's Inception without its auxiliary and last layers has 21,785,568 parameters; its ResNet-50 23,508,032.
    assert sum(each.numel() for each in torchscript.Detector().trunk.parameters()) == 21_785_568
    assert sum(each.numel() for each in torchscript.Descriptor().trunk.parameters()) == 23_508_032
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for name, module, size in (("sscd", sscd, 512), ("inception", inception, 2048)):
        path = imitated(tmp_path, name, "torchscript", "network.pt")
        judge = module.load(path, sha256(path))
        found = judge.embed(images) if name == "sscd" else judge.features(images)
        assert found.shape == (2, size) and found.isfinite().all() and (found[0] != found[1]).any()
    trunk = imitated(tmp_path, "alexnet", "state_dict", "alexnet.pth")
    assert (lpips_alex.load(trunk).distance(images, images.flip(0)) > 0).all()
    nudenet.load(imitated(tmp_path, "nudenet_640m", "onnx", "640m.onnx"))


def test_what_has_no_imitation_is_named(tmp_path):
    with pytest.raises(UserError, match="torchscript knows no architecture of 'nobody'"):
        imitated(tmp_path, "nobody", "torchscript", "network.pt")
    with pytest.raises(UserError, match=r"checkpoints\.alexnet lists more\.pth"):
        write.write(tmp_path / "a", name="alexnet", layout="state_dict", files=["a.pth", "more.pth"], settings={})


def test_pictures_are_written_as_a_user_would_have_them(tmp_path):
    for kind in pictures.KINDS:
        pictures.write(tmp_path / kind, kind=kind, n=3, size=48)
        shown = [np.asarray(Image.open(path)) for path in sorted((tmp_path / kind).glob("*.png"))]
        assert [path.name for path in sorted((tmp_path / kind).iterdir())] == ["00000.png", "00001.png", "00002.png"]
        assert all(picture.shape == (48, 48, 3) for picture in shown) and (shown[0] != shown[1]).any()
    with pytest.raises(UserError, match="not cats"):
        pictures.write(tmp_path / "cats", kind="cats", n=1, size=48)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_every_page_of_a_rehearsals_paper_is_stamped(tmp_path):
    """On the paper's own preamble: TeX is asked what it puts on each page."""
    preamble = (ROOT / "paper/main.tex").read_text(encoding="utf-8").split("% What a run is not")[1].split("\\title")[0]
    told = r"\renewcommand{\fbox}[1]{\typeout{a box: #1}}"
    for rehearsal, expected in ((True, 3), (False, 0)):
        stamp = numbers.macro("stamp", numbers.stamp_of(rehearsal))
        text = rf"\documentclass{{article}}\usepackage{{xcolor}}{stamp}%{preamble}{told}"
        pages = r"\begin{document}a\newpage b\newpage c\end{document}"
        (tmp_path / "pages.tex").write_text(text + pages, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "pages.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert done.stdout.count("a box: ") == done.stdout.count("REHEARSAL: random weights") == expected
