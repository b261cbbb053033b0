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
        network=made_from("judge"),
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
        network=made_from("vqgan"),
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
        network=made_from("face_judge"),
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
        network=made_from("factors"),
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
        network=made_from("ddpm"),
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


rule convert_taming:
    """Read a published VQ-GAN strictly and write it as safetensors."""
    input:
        code=code_of("palimpsest.models.checkpoints"),
        files=published_files,
    output:
        network="<results>/models/{network}.safetensors",
    log:
        "<logs>/convert/{network}.log",
    benchmark:
        "<benchmarks>/convert_taming/{network}.jsonl"
    wildcard_constraints:
        network=made_from("taming"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        published=as_published(config="model.yaml", checkpoint="last.ckpt"),
    shell:
        "python -m palimpsest.models.checkpoints {params.paths} {params.published} > {log} 2>&1"


rule convert_diffusion:
    """Compare a published diffusion model with its hash, read it strictly and write it in our layout."""
    input:
        code=code_of("palimpsest.models.convert_diffusion"),
        files=published_files,
    output:
        network="<results>/models/{network}/unet/diffusion_pytorch_model.safetensors",
    log:
        "<logs>/convert/{network}.log",
    benchmark:
        "<benchmarks>/convert_diffusion/{network}.jsonl"
    wildcard_constraints:
        network=made_from("diffusion"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        published=as_published(weights="*diffusion_pytorch_model.*"),
    shell:
        "python -m palimpsest.models.convert_diffusion {params.paths} {params.published} > {log} 2>&1"


rule convert_clip:
    """Read the image side of a published CLIP strictly and write it as safetensors."""
    input:
        code=code_of("palimpsest.models.convert_clip"),
        files=published_files,
    output:
        network="<results>/models/{network}.safetensors",
    log:
        "<logs>/convert/{network}.log",
    benchmark:
        "<benchmarks>/convert_clip/{network}.jsonl"
    wildcard_constraints:
        network=made_from("clip"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        published=as_published(weights="*.safetensors"),
    shell:
        "python -m palimpsest.models.convert_clip {params.paths} {params.published} > {log} 2>&1"


rule take_file:
    """Compare a published network in a single file with its hash, and take it into the run."""
    input:
        code=code_of("palimpsest.models.take_file"),
        files=published_files,
    output:
        network="<results>/models/{network}.{suffix}",
    log:
        "<logs>/take/{network}.{suffix}.log",
    benchmark:
        "<benchmarks>/take_file/{network}.{suffix}.jsonl"
    wildcard_constraints:
        network=made_from("torchscript", "state_dict", "onnx"),
        suffix="pt|onnx",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(1, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        published=as_published(file="*"),
    shell:
        "python -m palimpsest.models.take_file {params.paths} {params.published} > {log} 2>&1"


rule check_pipeline:
    """Compare the files of a published text-to-image model with their hashes, and say where it lies."""
    input:
        code=code_of("palimpsest.models.check_pipeline"),
        files=published_files,
    output:
        checked="<results>/models/{network}.json",
    log:
        "<logs>/check/{network}.log",
    benchmark:
        "<benchmarks>/check_pipeline/{network}.jsonl"
    wildcard_constraints:
        network=made_from("pipeline"),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(1, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        published=as_published(index="model_index.json"),
    shell:
        "python -m palimpsest.models.check_pipeline {params.paths} {params.published} > {log} 2>&1"


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


rule list_networks:
    """List a family's base model, its oracle and a random network as the models that methods edited are listed."""
    input:
        code=code_of("palimpsest.models.list_networks"),
        network=lambda wildcards: network(wildcards.model),
        oracle=lambda wildcards: optional_network(config[wildcards.family].get("oracles", {}).get(wildcards.model)),
    output:
        random=directory("<results>/{family}/networks/{model}/random"),
        edits="<results>/{family}/networks/{model}/edits.parquet",
    log:
        "<logs>/list_networks/{family}/{model}.log",
    benchmark:
        "<benchmarks>/list_networks/{family}/{model}.jsonl"
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
    shell:
        "python -m palimpsest.models.list_networks {params.paths} --family {wildcards.family} --model {wildcards.model} > {log} 2>&1"
