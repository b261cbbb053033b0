# What the audit by inversion measures itself by: log p beside the seeds, the solvers, a case that is known exactly; and the
# same audit of face models. Wildcard: {model} a text-to-image model.


rule memory_likelihood:
    """Measure log p of pictures beside their seeds, under the base and its oracles."""
    input:
        code=code_of("palimpsest.memory.likelihoods"),
        images="<results>/memory/{model}/sets/pictures.npy",
        manifest="<results>/memory/{model}/sets/manifest.parquet",
        networks=memory.networks,
    output:
        pictures="<results>/memory/{model}/likelihood/pictures.parquet",
        measurements="<results>/memory/{model}/likelihood/measurements.parquet",
    log:
        "<logs>/memory/likelihood/{model}.log",
    benchmark:
        "<benchmarks>/memory_likelihood/{model}.jsonl"
    wildcard_constraints:
        **memory.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        settings=memory.flags("memory", "likelihood"),
    shell:
        "python -m palimpsest.memory.likelihoods {params.paths} --model {wildcards.model} {params.settings} > {log} 2>&1"


rule memory_solver_study:
    """Invert the same pictures by every solver, and with guidance, and from a clean end."""
    input:
        code=code_of("palimpsest.memory.solver_study"),
        network=lambda wildcards: memory.network(wildcards.model),
        images="<results>/memory/{model}/sets/pictures.npy",
        manifest="<results>/memory/{model}/sets/manifest.parquet",
    output:
        curves="<results>/memory/{model}/solvers/curves.parquet",
        measurements="<results>/memory/{model}/solvers/measurements.parquet",
    log:
        "<logs>/memory/solver_study/{model}.log",
    benchmark:
        "<benchmarks>/memory_solver_study/{model}.jsonl"
    wildcard_constraints:
        **memory.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        settings=memory.flags("memory", "solvers"),
    shell:
        "python -m palimpsest.memory.solver_study {params.paths} --model {wildcards.model} {params.settings} > {log} 2>&1"


rule memory_solvable:
    """Audit models of a mixture that is known exactly."""
    input:
        code=code_of("palimpsest.memory.solvable"),
    output:
        curves="<results>/memory/solvable/curves.parquet",
        measurements="<results>/memory/solvable/measurements.parquet",
    log:
        "<logs>/memory/solvable.log",
    benchmark:
        "<benchmarks>/memory_solvable.jsonl"
    # Of all jobs it needs least, and as the last of them it would run alone.
    priority: 1
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        settings=memory.flags("memory", "solvable"),
    shell:
        "python -m palimpsest.memory.solvable {params.paths} {params.settings} > {log} 2>&1"


rule memory_crossed:
    """Audit the face models that forgot single pictures."""
    input:
        code=code_of("palimpsest.memory.crossed"),
        networks="<results>/instance/networks/{model}/edits.parquet",
        studied=memory.crossed_edits,
        target_images="<results>/instance/targets/images.npy",
        target_manifest="<results>/instance/targets/manifest.parquet",
        held_out_images=lambda wildcards: memory.instance.data("held_out", "images.npy"),
    output:
        pictures="<results>/memory/crossed/{model}/pictures.parquet",
        measurements="<results>/memory/crossed/{model}/measurements.parquet",
    log:
        "<logs>/memory/crossed/{model}.log",
    benchmark:
        "<benchmarks>/memory_crossed/{model}.jsonl"
    wildcard_constraints:
        model=one_of(memory.crossed_models()),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(16, "GB"),
        runtime=growing(12, "h"),
        gpu=1,
    params:
        paths=paths,
        settings=memory.crossed_flags(),
    shell:
        "python -m palimpsest.memory.crossed {params.paths} --model {wildcards.model} {params.settings} > {log} 2>&1"
