# Base models: trained here, or released in resources/models, or taken from a published checkpoint.


rule train_judge:
    """Train a classifier or detector, and measure it on held-out scenes."""
    input:
        code=code_of("palimpsest.judges.train"),
        train_images=training_data("images.npy"),
        train_masks=training_data("masks.npy"),
        train_manifest=training_data("manifest.parquet"),
        test_images=held_out_data("images.npy"),
        test_masks=held_out_data("masks.npy"),
        test_manifest=held_out_data("manifest.parquet"),
    output:
        network="<results>/models/{network}.safetensors",
    log:
        "<logs>/train/{network}.log",
    benchmark:
        "<benchmarks>/train_judge/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("judge"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(2, "h"),
    params:
        paths=paths,
        params=lambda wildcards: as_json(setting("networks", wildcards.network, "params")),
        seed=lambda wildcards: setting("networks", wildcards.network, "seed"),
    shell:
        "python -m palimpsest.judges.train {params.paths} --params {params.params:q} --seed {params.seed} > {log} 2>&1"


rule train_vqgan:
    """Train a VQ-GAN, and measure it on held-out pictures."""
    input:
        code=code_of("palimpsest.models.train_vqgan"),
        train_images=training_data("images.npy"),
        train_masks=training_data("masks.npy"),
        test_images=held_out_data("images.npy"),
        guide=lambda wildcards: network("guide"),
        start=lambda wildcards: optional_network(setting("networks", wildcards.network).get("start")),
    output:
        network="<results>/models/{network}.safetensors",
    log:
        "<logs>/train/{network}.log",
    benchmark:
        "<benchmarks>/train_vqgan/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("vqgan"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(4, "h"),
    params:
        paths=paths,
        params=lambda wildcards: as_json(setting("networks", wildcards.network, "params")),
        seed=lambda wildcards: setting("networks", wildcards.network, "seed"),
    shell:
        "python -m palimpsest.models.train_vqgan {params.paths} --params {params.params:q} --seed {params.seed} > {log} 2>&1"


rule train_face_judge:
    """Train a judge of faces, and measure it on people it has not seen."""
    input:
        code=code_of("palimpsest.judges.train_faces"),
        train_images=training_data("images.npy"),
        train_manifest=training_data("manifest.parquet"),
        test_images=held_out_data("images.npy"),
        test_manifest=held_out_data("manifest.parquet"),
    output:
        network="<results>/models/{network}.safetensors",
    log:
        "<logs>/train/{network}.log",
    benchmark:
        "<benchmarks>/train_face_judge/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("face_judge"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        params=lambda wildcards: as_json(setting("networks", wildcards.network, "params")),
        seed=lambda wildcards: setting("networks", wildcards.network, "seed"),
    shell:
        "python -m palimpsest.judges.train_faces {params.paths} --params {params.params:q} --seed {params.seed} > {log} 2>&1"


rule train_factors:
    """Train a classifier of a world's factors, and measure it on held-out pictures."""
    input:
        code=code_of("palimpsest.judges.train_factors"),
        train_images=training_data("images.npy"),
        train_manifest=training_data("manifest.parquet"),
        test_images=held_out_data("images.npy"),
        test_manifest=held_out_data("manifest.parquet"),
    output:
        network="<results>/models/{network}.safetensors",
    log:
        "<logs>/train/{network}.log",
    benchmark:
        "<benchmarks>/train_factors/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("factors"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(2, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        params=lambda wildcards: as_json(setting("networks", wildcards.network, "params")),
        seed=lambda wildcards: setting("networks", wildcards.network, "seed"),
    shell:
        "python -m palimpsest.judges.train_factors {params.paths} --params {params.params:q} --seed {params.seed} > {log} 2>&1"


rule train_ddpm:
    """Train a diffusion model, and measure its loss on held-out pictures."""
    input:
        code=code_of("palimpsest.models.train_ddpm"),
        train_images=training_data("images.npy"),
        train_manifest=training_data("manifest.parquet"),
        test_images=held_out_data("images.npy"),
    output:
        network="<results>/models/{network}/unet/diffusion_pytorch_model.safetensors",
    log:
        "<logs>/train/{network}.log",
    benchmark:
        "<benchmarks>/train_ddpm/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("ddpm"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(4, "h"),
    params:
        paths=paths,
        params=lambda wildcards: as_json(setting("networks", wildcards.network, "params")),
        seed=lambda wildcards: setting("networks", wildcards.network, "seed"),
    shell:
        "python -m palimpsest.models.train_ddpm {params.paths} --params {params.params:q} --seed {params.seed} > {log} 2>&1"


rule convert_checkpoint:
    """Read a published checkpoint strictly and write it as safetensors."""
    input:
        code=code_of("palimpsest.models.checkpoints"),
        config=lambda wildcards: setting("networks", wildcards.network, "config"),
        checkpoint=lambda wildcards: setting("networks", wildcards.network, "checkpoint"),
    output:
        network="<results>/models/{network}.safetensors",
    log:
        "<logs>/convert/{network}.log",
    benchmark:
        "<benchmarks>/convert_checkpoint/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("checkpoint"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        sha256=lambda wildcards: setting("networks", wildcards.network, "sha256"),
    shell:
        "python -m palimpsest.models.checkpoints {params.paths} --name {wildcards.network} --sha256 {params.sha256} > {log} 2>&1"


rule convert_diffusion:
    """Compare a published diffusion model with its hash, read it strictly and write it in our layout."""
    input:
        code=code_of("palimpsest.models.convert_diffusion"),
        weights=lambda wildcards: "{folder}/{weights}".format(**setting("networks", wildcards.network)),
    output:
        network="<results>/models/{network}/unet/diffusion_pytorch_model.safetensors",
    log:
        "<logs>/convert/{network}.log",
    benchmark:
        "<benchmarks>/convert_diffusion/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("folder"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        stated=lambda wildcards: stated(wildcards.network, "sha256", "repository", "revision"),
    shell:
        "python -m palimpsest.models.convert_diffusion {params.paths} --name {wildcards.network} {params.stated} > {log} 2>&1"


rule take_file:
    """Compare a published network in a single file with its hash, and take it into the run."""
    input:
        code=code_of("palimpsest.models.take_file"),
        file=lambda wildcards: setting("networks", wildcards.network, "file"),
    output:
        network="<results>/models/{network}.pt",
    log:
        "<logs>/take/{network}.log",
    benchmark:
        "<benchmarks>/take_file/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("file"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(1, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        stated=lambda wildcards: stated(wildcards.network, "sha256", "url"),
    shell:
        "python -m palimpsest.models.take_file {params.paths} --name {wildcards.network} {params.stated} > {log} 2>&1"


rule check_pipeline:
    """Compare the files of a published text-to-image model with their hashes, and say where it lies."""
    input:
        code=code_of("palimpsest.models.check_pipeline"),
        index=lambda wildcards: f"{setting('networks', wildcards.network, 'pipeline')}/model_index.json",
    output:
        checked="<results>/models/{network}.json",
    log:
        "<logs>/check/{network}.log",
    benchmark:
        "<benchmarks>/check_pipeline/{network}.jsonl"
    wildcard_constraints:
        network=trained_by("pipeline"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(1, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        sha256=lambda wildcards: as_json(setting("networks", wildcards.network, "sha256")),
        stated=lambda wildcards: stated(wildcards.network, "repository", "revision"),
    shell:
        "python -m palimpsest.models.check_pipeline {params.paths} --name {wildcards.network}"
        " --sha256 {params.sha256:q} {params.stated} > {log} 2>&1"


rule calibrate_judges:
    """Measure the judges on held-out scenes."""
    input:
        code=code_of("palimpsest.judges.calibrate"),
        networks=[network(name) for name in networks_of("judge")],
        images="<results>/data/calibration/images.npy",
        masks="<results>/data/calibration/masks.npy",
        manifest="<results>/data/calibration/manifest.parquet",
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
    shell:
        "python -m palimpsest.judges.calibrate {params.paths} --set calibration > {log} 2>&1"


rule detect:
    """Run a detector over a set, once; classes and thresholds are filters downstream."""
    input:
        code=lambda wildcards: code_of(
            "palimpsest.judges.detect", f"palimpsest.judges.{detector(wildcards.detector)['module']}"
        ),
        network=lambda wildcards: optional_network(detector(wildcards.detector).get("network")),
        images="<results>/data/{set}/images.npy",
    output:
        detections="<results>/judges/{detector}/{set}.parquet",
    log:
        "<logs>/detect/{detector}/{set}.log",
    benchmark:
        "<benchmarks>/detect/{detector}/{set}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        module=lambda wildcards: detector(wildcards.detector)["module"],
        params=lambda wildcards: as_json(detector(wildcards.detector)["params"]),
    shell:
        "python -m palimpsest.judges.detect {params.paths} --detector {params.module} --params {params.params:q} > {log} 2>&1"
