# The report: measurements joined, claims judged, tables, figures, numbers, the typeset paper.
# Files are named as the paper's LaTeX reads them: <results>/paper/{tables,figures}/<family>_<name>.


rule collect:
    """Join every measurement of a family; refuse results of other code or another environment."""
    input:
        code=code_of("palimpsest.report.collect"),
        measurements=lambda wildcards: paper.measurements(wildcards.family),
    output:
        table="<results>/{family}/measurements.parquet",
    log:
        "<logs>/paper/collect/{family}.log",
    benchmark:
        "<benchmarks>/collect/{family}.jsonl"
    wildcard_constraints:
        family=one_of(plans),
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
    shell:
        "python -m palimpsest.report.collect {params.paths} > {log} 2>&1"


rule join:
    """Join the measurements of all families: one table for users, notebooks and the provenance."""
    input:
        code=code_of("palimpsest.report.join"),
        collections=paper.collections(),
    output:
        table="<results>/paper/measurements.parquet",
        csv="<results>/paper/measurements.csv",
    log:
        "<logs>/paper/join.log",
    benchmark:
        "<benchmarks>/join.jsonl"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
        experiment=paper.setting("experiment"),
    shell:
        "python -m palimpsest.report.join {params.paths} --experiment {params.experiment} > {log} 2>&1"


rule judge_claims:
    """Judge every claim of the source papers over the measurements."""
    input:
        code=lambda wildcards: code_of("palimpsest.report.claims", *paper.names_modules()),
        measurements=paper.collections(),
        definitions=sorted(map(str, Path("config/claims").glob("*.yaml"))),
    output:
        verdicts="<results>/paper/verdicts.parquet",
        csv="<results>/paper/scorecard.csv",
        tex="<results>/paper/scorecard.tex",
        html=report(
            "<results>/paper/scorecard.html",
            caption="../report/scorecard.rst",
            category="1. Scorecard",
        ),
        macros="<results>/paper/verdicts.tex",
    log:
        "<logs>/paper/claims.log",
    benchmark:
        "<benchmarks>/claims.jsonl"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
        families=lambda wildcards: paper.models(),
    shell:
        "python -m palimpsest.report.claims {params.paths} --families {params.families:q} > {log} 2>&1"


rule number:
    """Write one macro for every number that the prose quotes."""
    input:
        code=lambda wildcards: code_of("palimpsest.report.numbers", *paper.names_modules()),
        measurements=paper.collections(),
        definitions="paper/numbers.yaml",
    output:
        macros="<results>/paper/numbers.tex",
        sections="<results>/paper/families.tex",
    log:
        "<logs>/paper/numbers.log",
    benchmark:
        "<benchmarks>/numbers.jsonl"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
        families=lambda wildcards: paper.models(),
        experiment=paper.setting("experiment"),
        procedural=lambda wildcards: as_json(paper.is_procedural()),
        rehearsal=lambda wildcards: as_json(paper.is_rehearsal()),
    shell:
        "python -m palimpsest.report.numbers {params.paths} --families {params.families:q}"
        " --experiment {params.experiment} --procedural {params.procedural} --rehearsal {params.rehearsal} > {log} 2>&1"


rule tabulate:
    """Write one table as LaTeX, CSV and HTML."""
    input:
        code=code_of("palimpsest.report.tables", "palimpsest.{family}.tables.{name}"),
        measurements=lambda wildcards: paper.part(wildcards.family, "tables", wildcards.name).measurements,
    output:
        tex="<results>/paper/tables/{family}_{name}.tex",
        csv=report(
            "<results>/paper/tables/{family}_{name}.csv",
            caption="../report/table.rst",
            category="2. Tables",
            subcategory="{family}",
            labels={"table": "{name}", "format": "csv"},
        ),
        html=report(
            "<results>/paper/tables/{family}_{name}.html",
            caption="../report/table.rst",
            category="2. Tables",
            subcategory="{family}",
            labels={"table": "{name}", "format": "html"},
        ),
    log:
        "<logs>/paper/tables/{family}_{name}.log",
    benchmark:
        "<benchmarks>/tabulate/{family}_{name}.jsonl"
    wildcard_constraints:
        family=one_of(plans),
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
        settings=lambda wildcards: as_json(paper.part(wildcards.family, "tables", wildcards.name).params),
        about=lambda wildcards: paper.about(wildcards.family, "tables", wildcards.name),
    shell:
        "python -m palimpsest.report.tables {params.paths} --family {wildcards.family} --name {wildcards.name}"
        " --params {params.settings:q} > {log} 2>&1"


rule plot:
    """Draw one figure as PDF and PNG."""
    input:
        code=code_of("palimpsest.report.figures", "palimpsest.{family}.figures.{name}"),
        measurements=lambda wildcards: paper.part(wildcards.family, "figures", wildcards.name).measurements,
        inputs=lambda wildcards: paper.part(wildcards.family, "figures", wildcards.name).inputs,
    output:
        pdf="<results>/paper/figures/{family}_{name}.pdf",
        png=report(
            "<results>/paper/figures/{family}_{name}.png",
            caption="../report/figure.rst",
            category="3. Figures",
            subcategory="{family}",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/paper/figures/{family}_{name}.log",
    benchmark:
        "<benchmarks>/plot/{family}_{name}.jsonl"
    wildcard_constraints:
        family=one_of(plans),
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
        settings=lambda wildcards: as_json(paper.part(wildcards.family, "figures", wildcards.name).params),
        about=lambda wildcards: paper.about(wildcards.family, "figures", wildcards.name),
    shell:
        "python -m palimpsest.report.figures {params.paths} --family {wildcards.family} --name {wildcards.name}"
        " --params {params.settings:q} > {log} 2>&1"


rule trace_provenance:
    """Write where the results come from and what every rule cost."""
    input:
        code=code_of("palimpsest.report.provenance"),
        collected="<results>/paper/measurements.parquet",
        measurements=paper.all_measurements(),
    output:
        provenance="<results>/paper/provenance.json",
        tex="<results>/paper/provenance.tex",
        csv="<results>/paper/provenance.csv",
        html=report("<results>/paper/provenance.html", caption="../report/provenance.rst", category="4. Provenance"),
    log:
        "<logs>/paper/provenance.log",
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
        benchmarks=f"results/{paper.setting('experiment')}/benchmarks",
        experiment=paper.setting("experiment"),
        config=lambda wildcards: as_json(config),
    shell:
        "python -m palimpsest.report.provenance {params.paths} --benchmarks {params.benchmarks}"
        " --experiment {params.experiment} --config {params.config:q} > {log} 2>&1"


rule typeset:
    """Typeset the paper."""
    input:
        code=code_of("palimpsest.report.compile"),
        main="paper/main.tex",
        sources=[*sorted(map(str, Path("paper/sections").glob("*.tex"))), "paper/references.bib"],
        families="<results>/paper/families.tex",
        generated=[
            "<results>/paper/numbers.tex",
            "<results>/paper/verdicts.tex",
            "<results>/paper/scorecard.tex",
            "<results>/paper/provenance.tex",
            *paper.files("tables", "tex"),
            *paper.files("figures", "pdf"),
        ],
    output:
        pdf=report("<results>/paper/paper.pdf", caption="../report/paper.rst", category="0. Paper"),
    log:
        "<logs>/paper/typeset.log",
    benchmark:
        "<benchmarks>/typeset.jsonl"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
    shell:
        "python -m palimpsest.report.compile {params.paths} > {log} 2>&1"
