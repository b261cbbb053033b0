# What others published, checkpoints and collections of pictures: fetched once into resources/ and compared with its hash.
# In a rehearsal (base_models: random) it is written instead, with random weights and a few public pictures.
# Wildcards: {catalogue} checkpoints (config/models.yaml) or collections (config/datasets.yaml), {source} a row of it.


rule state_licence:
    """Show, once, the licence of what is about to be fetched."""
    input:
        code=code_of("palimpsest.sources.licence"),
    output:
        text="resources/{catalogue}/{source}/LICENCE.md",
    log:
        "<logs>/sources/{catalogue}/{source}/licence.log",
    wildcard_constraints:
        catalogue="checkpoints|collections",
        source=one_of([*sources.setting("checkpoints"), *sources.setting("collections")]),
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        row=lambda wildcards: as_json(sources.licence_of(wildcards.catalogue, wildcards.source)),
    shell:
        "python -m palimpsest.sources.licence {params.paths} --name {wildcards.source} --row {params.row:q} 2>&1 | tee {log}"


rule fetch:
    """Fetch one published file, going on with what an earlier attempt left, and compare it with its hash."""
    input:
        # Ancient: an edit of the code or of the notice fetches nothing again.
        code=ancient(code_of("palimpsest.sources.fetch")),
        files=ancient("resources/{catalogue}/{source}/LICENCE.md"),
    output:
        # Kept until it is known to be another file: an edit of its row fetches nothing again.
        file=ensure(
            update("resources/{catalogue}/{source}/{file}"),
            sha256=lambda wildcards: sources.hash_of(wildcards.catalogue, wildcards.source, wildcards.file),
        ),
    log:
        "<logs>/sources/{catalogue}/{source}/{file}.log",
    benchmark:
        "<benchmarks>/fetch/{catalogue}/{source}/{file}.jsonl"
    wildcard_constraints:
        catalogue="checkpoints|collections",
        source=one_of([*sources.setting("checkpoints"), *sources.setting("collections")]),
        file=r"(?!LICENCE\.md$|pictures(/|$)).+",
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        row=lambda wildcards: stated(
            sources.setting(wildcards.catalogue, wildcards.source), "source", "revision", "path", "page"
        ),
        file=lambda wildcards: stated(
            sources.setting(wildcards.catalogue, wildcards.source, "files", wildcards.file), "url", "sha256", "size"
        ),
    shell:
        "python -m palimpsest.sources.fetch {params.paths} --name {wildcards.source} --place {wildcards.file:q}"
        " {params.row} {params.file} --attempts 4 2>&1 | tee {log:q}"


rule unpack:
    """Unpack a collection's archives into a folder of pictures."""
    input:
        code=ancient(code_of("palimpsest.sources.unpack")),
        archives=lambda wildcards: [
            f"resources/collections/{wildcards.source}/{file}"
            for file in sources.setting("collections", wildcards.source, "files")
        ],
    output:
        folder=directory("resources/collections/{source}/pictures"),
    log:
        "<logs>/sources/collections/{source}/unpack.log",
    benchmark:
        "<benchmarks>/unpack/{source}.jsonl"
    wildcard_constraints:
        source=one_of(sources.setting("collections")),
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        row=lambda wildcards: stated(
            sources.setting("collections", wildcards.source), "column", "limit", "unpacked_size"
        ),
    shell:
        "python -m palimpsest.sources.unpack {params.paths} {params.row} > {log} 2>&1"


rule imitate_checkpoint:
    """Write random weights in the layout of a published checkpoint."""
    input:
        code=lambda wildcards: code_of(
            "palimpsest.imitations.write",
            f"palimpsest.imitations.{sources.setting('checkpoints', wildcards.source, 'layout')}",
        ),
    output:
        folder=directory(f"{sources.rehearsed()}/checkpoints/{{source}}"),
    log:
        "<logs>/imitate/{source}.log",
    benchmark:
        "<benchmarks>/imitate_checkpoint/{source}.jsonl"
    wildcard_constraints:
        source=one_of(sources.setting("checkpoints")),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(24, "GB"),
        runtime=growing(1, "h"),
    params:
        paths=paths,
        layout=lambda wildcards: sources.setting("checkpoints", wildcards.source, "layout"),
        files=lambda wildcards: shlex.join(sources.setting("checkpoints", wildcards.source, "files")),
        settings=lambda wildcards: as_json(sources.setting("checkpoints", wildcards.source).get("random", {})),
    shell:
        "python -m palimpsest.imitations.write {params.paths} --name {wildcards.source} --layout {params.layout}"
        " --files {params.files} --settings {params.settings:q} > {log} 2>&1"


rule imitate_collection:
    """Write a few pictures that stand for a collection."""
    input:
        code=code_of("palimpsest.imitations.pictures"),
    output:
        folder=directory(f"{sources.rehearsed()}/collections/{{source}}/pictures"),
    log:
        "<logs>/imitate/{source}.log",
    benchmark:
        "<benchmarks>/imitate_collection/{source}.jsonl"
    wildcard_constraints:
        source=one_of(sources.setting("collections")),
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        pictures=lambda wildcards: sources.flags("collections", wildcards.source, "random"),
    shell:
        "python -m palimpsest.imitations.pictures {params.paths} {params.pictures} > {log} 2>&1"
