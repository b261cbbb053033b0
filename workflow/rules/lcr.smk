# Latent code replacement, first half: pictures to codes, codes to statistics, statistics to replacements.
# Wildcards: {preset} a row of lcr.presets, {model} a VQ-GAN, {set} a data set, {rule} a module of palimpsest.lcr.rules.
lcr = plans["lcr"]


include: "lcr_analysis.smk"


rule lcr_encode:
    """Encode a set into codes."""
    input:
        code=code_of("palimpsest.lcr.encode"),
        network=lambda wildcards: lcr.network(wildcards.model),
        images="<results>/data/{set}/images.npy",
    output:
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
        entropy="<results>/lcr/{preset}/{model}/codes/{set}.entropy.npy",
    log:
        "<logs>/lcr/encode/{preset}/{model}/{set}.log",
    benchmark:
        "<benchmarks>/lcr_encode/{preset}/{model}/{set}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        sampling=lcr.of("presets", "{preset}", "sampling"),
    shell:
        "python -m palimpsest.lcr.encode {params.paths} --sampling {params.sampling} > {log} 2>&1"


rule lcr_masks:
    """Find the cells that the detected concept touches."""
    input:
        code=code_of("palimpsest.lcr.masks"),
        detections=lcr.detections,
        images="<results>/data/{set}/images.npy",
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
    output:
        masks="<results>/lcr/{preset}/{model}/masks/{set}.npy",
    log:
        "<logs>/lcr/masks/{preset}/{model}/{set}.log",
    benchmark:
        "<benchmarks>/lcr_masks/{preset}/{model}/{set}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        params=lcr.mask_params,
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
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        codebook_size=lcr.codebook_size,
    shell:
        "python -m palimpsest.lcr.count {params.paths} --codebook-size {params.codebook_size} > {log} 2>&1"


rule lcr_score:
    """Score each code for the concept: log-odds, the original ratio, mutual information."""
    input:
        code=code_of("palimpsest.lcr.score"),
        forget_counts=lcr.counts("forget_fit"),
        retain_counts=lcr.counts("safe_fit"),
        forget_codes=lcr.codes("forget_fit"),
        forget_masks=lcr.masks("forget_fit"),
        safe_fit_codes=lcr.codes("safe_fit"),
    output:
        scores="<results>/lcr/{preset}/{model}/scores.parquet",
    log:
        "<logs>/lcr/score/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_score/{preset}/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        codebook_size=lcr.codebook_size,
        prior=lcr.own("scores", "prior"),
        draws=lcr.own("scores", "draws"),
    shell:
        "python -m palimpsest.lcr.score {params.paths} --codebook-size {params.codebook_size} --prior {params.prior} --draws {params.draws} > {log} 2>&1"


rule lcr_cooccurrence:
    """Count neighbouring codes, and test which pairs and patches belong to the concept."""
    input:
        code=code_of("palimpsest.lcr.cooccurrence"),
        forget_codes=lcr.codes("forget_fit"),
        forget_masks=lcr.masks("forget_fit"),
        safe_fit_codes=lcr.codes("safe_fit"),
    output:
        pairs="<results>/lcr/{preset}/{model}/cooccurrence/pairs.npz",
        table="<results>/lcr/{preset}/{model}/cooccurrence/pairs.parquet",
        patches="<results>/lcr/{preset}/{model}/cooccurrence/patches.parquet",
        measurements="<results>/lcr/{preset}/{model}/cooccurrence/measurements.parquet",
    log:
        "<logs>/lcr/cooccurrence/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_cooccurrence/{preset}/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        codebook_size=lcr.codebook_size,
        settings=lcr.flags("lcr", "cooccurrence"),
    shell:
        "python -m palimpsest.lcr.cooccurrence {params.paths} --model {wildcards.model} --preset {wildcards.preset} --codebook-size {params.codebook_size} {params.settings} > {log} 2>&1"


rule lcr_gather:
    """Gather what the fit sets teach the rules of replacement."""
    input:
        code=code_of("palimpsest.lcr.gather"),
        scores="<results>/lcr/{preset}/{model}/scores.parquet",
        safe_fit_codes=lcr.codes("safe_fit"),
        forget_fit_codes=lcr.codes("forget_fit"),
        forget_fit_masks=lcr.masks("forget_fit"),
    output:
        fit="<results>/lcr/{preset}/{model}/fit.npz",
    log:
        "<logs>/lcr/gather/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_gather/{preset}/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        codebook_size=lcr.codebook_size,
    shell:
        "python -m palimpsest.lcr.gather {params.paths} --codebook-size {params.codebook_size} > {log} 2>&1"


rule lcr_reconstruct:
    """Decode the plain codes, and measure originals, twins and reconstructions."""
    input:
        code=code_of("palimpsest.lcr.reconstruct", lcr.judge_module()),
        network=lambda wildcards: lcr.network(wildcards.model),
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
        masks="<results>/lcr/{preset}/{model}/masks/{set}.npy",
        images="<results>/data/{set}/images.npy",
        manifest="<results>/data/{set}/manifest.parquet",
        twins=lcr.twins("data/{twin}/images.npy"),
        judge=lcr.judge_network(),
        classifier=lcr.network_in("classifier"),
    output:
        reconstruction="<results>/lcr/{preset}/{model}/reconstruction/{set}.npy",
        measurements="<results>/lcr/{preset}/{model}/reconstruction/{set}.parquet",
    log:
        "<logs>/lcr/reconstruct/{preset}/{model}/{set}.log",
    benchmark:
        "<benchmarks>/lcr_reconstruct/{preset}/{model}/{set}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        params=lcr.evaluation_params,
    shell:
        "python -m palimpsest.lcr.reconstruct {params.paths} --model {wildcards.model} --preset {wildcards.preset} --set {wildcards.set} --params {params.params:q} > {log} 2>&1"


rule lcr_replace:
    """Replace codes by one rule, decode, and measure forgetting and preservation."""
    input:
        code=code_of("palimpsest.lcr.replace", "palimpsest.lcr.rules.{rule}", lcr.judge_module()),
        network=lambda wildcards: lcr.network(wildcards.model),
        codes="<results>/lcr/{preset}/{model}/codes/{set}.npy",
        masks="<results>/lcr/{preset}/{model}/masks/{set}.npy",
        images="<results>/data/{set}/images.npy",
        manifest="<results>/data/{set}/manifest.parquet",
        reconstruction="<results>/lcr/{preset}/{model}/reconstruction/{set}.npy",
        fit="<results>/lcr/{preset}/{model}/fit.npz",
        twins=lcr.twins("data/{twin}/images.npy"),
        twin_codes=lcr.twins("lcr/{preset}/{model}/codes/{twin}.npy"),
        guide=lcr.network_in("guide"),
        judge=lcr.judge_network(),
        classifier=lcr.network_in("classifier"),
    output:
        edited="<results>/lcr/{preset}/{model}/{design}/{set}/{rule}/codes.npz",
        per_image="<results>/lcr/{preset}/{model}/{design}/{set}/{rule}/per_image.parquet",
        panel="<results>/lcr/{preset}/{model}/{design}/{set}/{rule}/panel.npz",
        measurements="<results>/lcr/{preset}/{model}/{design}/{set}/{rule}/measurements.parquet",
        edits="<results>/lcr/{preset}/{model}/{design}/{set}/{rule}/edits.parquet",
    log:
        "<logs>/lcr/{design}/{preset}/{model}/{set}/{rule}.log",
    benchmark:
        "<benchmarks>/lcr_replace/{design}/{preset}/{model}/{set}/{rule}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
        rule=r"[a-z0-9_]+",
        design="grid|sweep",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(8, "h"),
        gpu=1,
    params:
        paths=paths,
        params=lcr.replace_params,
    shell:
        "python -m palimpsest.lcr.replace {params.paths} --model {wildcards.model} --preset {wildcards.preset} --set {wildcards.set} --rule {wildcards.rule} --params {params.params:q} > {log} 2>&1"
