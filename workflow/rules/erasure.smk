# Concept erasure: what the methods learn from, edited models, and what they draw.
# Wildcards: {model} a text-to-image model, {study} a row of erasure.studies, {method} a row of erasure.methods.
erasure = plans["erasure"]


rule erasure_draw:
    """Draw what the methods learn from with the model itself: each concept, its anchors, and the rest."""
    input:
        code=code_of("palimpsest.erasure.draw"),
        network=lambda wildcards: erasure.network(wildcards.model),
        files=erasure.prompt_files(),
    output:
        latents="<results>/erasure/{model}/pictures/latents.npz",
        prompts="<results>/erasure/{model}/pictures/prompts.parquet",
    log:
        "<logs>/erasure/draw/{model}.log",
    benchmark:
        "<benchmarks>/erasure_draw/{model}.jsonl"
    wildcard_constraints:
        **erasure.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        concepts=erasure.concepts(),
        counts=as_json(erasure.own("pictures")),
        sampling=as_json(erasure.own("sampling")),
    shell:
        "python -m palimpsest.erasure.draw {params.paths} --concepts {params.concepts:q} --counts {params.counts:q}"
        " --sampling {params.sampling:q} > {log} 2>&1"


rule erasure_reference:
    """Write the prompts that edited models are judged by, and draw them with the base."""
    input:
        code=code_of("palimpsest.judges.reference"),
        network=lambda wildcards: erasure.network(wildcards.model),
        files=erasure.prompt_files(),
    output:
        prompts="<results>/erasure/{model}/reference/prompts.parquet",
        pictures="<results>/erasure/{model}/reference/pictures.npz",
    log:
        "<logs>/erasure/reference/{model}.log",
    benchmark:
        "<benchmarks>/erasure_reference/{model}.jsonl"
    wildcard_constraints:
        **erasure.wildcards,
    # The choice of settings waits for it.
    priority: 1
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        concepts=erasure.concepts(),
        counts=as_json(erasure.own("prompts")),
        sampling=as_json(erasure.own("sampling")),
    shell:
        "python -m palimpsest.judges.reference {params.paths} --concepts {params.concepts:q}"
        " --counts {params.counts:q} --sampling {params.sampling:q} > {log} 2>&1"


rule erasure_erase:
    """Make the model forget each concept of a study by one method, judge what is left, and attack it."""
    input:
        code=erasure.code_of_method("palimpsest.erasure.erase"),
        network=lambda wildcards: erasure.network(wildcards.model),
        latents="<results>/erasure/{model}/pictures/latents.npz",
        prompts="<results>/erasure/{model}/pictures/prompts.parquet",
        judged_prompts="<results>/erasure/{model}/reference/prompts.parquet",
        judged_pictures="<results>/erasure/{model}/reference/pictures.npz",
        classifier=erasure.network(erasure.own("classifier")),
        detector=erasure.network(erasure.own("detector")),
        judges=erasure.further_judges(),
        data=erasure.data_pictures(),
        selected=erasure.selected,
    output:
        weights=directory("<results>/erasure/{model}/{study}/{method}/weights"),
        log="<results>/erasure/{model}/{study}/{method}/log.parquet",
        edits="<results>/erasure/{model}/{study}/{method}/edits.parquet",
        measurements="<results>/erasure/{model}/{study}/{method}/measurements.parquet",
        panel="<results>/erasure/{model}/{study}/{method}/panel.npz",
    log:
        "<logs>/erasure/erase/{model}/{study}/{method}.log",
    benchmark:
        "<benchmarks>/erasure_erase/{model}/{study}/{method}.jsonl"
    wildcard_constraints:
        **erasure.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(20, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        readers=erasure.readers(),
        module=lambda wildcards: erasure.module_of(wildcards.method),
        concepts=erasure.concepts(),
        sampling=as_json(erasure.own("sampling")),
        plan=erasure.plan_of,
        judged=erasure.judged,
    shell:
        "python -m palimpsest.erasure.erase {params.paths} {params.readers} --model {wildcards.model} --study {wildcards.study}"
        " --method {wildcards.method} --module {params.module} --concepts {params.concepts:q}"
        " --sampling {params.sampling:q} --plan {params.plan:q} {params.judged} > {log} 2>&1"


rule erasure_judge_networks:
    """Judge and attack the base, its oracles and a random network as edited models are."""
    input:
        code=code_of("palimpsest.judges.judge_networks", "palimpsest.erasure.attacks"),
        network=lambda wildcards: erasure.network(wildcards.model),
        edits="<results>/erasure/networks/{model}/edits.parquet",
        prompts="<results>/erasure/{model}/reference/prompts.parquet",
        pictures="<results>/erasure/{model}/reference/pictures.npz",
        classifier=erasure.network(erasure.own("classifier")),
        detector=erasure.network(erasure.own("detector")),
        judges=erasure.further_judges(),
        data=erasure.data_pictures(),
        drawn="<results>/erasure/{model}/pictures/latents.npz",
        learned="<results>/erasure/{model}/pictures/prompts.parquet",
    output:
        measurements="<results>/erasure/{model}/networks/measurements.parquet",
        panel="<results>/erasure/{model}/networks/panel.npz",
    log:
        "<logs>/erasure/judge_networks/{model}.log",
    benchmark:
        "<benchmarks>/erasure_judge_networks/{model}.jsonl"
    wildcard_constraints:
        **erasure.wildcards,
    # The choice of settings waits for it.
    priority: 1
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(16, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        readers=erasure.readers(),
        concepts=erasure.concepts(),
        pooled=" ".join(erasure.own("studies", erasure.own("reported_study"), "concepts")),
        sampling=as_json(erasure.own("sampling")),
        attacks=erasure.attacks(),
    shell:
        "python -m palimpsest.judges.judge_networks {params.paths} {params.readers} --family erasure --model {wildcards.model} --study networks"
        " --concepts {params.concepts:q} --pooled {params.pooled} --sampling {params.sampling:q}"
        " {params.attacks} > {log} 2>&1"


rule erasure_select:
    """Choose the setting of a method on the tuning's concepts."""
    input:
        code=code_of("palimpsest.judges.select_setting"),
        measurements=erasure.tuned_on,
        baseline="<results>/erasure/{model}/networks/measurements.parquet",
    output:
        selected=f"<results>/erasure/{{model}}/{erasure.own('tuning_study')}/{{method}}/selected.json",
        chosen=f"<results>/erasure/{{model}}/{erasure.own('tuning_study')}/{{method}}/chosen.parquet",
    log:
        "<logs>/erasure/select/{model}/{method}.log",
    benchmark:
        "<benchmarks>/erasure_select/{model}/{method}.jsonl"
    wildcard_constraints:
        **erasure.wildcards,
    # Every edit waits for its setting.
    priority: 100
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        grid=erasure.grid_of,
    shell:
        "python -m palimpsest.judges.select_setting {params.paths} --family erasure --model {wildcards.model} --method {wildcards.method}"
        " --grid {params.grid:q} > {log} 2>&1"
