"""Draw the picture of docs/architecture.md from the rule graph: `python docs/stages.py`. A test compares it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- stages:begin -->", "<!-- stages:end -->"
# Stage to its rules; a rule of the graph that stands nowhere is an error.
STAGES = {
    "data": ["make_data", "instance_targets", "instance_surrogate"],
    "base models": ["train", "convert", "list_networks"],
    "judges": ["detect", "calibrate_judges", "calibrate_face_judges"],
    "describe": ["lcr_encode", "lcr_masks", "lcr_count", "lcr_score", "lcr_cooccurrence", "instance_reference"],
    "edit": ["lcr_replace", "instance_unlearn", "instance_repair_class"],
    "generate and score": [
        *("lcr_reconstruct", "lcr_model_card", "lcr_encoder_noise", "lcr_code_stats", "lcr_localise", "lcr_classify"),
        *("lcr_counterfactual", "lcr_locality", "lcr_injection", "instance_evaluate", "instance_evaluate_network"),
        *("instance_membership", "instance_compare_surrogates", "instance_conflicts", "instance_ridge"),
        *("instance_faulty_reference", "instance_select", "instance_pair"),
    ],
    "collect and judge": ["collect", "join", "judge_claims", "number", "trace_provenance"],
    "paper": ["tabulate", "plot", "typeset", "execute_notebook"],
}


def rule_graph() -> tuple[list[str], list[tuple[str, str]]]:
    """Rules, and pairs of a rule and one that needs it, of the default experiment."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--rulegraph",
        "mermaid-js",
        "--nolock",
        "--config",
        "base_models=train",
    ]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)", shown, re.MULTILINE))
    return list(names.values()), [(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", shown)]


def picture() -> str:
    """The stages with their rules, and which stage feeds which, as Mermaid."""
    rules, edges = rule_graph()
    stage_of = {rule: stage for stage, names in STAGES.items() for rule in names}
    if unknown := sorted(set(rules) - stage_of.keys() - {"all"}):
        sys.exit(f"docs/stages.py: give a stage to {', '.join(unknown)}")
    order, shown = list(STAGES), set(rules)
    boxes = [
        f'  {stage.replace(" ", "_")}["<b>{stage}</b><br/>{"<br/>".join(sorted(shown & set(names)))}"]'
        for stage, names in STAGES.items()
    ]
    pairs = {(stage_of[a], stage_of[b]) for a, b in edges if "all" not in (a, b)}
    forward = sorted((order.index(a), order.index(b)) for a, b in pairs if order.index(a) < order.index(b))
    arrows = [f"  {order[a].replace(' ', '_')} --> {order[b].replace(' ', '_')}" for a, b in forward]
    return "\n".join(["```mermaid", "flowchart LR", *boxes, *arrows, "```"])


def updated(text: str) -> str:
    """The page with the picture between its markers."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{picture()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
