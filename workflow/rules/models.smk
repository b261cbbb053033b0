# Base models: trained here, or released in resources/models, or taken from a published checkpoint. Judges, and what they
# find in a data set.
# Wildcards: {weights} a network's file below the folder of the networks, {detector} a row of detectors, {set} a data set.


rule train:
    """Train a network by the trainer that the configuration names, and measure it on held-out pictures."""
    input:
        unpack(sources.training_inputs),
    output:
        network="<results>/models/{weights}",
    log:
        "<logs>/train/{weights}.log",
    benchmark:
        "<benchmarks>/train/{weights}.jsonl"
    wildcard_constraints:
        weights=one_of(sources.made_by("trainer")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        module=lambda wildcards: sources.trainer_of(wildcards.weights)[0],
        params=lambda wildcards: as_json(sources.trained(wildcards.weights)["params"]),
        seed=lambda wildcards: sources.trained(wildcards.weights)["seed"],
    shell:
        "python -m {params.module} {params.paths} --params {params.params:q} --seed {params.seed} > {log} 2>&1"


rule convert:
    """Compare a published network with its hash, read it strictly as its layout says, and take it into the run."""
    input:
        unpack(sources.converter_inputs),
    output:
        network="<results>/models/{weights}",
    log:
        "<logs>/convert/{weights}.log",
    benchmark:
        "<benchmarks>/convert/{weights}.jsonl"
    wildcard_constraints:
        weights=one_of(sources.made_by("published")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        module=lambda wildcards: sources.layout_of(wildcards.weights)[0],
        published=lambda wildcards: sources.as_published(wildcards.weights),
    shell:
        "python -m {params.module} {params.paths} {params.published} > {log} 2>&1"


rule calibrate_judges:
    """Measure the judges on held-out scenes."""
    input:
        code=code_of("palimpsest.judges.calibrate"),
        networks=[sources.network(name) for name in sources.networks_of("judge")],
        images=f"<results>/data/{sources.judged_on('judge')}/images.npy",
        masks=f"<results>/data/{sources.judged_on('judge')}/masks.npy",
        manifest=f"<results>/data/{sources.judged_on('judge')}/manifest.parquet",
    output:
        measurements="<results>/judges/calibration.parquet",
    log:
        "<logs>/calibrate_judges.log",
    benchmark:
        "<benchmarks>/calibrate_judges.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        set=sources.judged_on("judge"),
    shell:
        "python -m palimpsest.judges.calibrate {params.paths} --set {params.set} > {log} 2>&1"


rule detect:
    """Run a detector over a set, once; classes and thresholds are filters downstream."""
    input:
        code=lambda wildcards: code_of(
            "palimpsest.judges.detect", f"palimpsest.judges.{sources.detector(wildcards.detector)['module']}"
        ),
        network=lambda wildcards: sources.optional_network(sources.detector(wildcards.detector).get("network")),
        images="<results>/data/{set}/images.npy",
    output:
        detections="<results>/judges/{detector}/{set}.parquet",
    log:
        "<logs>/detect/{detector}/{set}.log",
    benchmark:
        "<benchmarks>/detect/{detector}/{set}.jsonl"
    wildcard_constraints:
        detector=one_of(sources.setting("detectors")),
        set=one_of(sources.setting("datasets")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        module=lambda wildcards: sources.detector(wildcards.detector)["module"],
        params=lambda wildcards: as_json(sources.detector(wildcards.detector)["params"]),
    shell:
        "python -m palimpsest.judges.detect {params.paths} --detector {params.module} --params {params.params:q} > {log} 2>&1"


rule list_networks:
    """List a base model, its oracles, a random network and what others edited as the models that methods edited."""
    input:
        code=code_of("palimpsest.models.list_networks"),
        network=lambda wildcards: sources.network(wildcards.model),
        oracles=lambda wildcards: [
            sources.network(name) for name in plans[wildcards.family].oracles(wildcards.model).values()
        ],
        others=lambda wildcards: [row["path"] for row in plans[wildcards.family].others(wildcards.model).values()],
    output:
        random=directory("<results>/{family}/networks/{model}/random"),
        edits="<results>/{family}/networks/{model}/edits.parquet",
    log:
        "<logs>/list_networks/{family}/{model}.log",
    benchmark:
        "<benchmarks>/list_networks/{family}/{model}.jsonl"
    wildcard_constraints:
        family=one_of(plans),
        model=one_of(sources.setting("networks")),
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        targets=lambda wildcards: stated(
            {"targets": [name for name in plans[wildcards.family].oracles(wildcards.model) if name]}, "targets"
        ),
        about=lambda wildcards: plans[wildcards.family].others_rows(wildcards.model),
    shell:
        "python -m palimpsest.models.list_networks {params.paths} --family {wildcards.family} --model {wildcards.model}"
        " {params.targets} {params.about} > {log} 2>&1"
