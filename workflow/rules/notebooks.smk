# Notebooks over a finished run, executed on its files: one per family, and one that compares two runs.
#   By hand:          jupyter lab notebooks/lcr.ipynb
#   Compare two runs: snakemake --cores 1 results/mini/notebooks/compare_with_small.html
# Wildcards: {other} another experiment, which is finished too.


def code_of_notebook(name):
    """The code that executes a notebook, and that which its cells import."""
    cells = json.loads(Path(f"notebooks/{name}.ipynb").read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in ast.parse("".join(cell["source"])).body]
    imports = [(line.module, part.name) for line in lines if isinstance(line, ast.ImportFrom) for part in line.names]
    named = {f"{package}.{part}" for package, part in imports} | {package for package, part in imports}
    return code_of("palimpsest.report.notebook", *sorted(named & import_graph().modules - {"palimpsest"}))


def collected(experiment):
    """What a finished run has."""
    return [
        f"results/{experiment}/paper/{name}" for name in ("measurements.parquet", "verdicts.parquet", "provenance.json")
    ]


rule execute_notebook:
    """Open a run's artifacts in its family's notebook."""
    input:
        code=lambda wildcards: code_of_notebook(wildcards.family),
        notebook="notebooks/{family}.ipynb",
        files=collected(config["experiment"]),
    output:
        executed="<results>/notebooks/{family}.ipynb",
        html=report("<results>/notebooks/{family}.html", caption="../report/notebook.rst", category="5. Notebooks"),
    log:
        "<logs>/notebooks/{family}.log",
    benchmark:
        "<benchmarks>/execute_notebook/{family}.jsonl"
    conda:
        "../../envs/notebooks.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        results=f"results/{config['experiment']}",
    shell:
        "python -m palimpsest.report.notebook {params.paths} --results {params.results} > {log} 2>&1"


rule compare_runs:
    """Set this run beside another, measurement by measurement."""
    input:
        code=lambda wildcards: code_of_notebook("compare"),
        notebook="notebooks/compare.ipynb",
        files=lambda wildcards: [*collected(config["experiment"]), *collected(wildcards.other)],
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
        first=f"results/{config['experiment']}",
    shell:
        "python -m palimpsest.report.notebook {params.paths} --first {params.first} --second results/{wildcards.other}"
        " > {log} 2>&1"
