# Latent code replacement, second half: what the codes say of the concept, and what the decoder does with a code.


rule lcr_model_card:
    """Measure what a VQ-GAN keeps of the world."""
    input:
        code=code_of("palimpsest.lcr.model_card"),
        network=lambda wildcards: lcr.network(wildcards.model),
        images=lcr.data("calibration", "images.npy"),
        manifest=lcr.data("calibration", "manifest.parquet"),
        judge=lcr.judge_network(),
        classifier=lambda wildcards: lcr.network(lcr.own("classifier")),
    output:
        measurements="<results>/lcr/model_card/{model}.parquet",
    log:
        "<logs>/lcr/model_card/{model}.log",
    benchmark:
        "<benchmarks>/lcr_model_card/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(10, "m"),
        gpu=1,
    params:
        paths=paths,
        set=lcr.name("calibration"),
    shell:
        "python -m palimpsest.lcr.model_card {params.paths} --model {wildcards.model} --set {params.set} > {log} 2>&1"


rule lcr_encoder_noise:
    """Measure how undecided the encoder is, and how far two draws of its codes agree."""
    input:
        code=code_of("palimpsest.lcr.encoder_noise"),
        network=lambda wildcards: lcr.network(wildcards.model),
        images=lcr.data("forget_test", "images.npy"),
    output:
        cells="<results>/lcr/{preset}/{model}/encoder_noise/cells.parquet",
        measurements="<results>/lcr/{preset}/{model}/encoder_noise/measurements.parquet",
    log:
        "<logs>/lcr/encoder_noise/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_encoder_noise/{preset}/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(10, "m"),
        gpu=1,
    params:
        paths=paths,
        set=lcr.name("forget_test"),
        params=lambda wildcards: as_json(lcr.own("encoder_noise")),
    shell:
        "python -m palimpsest.lcr.encoder_noise {params.paths} --model {wildcards.model} --preset {wildcards.preset} --set {params.set} --params {params.params:q} > {log} 2>&1"


rule lcr_code_stats:
    """Describe the codes under the masks against masks of the same size elsewhere."""
    input:
        code=code_of("palimpsest.lcr.code_stats"),
        codes=lcr.codes("forget_fit"),
        masks=lcr.masks("forget_fit"),
        safe_fit_codes=lcr.codes("safe_fit"),
    output:
        table="<results>/lcr/{preset}/{model}/code_stats/codes.parquet",
        measurements="<results>/lcr/{preset}/{model}/code_stats/measurements.parquet",
    log:
        "<logs>/lcr/code_stats/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_code_stats/{preset}/{model}.jsonl"
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
        set=lcr.name("forget_fit"),
        codebook_size=lcr.codebook_size,
        settings=lcr.flags("lcr", "code_stats"),
    shell:
        "python -m palimpsest.lcr.code_stats {params.paths} --model {wildcards.model} --preset {wildcards.preset} --set {params.set} --codebook-size {params.codebook_size} {params.settings} > {log} 2>&1"


rule lcr_localise:
    """Trace how well codes, pairs and patches tell where the concept is."""
    input:
        code=code_of("palimpsest.lcr.localise"),
        forget_fit_codes=lcr.codes("forget_fit"),
        forget_fit_masks=lcr.masks("forget_fit"),
        safe_fit_codes=lcr.codes("safe_fit"),
        forget_test_codes=lcr.codes("forget_test"),
        forget_test_masks=lcr.masks("forget_test"),
        safe_test_codes=lcr.codes("safe_test"),
    output:
        curves="<results>/lcr/{preset}/{model}/localise/curves.parquet",
        measurements="<results>/lcr/{preset}/{model}/localise/measurements.parquet",
    log:
        "<logs>/lcr/localise/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_localise/{preset}/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(10, "m"),
    params:
        paths=paths,
        codebook_size=lcr.codebook_size,
        settings=lcr.flags("lcr", "localise"),
    shell:
        "python -m palimpsest.lcr.localise {params.paths} --model {wildcards.model} --preset {wildcards.preset} --codebook-size {params.codebook_size} {params.settings} > {log} 2>&1"


rule lcr_classify:
    """Fit linear classifiers of code grids, and their controls."""
    input:
        code=code_of("palimpsest.lcr.classify"),
        forget_fit_codes=lcr.codes("forget_fit"),
        safe_fit_codes=lcr.codes("safe_fit"),
        forget_fit_manifest=lcr.data("forget_fit", "manifest.parquet"),
        safe_fit_manifest=lcr.data("safe_fit", "manifest.parquet"),
        forget_test_codes=lcr.codes("forget_test"),
        safe_test_codes=lcr.codes("safe_test"),
        forget_test_manifest=lcr.data("forget_test", "manifest.parquet"),
        safe_test_manifest=lcr.data("safe_test", "manifest.parquet"),
        forget_test_masks=lcr.masks("forget_test"),
    output:
        weights="<results>/lcr/{preset}/{model}/classify/full.safetensors",
        measurements="<results>/lcr/{preset}/{model}/classify/measurements.parquet",
    log:
        "<logs>/lcr/classify/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_classify/{preset}/{model}.jsonl"
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
        params=lambda wildcards: as_json(lcr.own("classify")),
    shell:
        "python -m palimpsest.lcr.classify {params.paths} --model {wildcards.model} --preset {wildcards.preset} --codebook-size {params.codebook_size} --params {params.params:q} > {log} 2>&1"


rule lcr_counterfactual:
    """Ask which codes the classifier rests on, by the exact additive form."""
    input:
        code=code_of("palimpsest.lcr.counterfactual"),
        weights="<results>/lcr/{preset}/{model}/classify/full.safetensors",
        forget_test_codes=lcr.codes("forget_test"),
        safe_test_codes=lcr.codes("safe_test"),
    output:
        importance="<results>/lcr/{preset}/{model}/counterfactual/importance.parquet",
        greedy="<results>/lcr/{preset}/{model}/counterfactual/greedy.parquet",
        measurements="<results>/lcr/{preset}/{model}/counterfactual/measurements.parquet",
    log:
        "<logs>/lcr/counterfactual/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_counterfactual/{preset}/{model}.jsonl"
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
        settings=lcr.flags("lcr", "counterfactual"),
    shell:
        "python -m palimpsest.lcr.counterfactual {params.paths} --model {wildcards.model} --preset {wildcards.preset} --codebook-size {params.codebook_size} {params.settings} > {log} 2>&1"


rule lcr_locality:
    """Measure how far a changed code reaches in the decoded picture, and through what."""
    input:
        code=code_of("palimpsest.lcr.locality"),
        network=lambda wildcards: lcr.network(wildcards.model),
        codes=lcr.codes("safe_test"),
    output:
        curves="<results>/lcr/{preset}/{model}/locality/curves.parquet",
        measurements="<results>/lcr/{preset}/{model}/locality/measurements.parquet",
    log:
        "<logs>/lcr/locality/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_locality/{preset}/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(10, "m"),
        gpu=1,
    params:
        paths=paths,
        params=lambda wildcards: as_json(lcr.own("locality")),
    shell:
        "python -m palimpsest.lcr.locality {params.paths} --model {wildcards.model} --preset {wildcards.preset} --params {params.params:q} > {log} 2>&1"


rule lcr_injection:
    """Put the concept's codes into safe pictures, and see what travels and what leaks."""
    input:
        code=code_of("palimpsest.lcr.injection"),
        network=lambda wildcards: lcr.network(wildcards.model),
        forget_codes=lcr.codes("forget_test"),
        forget_masks=lcr.masks("forget_test"),
        safe_test_codes=lcr.codes("safe_test"),
        detector=lcr.judge_network(),
    output:
        measurements="<results>/lcr/{preset}/{model}/injection/measurements.parquet",
        panel="<results>/lcr/{preset}/{model}/injection/panel.npz",
    log:
        "<logs>/lcr/injection/{preset}/{model}.log",
    benchmark:
        "<benchmarks>/lcr_injection/{preset}/{model}.jsonl"
    wildcard_constraints:
        **lcr.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
        gpu=1,
    params:
        paths=paths,
        params=lambda wildcards: as_json(lcr.own("injection")),
    shell:
        "python -m palimpsest.lcr.injection {params.paths} --model {wildcards.model} --preset {wildcards.preset}"
        " --threshold 0.5 --params {params.params:q} > {log} 2>&1"
