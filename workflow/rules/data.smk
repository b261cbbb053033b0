# Data sets: pictures, masks of the concept, one manifest row each.


rule make_data:
    """Draw or read one data set."""
    input:
        code=lambda wildcards: code_of(
            "palimpsest.worlds.make", f"palimpsest.worlds.{setting('datasets', wildcards.set, 'world')}"
        ),
        files=lambda wildcards: pictures_of(collection_of(wildcards.set)) if collection_of(wildcards.set) else [],
    output:
        images="<results>/data/{set}/images.npy",
        masks="<results>/data/{set}/masks.npy",
        manifest="<results>/data/{set}/manifest.parquet",
    log:
        "<logs>/data/{set}.log",
    benchmark:
        "<benchmarks>/make_data/{set}.jsonl"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(6, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        world=lambda wildcards: setting("datasets", wildcards.set, "world"),
        params=lambda wildcards: as_json(params_of_set(wildcards.set)),
    shell:
        "python -m palimpsest.worlds.make {params.paths} --world {params.world} --params {params.params:q} > {log} 2>&1"
