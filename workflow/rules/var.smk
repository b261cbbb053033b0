# Concept erasure in next-scale models: what the methods learn from, edited models, and what they draw.
# Wildcards: {model} a next-scale model, {study} a row of var.studies, {method} a row of var.methods.
var = plans["var"]


rule var_pairs:
    """Draw what the methods learn from with the model itself: pairs of prompts that a judge keeps, and the rest."""
    input:
        code=code_of("palimpsest.var.pairs"),
        network=lambda wildcards: var.network(wildcards.model),
        files=var.prompt_files(),
        classifier=var.network(var.own("classifier")),
        detector=var.network(var.own("detector")),
        judges=var.further_judges(),
    output:
        rollouts="<results>/var/{model}/pairs/rollouts.npz",
        prompts="<results>/var/{model}/pairs/prompts.parquet",
        measurements="<results>/var/{model}/pairs/measurements.parquet",
    log:
        "<logs>/var/pairs/{model}.log",
    benchmark:
        "<benchmarks>/var_pairs/{model}.jsonl"
    wildcard_constraints:
        **var.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        readers=var.readers(),
        concepts=var.concepts(),
        counts=as_json(var.own("pairs")),
        sampling=as_json(var.own("pair_sampling")),
    shell:
        "python -m palimpsest.var.pairs {params.paths} {params.readers} --model {wildcards.model}"
        " --concepts {params.concepts:q} --counts {params.counts:q} --sampling {params.sampling:q} > {log} 2>&1"


rule var_reference:
    """Write the prompts that edited models are judged by, and draw them with the base."""
    input:
        code=code_of("palimpsest.judges.reference"),
        network=lambda wildcards: var.network(wildcards.model),
        files=var.prompt_files(),
    output:
        prompts="<results>/var/{model}/reference/prompts.parquet",
        pictures="<results>/var/{model}/reference/pictures.npz",
    log:
        "<logs>/var/reference/{model}.log",
    benchmark:
        "<benchmarks>/var_reference/{model}.jsonl"
    wildcard_constraints:
        **var.wildcards,
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
        concepts=var.concepts(),
        counts=as_json(var.own("prompts")),
        sampling=as_json(var.own("sampling")),
    shell:
        "python -m palimpsest.judges.reference {params.paths} --concepts {params.concepts:q}"
        " --counts {params.counts:q} --sampling {params.sampling:q} > {log} 2>&1"


rule var_erase:
    """Make the model forget each concept of a study by one method, judge what is left, and attack it."""
    input:
        code=var.code_of_method("palimpsest.var.erase"),
        network=lambda wildcards: var.network(wildcards.model),
        rollouts="<results>/var/{model}/pairs/rollouts.npz",
        prompts="<results>/var/{model}/pairs/prompts.parquet",
        judged_prompts="<results>/var/{model}/reference/prompts.parquet",
        judged_pictures="<results>/var/{model}/reference/pictures.npz",
        classifier=var.network(var.own("classifier")),
        detector=var.network(var.own("detector")),
        judges=var.further_judges(),
        data=var.data_pictures(),
        selected=var.selected,
    output:
        weights=directory("<results>/var/{model}/{study}/{method}/weights"),
        log="<results>/var/{model}/{study}/{method}/log.parquet",
        edits="<results>/var/{model}/{study}/{method}/edits.parquet",
        measurements="<results>/var/{model}/{study}/{method}/measurements.parquet",
        panel="<results>/var/{model}/{study}/{method}/panel.npz",
    log:
        "<logs>/var/erase/{model}/{study}/{method}.log",
    benchmark:
        "<benchmarks>/var_erase/{model}/{study}/{method}.jsonl"
    wildcard_constraints:
        **var.wildcards,
    priority: var.priority
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(20, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        readers=var.readers(),
        module=lambda wildcards: var.module_of(wildcards.method),
        concepts=var.concepts(),
        sampling=as_json(var.own("sampling")),
        plan=var.plan_of,
        judged=var.judged,
        kept=var.kept(),
    shell:
        "python -m palimpsest.var.erase {params.paths} {params.readers} --model {wildcards.model} --study {wildcards.study}"
        " --method {wildcards.method} --module {params.module} --concepts {params.concepts:q}"
        " --sampling {params.sampling:q} --plan {params.plan:q} {params.judged} {params.kept} > {log} 2>&1"


rule var_judge_networks:
    """Judge and attack the base, its oracles and a random network as edited models are."""
    input:
        code=code_of("palimpsest.judges.judge_networks", "palimpsest.var.attacks"),
        network=lambda wildcards: var.network(wildcards.model),
        edits="<results>/var/networks/{model}/edits.parquet",
        prompts="<results>/var/{model}/reference/prompts.parquet",
        pictures="<results>/var/{model}/reference/pictures.npz",
        classifier=var.network(var.own("classifier")),
        detector=var.network(var.own("detector")),
        judges=var.further_judges(),
        data=var.data_pictures(),
        drawn="<results>/var/{model}/pairs/rollouts.npz",
        learned="<results>/var/{model}/pairs/prompts.parquet",
    output:
        measurements="<results>/var/{model}/networks/measurements.parquet",
        panel="<results>/var/{model}/networks/panel.npz",
    log:
        "<logs>/var/judge_networks/{model}.log",
    benchmark:
        "<benchmarks>/var_judge_networks/{model}.jsonl"
    wildcard_constraints:
        **var.wildcards,
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
        readers=var.readers(),
        concepts=var.concepts(),
        pooled=" ".join(var.own("studies", var.own("reported_study"), "concepts")),
        sampling=as_json(var.own("sampling")),
        attacks=var.attacks(),
    shell:
        "python -m palimpsest.judges.judge_networks {params.paths} {params.readers} --family var --model {wildcards.model} --study networks"
        " --concepts {params.concepts:q} --pooled {params.pooled} --sampling {params.sampling:q}"
        " {params.attacks} > {log} 2>&1"


rule var_select:
    """Choose the setting of a method on the tuning's concepts."""
    input:
        code=code_of("palimpsest.judges.select_setting"),
        measurements=var.tuned_on,
        baseline="<results>/var/{model}/networks/measurements.parquet",
    output:
        selected=f"<results>/var/{{model}}/{var.own('tuning_study')}/{{method}}/selected.json",
        chosen=f"<results>/var/{{model}}/{var.own('tuning_study')}/{{method}}/chosen.parquet",
    log:
        "<logs>/var/select/{model}/{method}.log",
    benchmark:
        "<benchmarks>/var_select/{model}/{method}.jsonl"
    wildcard_constraints:
        **var.wildcards,
    # Which runs come first is known once all may begin.
    priority: 100
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        grid=var.grid_of,
    shell:
        "python -m palimpsest.judges.select_setting {params.paths} --family var --model {wildcards.model} --method {wildcards.method}"
        " --grid {params.grid:q} > {log} 2>&1"


rule var_feeding:
    """Measure what the base says of safe tokens, by the text and the tokens that it is fed."""
    input:
        code=code_of("palimpsest.var.feeding"),
        network=lambda wildcards: var.network(wildcards.model),
        rollouts="<results>/var/{model}/pairs/rollouts.npz",
        prompts="<results>/var/{model}/pairs/prompts.parquet",
    output:
        measurements="<results>/var/{model}/feeding/measurements.parquet",
        panel="<results>/var/{model}/feeding/panel.npz",
    log:
        "<logs>/var/feeding/{model}.log",
    benchmark:
        "<benchmarks>/var_feeding/{model}.jsonl"
    wildcard_constraints:
        **var.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
        gpu=1,
    params:
        paths=paths,
        concepts=var.concepts_of(var.own("reported_study")),
    shell:
        "python -m palimpsest.var.feeding {params.paths} --model {wildcards.model} --concepts {params.concepts:q}"
        " > {log} 2>&1"


rule var_exchange:
    """Exchange tokens between the two pictures of a pair, and replace those that tell the concept while it is drawn."""
    input:
        code=code_of("palimpsest.var.exchange"),
        network=lambda wildcards: var.network(wildcards.model),
        rollouts="<results>/var/{model}/pairs/rollouts.npz",
        prompts="<results>/var/{model}/pairs/prompts.parquet",
        classifier=var.network(var.own("classifier")),
        detector=var.network(var.own("detector")),
        judges=var.further_judges(),
    output:
        measurements="<results>/var/{model}/exchange/measurements.parquet",
    log:
        "<logs>/var/exchange/{model}.log",
    benchmark:
        "<benchmarks>/var_exchange/{model}.jsonl"
    wildcard_constraints:
        **var.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
        gpu=1,
    params:
        paths=paths,
        readers=var.readers(),
        concepts=var.concepts_of(var.own("reported_study")),
        sampling=as_json(var.own("sampling")),
        settings=var.flags("var", "exchange"),
    shell:
        "python -m palimpsest.var.exchange {params.paths} {params.readers} --model {wildcards.model}"
        " --concepts {params.concepts:q} --sampling {params.sampling:q} {params.settings} > {log} 2>&1"


rule var_likelihood:
    """Measure how likely pictures of a concept stay under edited models, and how these go on with begun ones."""
    input:
        code=code_of("palimpsest.var.likelihoods"),
        network=lambda wildcards: var.network(wildcards.model),
        rollouts="<results>/var/{model}/pairs/rollouts.npz",
        prompts="<results>/var/{model}/pairs/prompts.parquet",
        real_images=var.real("images.npy"),
        real_manifest=var.real("manifest.parquet"),
        networks="<results>/var/networks/{model}/edits.parquet",
        edits=var.reported_edits,
        classifier=var.network(var.own("classifier")),
        detector=var.network(var.own("detector")),
        judges=var.further_judges(),
    output:
        pictures="<results>/var/{model}/likelihood/pictures.parquet",
        measurements="<results>/var/{model}/likelihood/measurements.parquet",
    log:
        "<logs>/var/likelihood/{model}.log",
    benchmark:
        "<benchmarks>/var_likelihood/{model}.jsonl"
    wildcard_constraints:
        **var.wildcards,
    # It waits for all edits: before the tables, which then have the other core.
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
        concepts=var.concepts_of(var.own("reported_study")),
        readers=var.readers(),
        sampling=as_json(var.own("sampling")),
        settings=var.flags("var", "likelihood"),
    shell:
        "python -m palimpsest.var.likelihoods {params.paths} {params.readers} --model {wildcards.model}"
        " --concepts {params.concepts:q} --sampling {params.sampling:q} {params.settings} > {log} 2>&1"


rule var_token_maps:
    """Measure each token's loss before, during and after a training."""
    input:
        code=code_of("palimpsest.var.token_maps"),
        network=lambda wildcards: var.network(wildcards.model),
        rollouts="<results>/var/{model}/pairs/rollouts.npz",
        prompts="<results>/var/{model}/pairs/prompts.parquet",
        edits=lambda wildcards: var.course(wildcards, "edits"),
        judged=lambda wildcards: var.course(wildcards, "measurements"),
    output:
        maps="<results>/var/{model}/token_maps/maps.npz",
        measurements="<results>/var/{model}/token_maps/measurements.parquet",
    log:
        "<logs>/var/token_maps/{model}.log",
    benchmark:
        "<benchmarks>/var_token_maps/{model}.jsonl"
    wildcard_constraints:
        **var.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
        gpu=1,
    params:
        paths=paths,
        concepts=var.concepts_of(var.own("course_study")),
        lengths=var.course_lengths(),
    shell:
        "python -m palimpsest.var.token_maps {params.paths} --model {wildcards.model} --concepts {params.concepts:q}"
        " --lengths {params.lengths:q} > {log} 2>&1"
