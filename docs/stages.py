"""Draw the picture of docs/architecture.md from the rule graph: `python docs/stages.py`. A test compares it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- stages:begin -->", "<!-- stages:end -->"
# Stage to its rules, in the order of the work; a rule that stands nowhere is an error.
STAGES = {
    "published files": ["state_licence", "fetch", "unpack", "imitate_checkpoint", "imitate_collection"],
    "data": ["make_data"],
    "base models": ["train", "convert", "list_networks"],
    "judges": ["detect", "calibrate_judges", "calibrate_face_judges"],
    "prepare": [
        *("lcr_encode", "lcr_masks", "lcr_count", "lcr_score", "lcr_cooccurrence"),
        *("lcr_gather", "lcr_reconstruct"),
        *("instance_targets", "instance_surrogate", "instance_reference"),
        *("instance_faulty_reference", "instance_prepare_prompt", "erasure_draw", "erasure_reference"),
        *("memory_sets", "memory_decode", "var_pairs", "var_reference"),
    ],
    "edit": [
        "lcr_replace",
        "instance_unlearn",
        "instance_repair_class",
        "instance_unlearn_prompt",
        "erasure_erase",
        "var_erase",
    ],
    "generate and score": [
        *(
            "lcr_model_card",
            "lcr_encoder_noise",
            "lcr_code_stats",
            "lcr_localise",
            "lcr_classify",
            "lcr_counterfactual",
        ),
        *(
            "lcr_locality",
            "lcr_injection",
            "instance_evaluate",
            "instance_evaluate_network",
            "instance_evaluate_prompt",
        ),
        *("instance_membership", "instance_compare_surrogates", "instance_conflicts", "instance_ridge"),
        *("instance_select", "instance_select_repair", "instance_pair", "instance_pair_methods"),
        *("erasure_judge_networks", "erasure_select"),
        *("var_judge_networks", "var_select", "var_feeding", "var_exchange", "var_likelihood", "var_token_maps"),
        *(
            "memory_audit",
            "memory_compare",
            "memory_likelihood",
            "memory_solver_study",
            "memory_crossed",
            "memory_solvable",
        ),
    ],
    "collect and judge": ["collect", "remains_compare", "join", "judge_claims", "number", "trace_provenance"],
    "paper": ["tabulate", "plot", "typeset", "execute_notebook", "compare_runs"],
}
# Between them they run every rule but the downloads, for which the rehearsal's imitations stand.
EXPERIMENTS = (
    ("--config", "base_models=train"),
    ("--configfile", "config/rehearsal.yaml"),
)


def rule_graph() -> set[tuple[str, str]]:
    """Pairs of a rule and one that needs it, of the experiments together."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js", "--nolock"]
    planned = [
        subprocess.Popen([*command, *given], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for given in EXPERIMENTS
    ]
    pairs = set()
    for process in planned:
        shown, messages = process.communicate()
        if process.returncode:
            sys.exit(messages)
        names = dict(re.findall(r"^\s*(id\d+)\[(\w+)", shown, re.MULTILINE))
        pairs |= {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", shown)}
    return {pair for pair in pairs if "all" not in pair}


def stage_of(rule: str) -> int:
    """The place of a rule's stage."""
    places = [place for place, names in enumerate(STAGES.values()) if rule in names]
    return places[0] if places else sys.exit(f"docs/stages.py: give a stage to {rule}")


def without_shortcuts(pairs: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """The pairs a < b that do not follow from others: the transitive reduction."""

    def is_reached(a: int, b: int) -> bool:
        return any(start == a and end <= b and (end == b or is_reached(end, b)) for start, end in pairs)

    between = {(a, c) for a, b in pairs for c in range(b + 1, len(STAGES)) if is_reached(b, c)}
    return pairs - between


def picture(pairs: set[tuple[str, str]]) -> str:
    """The stages with their rules, and which stage feeds which, as Mermaid; what feeds an earlier one is dotted."""
    order = [stage.replace(" ", "_") for stage in STAGES]
    found = {(stage_of(a), stage_of(b)) for a, b in pairs}
    forward = without_shortcuts({(a, b) for a, b in found if a < b})
    boxes = [
        f'  {name}["<b>{stage}</b><br/>{"<br/>".join(rules)}"]'
        for name, (stage, rules) in zip(order, STAGES.items(), strict=True)
    ]
    arrows = [f"  {order[a]} --> {order[b]}" for a, b in sorted(forward)]
    arrows += [f"  {order[a]} -.-> {order[b]}" for a, b in sorted(found) if a > b]
    return "\n".join(["```mermaid", "flowchart TB", *boxes, *arrows, "```"])


def updated(text: str) -> str:
    """The page with the picture between its markers."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{picture(rule_graph())}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
