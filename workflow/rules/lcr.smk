# Latent code replacement, first half: pictures to codes, codes to statistics, statistics to replacements.
# Wildcards: {preset} a row of lcr.presets, {model} a VQ-GAN, {set} a data set, {rule} a module of palimpsest.lcr.rules.
include: "lcr_common.smk"
include: "lcr_analysis.smk"


rule lcr_encode:
    """Encode a set into codes."""
    input:
        code=code_of("palimpsest.lcr.encode"),
        network=lambda wildcards: network(wildcards.model),
        images="<results>/data/{set}/images.npy",
    output:
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
        entropy="<results>/lcr/{preset}/{model}/codes/{set}.entropy.npy",
    log:
        "<logs>/lcr/encode/{preset}/{model}/{set}.log",
    benchmark:
        "<benchmarks>/lcr_encode/{preset}/{model}/{set}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        sampling=preset("sampling"),
    shell:
        "python -m palimpsest.lcr.encode {params.paths} --sampling {params.sampling} > {log} 2>&1"


rule lcr_masks:
    """Find the cells that the detected concept touches."""
    input:
        code=code_of("palimpsest.lcr.masks"),
        detections=lambda wildcards: f"<results>/judges/{setting('lcr', 'presets', wildcards.preset, 'detector')}/{wildcards.set}.parquet",
        images="<results>/data/{set}/images.npy",
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
    output:
        masks="<results>/lcr/{preset}/{model}/masks/{set}.npy",
    log:
        "<logs>/lcr/masks/{preset}/{model}/{set}.log",
    benchmark:
        "<benchmarks>/lcr_masks/{preset}/{model}/{set}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        params=mask_params,
    shell:
        "python -m palimpsest.lcr.masks {params.paths} --params {params.params:q} > {log} 2>&1"


rule lcr_count:
    """Count the codes of a set, inside and outside the masks."""
    input:
        code=code_of("palimpsest.lcr.count"),
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
        masks="<results>/lcr/{preset}/{model}/masks/{set}.npy",
    output:
        counts="<results>/lcr/{preset}/{model}/counts/{set}.parquet",
    log:
        "<logs>/lcr/count/{preset}/{model}/{set}.log",
    benchmark:
        "<benchmarks>/lcr_count/{preset}/{model}/{set}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        codebook_size=codebook_size,
    shell:
        "python -m palimpsest.lcr.count {params.paths} --codebook-size {params.codebook_size} > {log} 2>&1"


rule lcr_score:
    """Score each code for the concept: log-odds, the original ratio, mutual information."""
    input:
        code=code_of("palimpsest.lcr.score"),
        forget_counts="<results>/lcr/{preset}/{model}/counts/forget_fit.parquet",
        retain_counts="<results>/lcr/{preset}/{model}/counts/safe_fit.parquet",
        forget_codes="<results>/lcr/{preset}/{model}/codes/forget_fit.npy",
        forget_masks="<results>/lcr/{preset}/{model}/masks/forget_fit.npy",
        retain_codes="<results>/lcr/{preset}/{model}/codes/safe_fit.npy",
    output:
        scores="<results>/lcr/{preset}/{model}/scores.parquet",
    log:
        "<logs>/lcr/score/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_score/{preset}/{model}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        codebook_size=codebook_size,
        prior=setting("lcr", "scores", "prior"),
        draws=setting("lcr", "scores", "draws"),
    shell:
        "python -m palimpsest.lcr.score {params.paths} --codebook-size {params.codebook_size} --prior {params.prior} --draws {params.draws} > {log} 2>&1"


rule lcr_cooccurrence:
    """Count neighbouring codes, and test which pairs and patches belong to the concept."""
    input:
        code=code_of("palimpsest.lcr.cooccurrence"),
        forget_codes="<results>/lcr/{preset}/{model}/codes/forget_fit.npy",
        forget_masks="<results>/lcr/{preset}/{model}/masks/forget_fit.npy",
        retain_codes="<results>/lcr/{preset}/{model}/codes/safe_fit.npy",
    output:
        pairs="<results>/lcr/{preset}/{model}/cooccurrence/pairs.npz",
        table="<results>/lcr/{preset}/{model}/cooccurrence/pairs.parquet",
        patches="<results>/lcr/{preset}/{model}/cooccurrence/patches.parquet",
        measurements="<results>/lcr/{preset}/{model}/cooccurrence/measurements.parquet",
    log:
        "<logs>/lcr/cooccurrence/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_cooccurrence/{preset}/{model}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        codebook_size=codebook_size,
        settings=flags("lcr", "cooccurrence"),
    shell:
        "python -m palimpsest.lcr.cooccurrence {params.paths} --model {wildcards.model} --preset {wildcards.preset} --codebook-size {params.codebook_size} {params.settings} > {log} 2>&1"


rule lcr_reconstruct:
    """Decode the plain codes, and measure originals, twins and reconstructions."""
    input:
        code=code_of("palimpsest.lcr.reconstruct", judge_module()),
        network=lambda wildcards: network(wildcards.model),
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
        masks="<results>/lcr/{preset}/{model}/masks/{set}.npy",
        images="<results>/data/{set}/images.npy",
        manifest="<results>/data/{set}/manifest.parquet",
        twins=twins_of("data/{twin}/images.npy"),
        judge=optional_network(judge().get("network")),
        classifier=optional_network(config["lcr"].get("classifier")),
    output:
        reconstruction="<results>/lcr/{preset}/{model}/reconstruction/{set}.npy",
        measurements="<results>/lcr/{preset}/{model}/reconstruction/{set}.parquet",
    log:
        "<logs>/lcr/reconstruct/{preset}/{model}/{set}.log",
    benchmark:
        "<benchmarks>/lcr_reconstruct/{preset}/{model}/{set}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        concept=setting("lcr", "concept"),
        detector=lambda wildcards: as_json(judge()),
        params=evaluation_params,
    shell:
        "python -m palimpsest.lcr.reconstruct {params.paths} --model {wildcards.model} --preset {wildcards.preset} --set {wildcards.set}"
        " --concept {params.concept} --detector {params.detector:q} --params {params.params:q} > {log} 2>&1"


rule lcr_replace:
    """Replace codes by one rule, decode, and measure forgetting and preservation."""
    input:
        code=code_of("palimpsest.lcr.replace", "palimpsest.lcr.rules.{rule}", judge_module()),
        network=lambda wildcards: network(wildcards.model),
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
        masks="<results>/lcr/{preset}/{model}/masks/{set}.npy",
        images="<results>/data/{set}/images.npy",
        manifest="<results>/data/{set}/manifest.parquet",
        reconstruction="<results>/lcr/{preset}/{model}/reconstruction/{set}.npy",
        scores="<results>/lcr/{preset}/{model}/scores.parquet",
        safe_counts="<results>/lcr/{preset}/{model}/counts/safe_fit.parquet",
        pairs="<results>/lcr/{preset}/{model}/cooccurrence/pairs.npz",
        bank="<results>/lcr/{preset}/{model}/codes/safe_fit.npy",
        fit_codes="<results>/lcr/{preset}/{model}/codes/forget_fit.npy",
        fit_masks="<results>/lcr/{preset}/{model}/masks/forget_fit.npy",
        twins=twins_of("data/{twin}/images.npy"),
        twin_codes=twins_of("lcr/{preset}/{model}/codes/{twin}.npy"),
        guide=optional_network(config["lcr"].get("guide")),
        judge=optional_network(judge().get("network")),
        classifier=optional_network(config["lcr"].get("classifier")),
    output:
        edited="<results>/lcr/{preset}/{model}/{experiment}/{set}/{rule}/codes.npz",
        per_image="<results>/lcr/{preset}/{model}/{experiment}/{set}/{rule}/per_image.parquet",
        panel="<results>/lcr/{preset}/{model}/{experiment}/{set}/{rule}/panel.npz",
        measurements="<results>/lcr/{preset}/{model}/{experiment}/{set}/{rule}/measurements.parquet",
        edits="<results>/lcr/{preset}/{model}/{experiment}/{set}/{rule}/edits.parquet",
    log:
        "<logs>/lcr/{experiment}/{preset}/{model}/{set}/{rule}.log",
    benchmark:
        "<benchmarks>/lcr_replace/{experiment}/{preset}/{model}/{set}/{rule}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(8, "h"),
        gpu=1,
    params:
        paths=paths,
        concept=setting("lcr", "concept"),
        detector=lambda wildcards: as_json(judge()),
        params=replace_params,
    shell:
        "python -m palimpsest.lcr.replace {params.paths} --model {wildcards.model} --preset {wildcards.preset} --set {wildcards.set} --rule {wildcards.rule}"
        " --concept {params.concept} --detector {params.detector:q} --params {params.params:q} > {log} 2>&1"
