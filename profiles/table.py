"""Write the table of profiles/README.md that says what each rule asks of SLURM: `python profiles/table.py`.

A rule's threads, memory, time and GPU are read from its text, its group or array from profiles/slurm. A test submits
every rule to a stand-in for sbatch and compares.
"""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "profiles" / "README.md"
MEGABYTES = {"GB": 1000}
MINUTES = {"m": 1, "h": 60}


def rules() -> dict[str, str]:
    """The text of every rule that runs as a job of its own, by name, in the order of the files."""
    found = {}
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        parts = re.split(r"^rule (\w+):\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return {name: text for name, text in found.items() if "localrule: True" not in text}


def flags(text: str) -> str:
    """What sbatch is told of a rule's job at its first attempt; the partition is the profile's."""
    threads = re.search(r"^    threads: (\d+)$", text, re.MULTILINE)[1]
    memory, unit = re.search(r'^ +mem=growing\((\d+), "(\w+)"\)', text, re.MULTILINE).groups()
    time, scale = re.search(r'^ +runtime=growing\((\d+), "(\w)"\)', text, re.MULTILINE).groups()
    gpus = re.search(r"^ +gpu=(\d+),$", text, re.MULTILINE)
    task = [f"--cpus-per-task={threads}", f"--gpus={gpus[1]}"] if gpus else ["--ntasks=1", f"--cpus-per-task={threads}"]
    return " ".join([f"-t {int(time) * MINUTES[scale]}", f"--mem {int(memory) * MEGABYTES[unit]}", *task])


def sent_as(rule: str) -> str:
    """How jobs of a rule reach SLURM."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text(encoding="utf-8"))
    if rule in profile["slurm-array-jobs"].split(","):
        return "array"
    return f"group `{profile['groups'][rule]}`" if rule in profile["groups"] else "job"


def table() -> str:
    """The Markdown table."""
    rows = [f"| `{rule}` | `{flags(text)}` | {sent_as(rule)} |" for rule, text in rules().items()]
    return "\n".join(["| rule | sbatch | sent as |", "| --- | --- | --- |", *rows])


def replace_between(name: str, text: str) -> None:
    """Put a text between the markers of its name in profiles/README.md."""
    begin, end = f"<!-- {name}:begin -->\n", f"\n<!-- {name}:end -->"
    before, _, rest = README.read_text(encoding="utf-8").partition(begin)
    README.write_text(f"{before}{begin}{text}{end}{rest.partition(end)[2]}", encoding="utf-8")


if __name__ == "__main__":
    replace_between("flags", table())
