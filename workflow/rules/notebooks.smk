# Notebooks over a finished run, executed on its files: one per family, and one that compares two runs.
#   By hand:          jupyter lab notebooks/lcr.ipynb
#   Compare two runs: snakemake results/mini/notebooks/compare_with_small.html
# Wildcards: {other} another experiment, which is finished too.


rule execute_notebook:
    """Open a run's artifacts in its family's notebook."""
    input:
        code=lambda wildcards: code_of("palimpsest.report.notebook", *modules_in(wildcards.family)),
        notebook="notebooks/{family}.ipynb",
        files=[*collected(paper.setting("experiment")), "<results>/{family}/measurements.parquet"],
    output:
        executed="<results>/notebooks/{family}.ipynb",
        html=report("<results>/notebooks/{family}.html", caption="../report/notebook.rst", category="5. Notebooks"),
    log:
        "<logs>/notebooks/{family}.log",
    benchmark:
        "<benchmarks>/execute_notebook/{family}.jsonl"
    wildcard_constraints:
        family=one_of(plans),
    conda:
        "../../envs/notebooks.yaml"
    threads: 1
    resources:
        mem=growing(12, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        results=lambda wildcards, output: Path(output.html).parents[1],
    shell:
        "python -m palimpsest.report.notebook {params.paths} --results {params.results} > {log} 2>&1"


rule compare_runs:
    """Set this run beside another, measurement by measurement."""
    input:
        code=lambda wildcards: code_of("palimpsest.report.notebook", *modules_in("compare")),
        notebook="notebooks/compare.ipynb",
        files=lambda wildcards: [*collected(paper.setting("experiment")), *collected(wildcards.other)],
    output:
        executed="<results>/notebooks/compare_with_{other}.ipynb",
        html="<results>/notebooks/compare_with_{other}.html",
    log:
        "<logs>/notebooks/compare_with_{other}.log",
    benchmark:
        "<benchmarks>/compare_runs/{other}.jsonl"
    conda:
        "../../envs/notebooks.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        first=lambda wildcards, output: Path(output.html).parents[1],
    shell:
        "python -m palimpsest.report.notebook {params.paths} --first {params.first} --second results/{wildcards.other}"
        " > {log} 2>&1"
