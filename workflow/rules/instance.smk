# Instance unlearning: targets and surrogates, models that forget, and what they remember.
# Wildcards: {model} a diffusion model, {study} a row of instance.studies, {method} a method of the family or of
# palimpsest.unlearning, {surrogate} a row of instance.surrogates.
instance = plans["instance"]


include: "instance_conditional.smk"


rule calibrate_face_judges:
    """Measure the judges of faces on people they were not trained on."""
    input:
        code=code_of("palimpsest.judges.calibrate_faces"),
        networks=[instance.network(name) for name in instance.networks_of("face_judge")],
        images=instance.data("held_out", "images.npy"),
        manifest=instance.data("held_out", "manifest.parquet"),
    output:
        measurements="<results>/judges/faces.parquet",
        histogram="<results>/judges/faces_cosines.parquet",
    log:
        "<logs>/calibrate_face_judges.log",
    benchmark:
        "<benchmarks>/calibrate_face_judges.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        set=instance.own("held_out"),
    shell:
        "python -m palimpsest.judges.calibrate_faces {params.paths} --set {params.set} > {log} 2>&1"


rule instance_targets:
    """Collect the pictures to forget, and which are to be remembered."""
    input:
        code=code_of("palimpsest.instance.targets"),
        data_images=instance.data("data", "images.npy"),
        data_manifest=instance.data("data", "manifest.parquet"),
        target_images=[f"<results>/data/{name}/images.npy" for name in instance.target_sets()],
        target_manifests=[f"<results>/data/{name}/manifest.parquet" for name in instance.target_sets()],
    output:
        images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        remember="<results>/instance/targets/remember.npy",
        neighbours="<results>/instance/targets/neighbours.npy",
    log:
        "<logs>/instance/targets.log",
    benchmark:
        "<benchmarks>/instance_targets.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        sets=" ".join(instance.target_sets()),
        chosen=as_json(instance.own("targets")),
    shell:
        "python -m palimpsest.instance.targets {params.paths} --sets {params.sets} --chosen {params.chosen:q} > {log} 2>&1"


rule instance_surrogate:
    """Make what stands in for the targets."""
    input:
        code=lambda wildcards: code_of(
            "palimpsest.instance.make_surrogates",
            f"palimpsest.instance.surrogates.{instance.surrogate_kind(wildcards)}",
        ),
        images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        data_images=instance.data("data", "images.npy"),
        neighbours="<results>/instance/targets/neighbours.npy",
        network=lambda wildcards: instance.network(wildcards.model),
    output:
        surrogates="<results>/instance/{model}/surrogates/{surrogate}.npy",
    log:
        "<logs>/instance/surrogates/{model}/{surrogate}.log",
    benchmark:
        "<benchmarks>/instance_surrogate/{model}/{surrogate}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
        surrogate=one_of(instance.own("surrogates")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(30, "m"),
        gpu=1,
    params:
        paths=paths,
        kind=instance.surrogate_kind,
        params=instance.surrogate_params,
    shell:
        "python -m palimpsest.instance.make_surrogates {params.paths} --kind {params.kind} --params {params.params:q} > {log} 2>&1"


rule instance_reference:
    """Sample the pretrained model, choose the injection timestep on it, and describe the data."""
    input:
        code=code_of("palimpsest.instance.reference", *instance.judge_modules()),
        network=lambda wildcards: instance.network(wildcards.model),
        judges=instance.judge_networks(),
        data_images=instance.data("data", "images.npy"),
        held_out_images=instance.data("held_out", "images.npy"),
        target_images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        remember="<results>/instance/targets/remember.npy",
        neighbours="<results>/instance/targets/neighbours.npy",
    output:
        reference="<results>/instance/{model}/reference/reference.npz",
        curve="<results>/instance/{model}/reference/curve.parquet",
        measurements="<results>/instance/{model}/reference/measurements.parquet",
        generated="<results>/instance/{model}/reference/generated.npy",
    log:
        "<logs>/instance/reference/{model}.log",
    benchmark:
        "<benchmarks>/instance_reference/{model}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(16, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        modules=instance.judging(),
        params=instance.reference_params(),
    shell:
        "python -m palimpsest.instance.reference {params.paths} --model {wildcards.model} --modules {params.modules:q}"
        " --params {params.params:q} > {log} 2>&1"


rule instance_compare_surrogates:
    """Measure how far each surrogate is from its target."""
    input:
        code=code_of("palimpsest.instance.compare_surrogates", *instance.judge_modules()),
        judges=instance.judge_networks(),
        target_images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        surrogates=expand(
            "<results>/instance/{{model}}/surrogates/{surrogate}.npy", surrogate=instance.own("surrogates")
        ),
    output:
        measurements="<results>/instance/{model}/surrogates/measurements.parquet",
    log:
        "<logs>/instance/compare_surrogates/{model}.log",
    benchmark:
        "<benchmarks>/instance_compare_surrogates/{model}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(30, "m"),
        gpu=1,
    params:
        paths=paths,
        modules=instance.judging(),
    shell:
        "python -m palimpsest.instance.compare_surrogates {params.paths} --model {wildcards.model}"
        " --modules {params.modules:q} > {log} 2>&1"


rule instance_unlearn:
    """Make the model forget: every run of one method in one study."""
    input:
        code=instance.code_of_method("palimpsest.instance.unlearn", "{method}"),
        network=lambda wildcards: instance.network(wildcards.model),
        data_images=instance.data("data", "images.npy"),
        target_images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        remember="<results>/instance/targets/remember.npy",
        neighbours="<results>/instance/targets/neighbours.npy",
        surrogates=instance.surrogate_files,
        selected=instance.selected,
        generated=instance.generated,
    output:
        models=directory("<results>/instance/{model}/{study}/{method}/models"),
        runs="<results>/instance/{model}/{study}/{method}/runs.parquet",
        log="<results>/instance/{model}/{study}/{method}/log.parquet",
        edits="<results>/instance/{model}/{study}/{method}/edits.parquet",
    log:
        "<logs>/instance/unlearn/{model}/{study}/{method}.log",
    benchmark:
        "<benchmarks>/instance_unlearn/{model}/{study}/{method}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(12, "h"),
        gpu=1,
    params:
        paths=paths,
        module=lambda wildcards: instance.module_of(wildcards.method),
        plan=instance.plan_of,
    shell:
        "python -m palimpsest.instance.unlearn {params.paths} --model {wildcards.model} --method {wildcards.method}"
        " --module {params.module} --plan {params.plan:q} > {log} 2>&1"


rule instance_evaluate:
    """Judge what a study's models forgot, and what else changed."""
    input:
        code=code_of("palimpsest.instance.evaluate", *instance.judge_modules()),
        reference="<results>/instance/{model}/reference/reference.npz",
        judges=instance.judge_networks(),
        target_images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        models="<results>/instance/{model}/{study}/{method}/models",
        runs="<results>/instance/{model}/{study}/{method}/runs.parquet",
    output:
        measurements="<results>/instance/{model}/{study}/{method}/measurements.parquet",
        panel="<results>/instance/{model}/{study}/{method}/panel.npz",
    log:
        "<logs>/instance/evaluate/{model}/{study}/{method}.log",
    benchmark:
        "<benchmarks>/instance_evaluate/{model}/{study}/{method}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(16, "GB"),
        runtime=growing(24, "h"),
        gpu=1,
    params:
        paths=paths,
        modules=instance.judging(),
        params=as_json(instance.own("reference")),
    shell:
        "python -m palimpsest.instance.evaluate {params.paths} --model {wildcards.model} --method {wildcards.method}"
        " --study {wildcards.study} --modules {params.modules:q} --params {params.params:q} > {log} 2>&1"


rule instance_evaluate_network:
    """Judge the pretrained model and the oracle in the same way."""
    input:
        code=code_of("palimpsest.instance.evaluate", *instance.judge_modules()),
        reference="<results>/instance/{model}/reference/reference.npz",
        judges=instance.judge_networks(),
        target_images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        network=instance.network_behind,
    output:
        measurements="<results>/instance/{model}/networks/{which}/measurements.parquet",
        panel="<results>/instance/{model}/networks/{which}/panel.npz",
    log:
        "<logs>/instance/evaluate/{model}/networks/{which}.log",
    benchmark:
        "<benchmarks>/instance_evaluate_network/{model}/{which}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
        which="pretrained|oracle",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(16, "GB"),
        runtime=growing(12, "h"),
        gpu=1,
    params:
        paths=paths,
        modules=instance.judging(),
        params=as_json(instance.own("reference")),
        plan=instance.all_targets(),
    shell:
        "python -m palimpsest.instance.evaluate {params.paths} --model {wildcards.model} --method {wildcards.which}"
        " --modules {params.modules:q} --params {params.params:q} --plan {params.plan:q} > {log} 2>&1"


rule instance_membership:
    """Compare reconstructions of the targets by the pretrained model and by its oracle, at every timestep tried."""
    input:
        code=code_of("palimpsest.instance.membership", *instance.judge_modules()),
        reference="<results>/instance/{model}/reference/reference.npz",
        pretrained=lambda wildcards: instance.network(wildcards.model),
        oracle=lambda wildcards: instance.network(instance.own("oracles", wildcards.model)),
        judges=instance.judge_networks(),
        data_images=instance.data("data", "images.npy"),
        target_images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
    output:
        curves="<results>/instance/{model}/membership/curves.parquet",
        measurements="<results>/instance/{model}/membership/measurements.parquet",
    log:
        "<logs>/instance/membership/{model}.log",
    benchmark:
        "<benchmarks>/instance_membership/{model}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        modules=instance.judging(),
        params=as_json(instance.own("reference")),
    shell:
        "python -m palimpsest.instance.membership {params.paths} --model {wildcards.model} --modules {params.modules:q}"
        " --params {params.params:q} > {log} 2>&1"


rule instance_select:
    """Choose each method's setting on the tuning targets."""
    input:
        code=code_of("palimpsest.instance.select"),
        measurements=instance.tuned_on,
        baseline="<results>/instance/{model}/networks/pretrained/measurements.parquet",
    output:
        selected="<results>/instance/{model}/tuning/{method}/selected.json",
        chosen="<results>/instance/{model}/tuning/{method}/chosen.parquet",
    log:
        "<logs>/instance/select/{model}/{method}.log",
    benchmark:
        "<benchmarks>/instance_select/{model}/{method}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        grid=instance.grid_of,
    shell:
        "python -m palimpsest.instance.select {params.paths} --model {wildcards.model} --method {wildcards.method}"
        " --grid {params.grid:q} > {log} 2>&1"


rule instance_pair:
    """Compare a study's settings with one of them, pair by pair."""
    input:
        code=code_of("palimpsest.instance.paired"),
        measurements="<results>/instance/{model}/{study}/{method}/measurements.parquet",
    output:
        differences="<results>/instance/{model}/{study}/{method}/paired.parquet",
    log:
        "<logs>/instance/pair/{model}/{study}/{method}.log",
    benchmark:
        "<benchmarks>/instance_pair/{model}/{study}/{method}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        against=instance.of("studies", "{study}", "paired"),
    shell:
        "python -m palimpsest.instance.paired {params.paths} --model {wildcards.model} --method {wildcards.method}"
        " --study {wildcards.study} --against {params.against} > {log} 2>&1"


rule instance_pair_methods:
    """Compare a study's methods with one of them, pair by pair."""
    input:
        code=code_of("palimpsest.instance.paired"),
        measurements=lambda wildcards: instance.measured_methods(wildcards.model, wildcards.study),
    output:
        differences="<results>/instance/{model}/{study}/paired.parquet",
    log:
        "<logs>/instance/pair_methods/{model}/{study}.log",
    benchmark:
        "<benchmarks>/instance_pair_methods/{model}/{study}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        against=instance.of("studies", "{study}", "paired_with"),
    shell:
        "python -m palimpsest.instance.paired {params.paths} --model {wildcards.model} --study {wildcards.study}"
        " --by method --against {params.against} > {log} 2>&1"


rule instance_conflicts:
    """Measure how the forget and the remember gradient of Unpromptable disagree, by timestep."""
    input:
        code=code_of("palimpsest.instance.conflicts"),
        network=lambda wildcards: instance.network(wildcards.model),
        data_images=instance.data("data", "images.npy"),
        target_images="<results>/instance/targets/images.npy",
        manifest="<results>/instance/targets/manifest.parquet",
        remember="<results>/instance/targets/remember.npy",
        surrogates=f"<results>/instance/{{model}}/surrogates/{instance.own('surrogate')}.npy",
    output:
        cosines="<results>/instance/{model}/conflicts/cosines.parquet",
        shares="<results>/instance/{model}/conflicts/shares.parquet",
        measurements="<results>/instance/{model}/conflicts/measurements.parquet",
    log:
        "<logs>/instance/conflicts/{model}.log",
    benchmark:
        "<benchmarks>/instance_conflicts/{model}.jsonl"
    wildcard_constraints:
        **instance.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
        gpu=1,
    params:
        paths=paths,
        settings=lambda wildcards: instance.flags("instance", "conflicts"),
    shell:
        "python -m palimpsest.instance.conflicts {params.paths} --model {wildcards.model} {params.settings} > {log} 2>&1"


rule instance_ridge:
    """Check the ridge regression's theorems, and how often a surrogate stays nearer than removal."""
    input:
        code=code_of("palimpsest.instance.ridge"),
    output:
        curves="<results>/instance/ridge/curves.parquet",
        measurements="<results>/instance/ridge/measurements.parquet",
    log:
        "<logs>/instance/ridge.log",
    benchmark:
        "<benchmarks>/instance_ridge.jsonl"
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        settings=lambda wildcards: instance.flags("instance", "ridge"),
    shell:
        "python -m palimpsest.instance.ridge {params.paths} {params.settings} > {log} 2>&1"
