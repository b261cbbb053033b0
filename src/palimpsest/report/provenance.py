"""Where the results come from: commit, environment, machine, configuration, and the cost of every rule."""

import hashlib
import json
import os
import platform
from pathlib import Path

import pandas as pd

from palimpsest.report.records import made_here, record_of
from palimpsest.report.typeset import Format, Table
from palimpsest.run import Input, Output, UserError, commit, lock_hash, sha256, step, write_json


def provenance(
    collected: Input,
    measurements: list[Input],
    benchmarks: Input,
    provenance: Output,
    tex: Output,
    csv: Output,
    html: Output,
    *,
    experiment: str,
    config: dict,
) -> dict:
    """Write what made the collected measurements, and a table of the seconds and memory of every rule.

    measurements: the files that were collected; their records tell the commits, devices and versions.
    Those of released tunings are left out.
    benchmarks: the folder of Snakemake's benchmark files (JSON lines, extended format).
    """
    records = [record_of(path) for path in made_here(measurements)]
    costs = cost_table(sorted(benchmarks.rglob("*.jsonl")))
    text = json.dumps(config, sort_keys=True)
    about = {
        "experiment": experiment,
        "commit": commit(),
        "dirty": commit().endswith("-dirty"),
        "lock": lock_hash(),
        "measurements_sha256": sha256(collected),
        "measured_by": {
            key: sorted({str(record[key]) for record in records}) for key in ("commit", "lock", "device", "machine")
        },
        "versions": {
            name: sorted({record["versions"][name] for record in records if name in record["versions"]})
            for name in sorted({name for record in records for name in record["versions"]})
        },
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "seconds": float(costs["seconds"].sum()),
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "config": config,
    }
    write_json(provenance, about)
    table(about, costs).write(tex, csv, html)
    return {"rules": len(costs), "seconds": about["seconds"]}


def cost_table(benchmarks: list[Path]) -> pd.DataFrame:
    """Jobs, seconds and peak memory (MB) of every rule, the costliest first."""
    lines = []
    for path in benchmarks:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                line = json.loads(text)
                rule = line.get("rule_name") or path.stem
                # A job shorter than the sampling interval has no memory.
                memory = pd.to_numeric(line["max_rss"], errors="coerce")
                lines.append((rule if isinstance(rule, str) else rule[0], float(line["s"]), memory))
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}, line {number}, is no benchmark of Snakemake: {error!r}") from error
    frame = pd.DataFrame(lines, columns=["rule", "seconds", "memory"])
    found = frame.groupby("rule").agg(
        jobs=("seconds", "size"), seconds=("seconds", "sum"), longest=("seconds", "max"), memory=("memory", "max")
    )
    return found.sort_values("seconds", ascending=False, kind="stable")


def table(about: dict, costs: pd.DataFrame) -> Table:
    """The table of costs, with the provenance in its notes."""
    frame = costs.reset_index()
    frame.columns = ["Rule", "Jobs", "Sum (s)", "Longest (s)", "Memory (MB)"]
    measured = about["measured_by"]
    notes = (
        f"Commit {about['commit']}, lock {about['lock']}, measured on {', '.join(measured['device'])}, "
        f"{about['cpus']} processors, Python {', '.join(about['versions'].get('python', ['?']))}. "
        f"SHA-256 of the measurements: {about['measurements_sha256'][:16]}, "
        f"of the configuration: {about['config_sha256'][:16]}."
        f"{' A dash: too short to be sampled.' if costs['memory'].isna().any() else ''}"
    )
    return Table(
        frame,
        caption=f"Where the experiment “{about['experiment']}” comes from, and the cost of every rule: wall time and "
        "peak resident memory of its jobs, one thread each, as they ran side by side.",
        label="tab:provenance",
        formats={
            "Jobs": Format(0),
            "Sum (s)": Format(0),
            "Longest (s)": Format(0),
            "Memory (MB)": Format(0),
        },
        notes=notes,
        long=True,
    )


if __name__ == "__main__":
    step(provenance)
