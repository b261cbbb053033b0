# What remains, over all families of the experiment: it reads what they collected.
remains = plans["remains"]


rule remains_compare:
    """Ask the same numbers of every method of every family."""
    input:
        code=code_of("palimpsest.remains.compare", *remains.names_modules()),
        collections=remains.collections(),
    output:
        measurements="<results>/remains/compared/measurements.parquet",
    log:
        "<logs>/remains/compare.log",
    benchmark:
        "<benchmarks>/remains_compare.jsonl"
    localrule: True
    conda:
        "../../envs/paper.yaml"
    params:
        paths=paths,
        families=lambda wildcards: remains.settings(),
    shell:
        "python -m palimpsest.remains.compare {params.paths} --families {params.families:q} > {log} 2>&1"
