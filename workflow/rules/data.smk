# Data sets: pictures, masks of the concept, one manifest row each.


rule make_data:
    """Draw or read one data set."""
    input:
        code=lambda wildcards: code_of(
            "palimpsest.worlds.make", f"palimpsest.worlds.{sources.setting('datasets', wildcards.set, 'world')}"
        ),
        files=lambda wildcards: sources.pictures_of_set(wildcards.set),
    output:
        images="<results>/data/{set}/images.npy",
        masks="<results>/data/{set}/masks.npy",
        manifest="<results>/data/{set}/manifest.parquet",
    log:
        "<logs>/data/{set}.log",
    benchmark:
        "<benchmarks>/make_data/{set}.jsonl"
    wildcard_constraints:
        set=one_of(sources.setting("datasets")),
    # Most others read them.
    priority: 1
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(6, "GB"),
        runtime=growing(30, "m"),
    params:
        paths=paths,
        world=sources.of_set("world"),
        params=lambda wildcards: as_json(sources.params_of_set(wildcards.set)),
        # No argument: pictures that were added, changed or removed draw the set anew.
        listing=lambda wildcards: sources.listing_of_set(wildcards.set),
    shell:
        "python -m palimpsest.worlds.make {params.paths} --world {params.world} --params {params.params:q} > {log} 2>&1"
