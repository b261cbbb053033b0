# The audit by inversion: pictures, other latents of them, seeds under every model, and what these say beyond the oracle.
# Wildcards: {model} a text-to-image model, {audited} a method of erasure, `networks`: what edits are compared with, or
# `others`: what others edited.
memory = plans["memory"]


include: "memory_studies.smk"


rule memory_sets:
    """Collect the pictures that are audited: of each concept, others, and altered ones."""
    input:
        code=code_of("palimpsest.memory.sets"),
        reference_prompts="<results>/erasure/{model}/reference/prompts.parquet",
        reference_pictures="<results>/erasure/{model}/reference/pictures.npz",
        real_images=memory.real("images.npy"),
        real_manifest=memory.real("manifest.parquet"),
        captions=memory.captions(),
        classifier=memory.network(memory.erasure.own("classifier")),
        detector=memory.network(memory.erasure.own("detector")),
        judges=memory.erasure.further_judges(),
    output:
        pictures="<results>/memory/{model}/sets/pictures.npy",
        manifest="<results>/memory/{model}/sets/manifest.parquet",
    log:
        "<logs>/memory/sets/{model}.log",
    benchmark:
        "<benchmarks>/memory_sets/{model}.jsonl"
    wildcard_constraints:
        **memory.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
        gpu=1,
    params:
        paths=paths,
        readers=memory.erasure.readers(),
        concepts=memory.concepts(),
        counts=memory.flags("memory", "counts"),
    shell:
        "python -m palimpsest.memory.sets {params.paths} {params.readers} --concepts {params.concepts:q} {params.counts}"
        " > {log} 2>&1"


rule memory_decode:
    """Seek other latents of pictures of each concept, from those of other pictures: no edited model is asked."""
    input:
        code=code_of("palimpsest.memory.decode"),
        network=lambda wildcards: memory.network(wildcards.model),
        pictures="<results>/memory/{model}/sets/pictures.npy",
        manifest="<results>/memory/{model}/sets/manifest.parquet",
    output:
        latents="<results>/memory/{model}/decoded/latents.npy",
        rows="<results>/memory/{model}/decoded/rows.parquet",
        encoded="<results>/memory/{model}/decoded/encoded.npy",
        plain="<results>/memory/{model}/decoded/plain.npy",
        measurements="<results>/memory/{model}/decoded/measurements.parquet",
    log:
        "<logs>/memory/decode/{model}.log",
    benchmark:
        "<benchmarks>/memory_decode/{model}.jsonl"
    wildcard_constraints:
        **memory.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(8, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        images=memory.flags("memory", "images"),
    shell:
        "python -m palimpsest.memory.decode {params.paths} --model {wildcards.model} {params.images} > {log} 2>&1"


rule memory_audit:
    """Invert pictures by edited models, or the networks that they are compared with, and draw them again."""
    input:
        code=code_of("palimpsest.memory.audit"),
        network=lambda wildcards: memory.network(wildcards.model),
        edits=memory.edits_of,
        pictures="<results>/memory/{model}/sets/pictures.npy",
        manifest="<results>/memory/{model}/sets/manifest.parquet",
        latents="<results>/memory/{model}/decoded/latents.npy",
        latent_rows="<results>/memory/{model}/decoded/rows.parquet",
        encoded="<results>/memory/{model}/decoded/encoded.npy",
        plain="<results>/memory/{model}/decoded/plain.npy",
        classifier=memory.network(memory.erasure.own("classifier")),
        detector=memory.network(memory.erasure.own("detector")),
        judges=memory.erasure.further_judges(),
    output:
        rows="<results>/memory/{model}/audit/{audited}/pictures.parquet",
        seeds="<results>/memory/{model}/audit/{audited}/seeds.npz",
        panel="<results>/memory/{model}/audit/{audited}/panel.npz",
        measurements="<results>/memory/{model}/audit/{audited}/measurements.parquet",
    log:
        "<logs>/memory/audit/{model}/{audited}.log",
    benchmark:
        "<benchmarks>/memory_audit/{model}/{audited}.jsonl"
    wildcard_constraints:
        **memory.wildcards,
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(16, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        readers=memory.erasure.readers(),
        concepts=memory.concepts(),
        cases=memory.cases_of,
        inversion=memory.inversion_of,
        oracles=memory.oracles_of,
        sampling=as_json(memory.erasure.own("sampling")),
    shell:
        "python -m palimpsest.memory.audit {params.paths} {params.readers} --model {wildcards.model}"
        " --concepts {params.concepts:q} --cases {params.cases:q} --inversion {params.inversion:q}"
        " --sampling {params.sampling:q} {params.oracles} > {log} 2>&1"


rule memory_compare:
    """Compare every audited model with the base and its oracle, picture by picture, and with what prompts show."""
    input:
        code=code_of("palimpsest.memory.compare"),
        rows=lambda wildcards: [
            f"<results>/memory/{wildcards.model}/audit/{name}/pictures.parquet"
            for name in memory.audited(wildcards.model)
        ],
        erasure=memory.measured_by_erasure,
    output:
        measurements="<results>/memory/{model}/compared/measurements.parquet",
        points="<results>/memory/{model}/compared/points.parquet",
    log:
        "<logs>/memory/compare/{model}.log",
    benchmark:
        "<benchmarks>/memory_compare/{model}.jsonl"
    wildcard_constraints:
        **memory.wildcards,
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
    shell:
        "python -m palimpsest.memory.compare {params.paths} --model {wildcards.model} > {log} 2>&1"
