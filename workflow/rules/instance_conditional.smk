# Conditional models that draw some pictures wrong: a class of a small model, a prompt of a text-to-image model.
# Wildcards: {repairing} the tuning of repairs or their comparison, {repair} a method of instance.faulty_class, {case} a row of instance.prompted.cases.


rule instance_faulty_reference:
    """Sample the conditional model that draws a class wrong, before anything is unlearned; see how data looks."""
    input:
        code=code_of("palimpsest.instance.faulty_reference"),
        network=lambda wildcards: instance.network(instance.faulty("model")),
        judge=lambda wildcards: instance.network(instance.faulty("judge")),
        data_images=lambda wildcards: instance.faulty_data("train", "images.npy"),
        data_manifest=lambda wildcards: instance.faulty_data("train", "manifest.parquet"),
        held_out_images=lambda wildcards: instance.faulty_data("test", "images.npy"),
        held_out_manifest=lambda wildcards: instance.faulty_data("test", "manifest.parquet"),
    output:
        samples="<results>/instance/faulty_class/{repairing}/reference/samples.npz",
        measurements="<results>/instance/faulty_class/{repairing}/reference/measurements.parquet",
    log:
        "<logs>/instance/faulty_class/{repairing}/reference.log",
    benchmark:
        "<benchmarks>/instance_faulty_reference/{repairing}.jsonl"
    wildcard_constraints:
        repairing=one_of(instance.repairing),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
        gpu=1,
    params:
        paths=paths,
        model=lambda wildcards: instance.faulty("model"),
        fault=lambda wildcards: as_json(instance.faulty("fault")),
        params=lambda wildcards: as_json(instance.faulty("reference")),
        seed=lambda wildcards: instance.faulty("studies", wildcards.repairing, "sampling_seed"),
    shell:
        "python -m palimpsest.instance.faulty_reference {params.paths} --model {params.model} --fault {params.fault:q}"
        " --params {params.params:q} --seed {params.seed} > {log} 2>&1"


rule instance_repair_class:
    """Make the conditional model forget its wrong pictures by one method: every run of one study."""
    input:
        code=instance.code_of_method("palimpsest.instance.repair_class", "{repair}"),
        network=lambda wildcards: instance.network(instance.faulty("model")),
        judge=lambda wildcards: instance.network(instance.faulty("judge")),
        reference="<results>/instance/faulty_class/{repairing}/reference/samples.npz",
        wrong_images=instance.repair_pictures("targets"),
        repaired_images=instance.repair_pictures("surrogates"),
        selected=instance.repair_selected,
    output:
        weights=directory("<results>/instance/faulty_class/{repairing}/{repair}/weights"),
        log="<results>/instance/faulty_class/{repairing}/{repair}/log.parquet",
        panel="<results>/instance/faulty_class/{repairing}/{repair}/panel.npz",
        measurements="<results>/instance/faulty_class/{repairing}/{repair}/measurements.parquet",
        edits="<results>/instance/faulty_class/{repairing}/{repair}/edits.parquet",
    log:
        "<logs>/instance/faulty_class/{repairing}/{repair}.log",
    benchmark:
        "<benchmarks>/instance_repair_class/{repairing}/{repair}.jsonl"
    wildcard_constraints:
        repairing=one_of(instance.repairing),
        repair=one_of(instance.repairs()),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(4, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        model=lambda wildcards: instance.faulty("model"),
        fault=lambda wildcards: as_json(instance.faulty("fault")),
        params=lambda wildcards: as_json(instance.faulty("reference")),
        rank=lambda wildcards: instance.faulty("methods", wildcards.repair, "rank"),
        plan=instance.repair_plan,
    shell:
        "python -m palimpsest.instance.repair_class {params.paths} --model {params.model}"
        " --method {wildcards.repair} --fault {params.fault:q} --params {params.params:q} --rank {params.rank}"
        " --plan {params.plan:q} > {log} 2>&1"


rule instance_select_repair:
    """Choose each repair's setting on the tuning's wrong pictures and samples."""
    input:
        code=code_of("palimpsest.instance.select_repair"),
        measurements=instance.repair_tuned_on,
    output:
        selected="<results>/instance/faulty_class/tuning/{repair}/selected.json",
        chosen="<results>/instance/faulty_class/tuning/{repair}/chosen.parquet",
    log:
        "<logs>/instance/faulty_class/select/{repair}.log",
    benchmark:
        "<benchmarks>/instance_select_repair/{repair}.jsonl"
    wildcard_constraints:
        repair=one_of(instance.repairs()),
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        paths=paths,
        model=lambda wildcards: instance.faulty("model"),
        grid=lambda wildcards: as_json({"settings": instance.repair_options("tuning", wildcards.repair)}),
    shell:
        "python -m palimpsest.instance.select_repair {params.paths} --model {params.model} --method {wildcards.repair}"
        " --grid {params.grid:q} > {log} 2>&1"


rule instance_prepare_prompt:
    """Encode a prompt, its pictures to forget and their surrogates; draw what is to be remembered."""
    input:
        code=code_of("palimpsest.instance.prepare_sd3"),
        pipeline=lambda wildcards: instance.network(instance.own("prompted", "model")),
        target_images=instance.case_file("targets"),
        surrogate_images=instance.case_file("surrogates"),
    output:
        latents="<results>/instance/prompted/{case}/latents.npz",
        embeddings="<results>/instance/prompted/{case}/embeddings.npz",
    log:
        "<logs>/instance/prompted/{case}/prepare.log",
    benchmark:
        "<benchmarks>/instance_prepare_prompt/{case}.jsonl"
    wildcard_constraints:
        case=one_of(instance.cases()),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(40, "GB"),
        runtime=growing(2, "h"),
        gpu=1,
    params:
        paths=paths,
        prompt=lambda wildcards: instance.own("prompted", "cases", wildcards.case)["prompt"],
        kept=lambda wildcards: shlex.join(instance.own("prompted", "cases", wildcards.case)["kept"]),
        sampling=lambda wildcards: as_json(instance.own("prompted", "sampling")),
        seed=lambda wildcards: instance.own("prompted", "seed"),
    shell:
        "python -m palimpsest.instance.prepare_sd3 {params.paths} --prompt {params.prompt:q} --kept {params.kept}"
        " --sampling {params.sampling:q} --seed {params.seed} > {log} 2>&1"


rule instance_unlearn_prompt:
    """Make the text-to-image model forget the pictures, by adapters of its transformer."""
    input:
        code=code_of("palimpsest.instance.unlearn_sd3"),
        pipeline=lambda wildcards: instance.network(instance.own("prompted", "model")),
        latents="<results>/instance/prompted/{case}/latents.npz",
        embeddings="<results>/instance/prompted/{case}/embeddings.npz",
    output:
        adapter="<results>/instance/prompted/{case}/adapter.safetensors",
        log="<results>/instance/prompted/{case}/log.parquet",
        edits="<results>/instance/prompted/{case}/edits.parquet",
    log:
        "<logs>/instance/prompted/{case}/unlearn.log",
    benchmark:
        "<benchmarks>/instance_unlearn_prompt/{case}.jsonl"
    wildcard_constraints:
        case=one_of(instance.cases()),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(40, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        model=lambda wildcards: instance.own("prompted", "model"),
        training=lambda wildcards: as_json(instance.own("prompted", "training")),
        settings=lambda wildcards: as_json(instance.own("prompted", "settings")),
        rank=lambda wildcards: instance.own("prompted", "rank"),
        seed=lambda wildcards: instance.own("prompted", "seed"),
    shell:
        "python -m palimpsest.instance.unlearn_sd3 {params.paths} --model {params.model} --case {wildcards.case} --training {params.training:q}"
        " --settings {params.settings:q} --rank {params.rank} --seed {params.seed} > {log} 2>&1"


rule instance_evaluate_prompt:
    """Draw from the same noise before and after forgetting, of the prompt and of others, and judge the pictures."""
    input:
        code=code_of("palimpsest.instance.evaluate_sd3", *instance.judge_modules()),
        pipeline=lambda wildcards: instance.network(instance.own("prompted", "model")),
        adapter="<results>/instance/prompted/{case}/adapter.safetensors",
        embeddings="<results>/instance/prompted/{case}/embeddings.npz",
        target_images=instance.case_file("targets"),
        judges=instance.judge_networks(),
    output:
        measurements="<results>/instance/prompted/{case}/measurements.parquet",
        panel="<results>/instance/prompted/{case}/panel.npz",
    log:
        "<logs>/instance/prompted/{case}/evaluate.log",
    benchmark:
        "<benchmarks>/instance_evaluate_prompt/{case}.jsonl"
    wildcard_constraints:
        case=one_of(instance.cases()),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem=growing(40, "GB"),
        runtime=growing(4, "h"),
        gpu=1,
    params:
        paths=paths,
        model=lambda wildcards: instance.own("prompted", "model"),
        modules=instance.judging(),
        sampling=lambda wildcards: as_json(instance.own("prompted", "sampling")),
        seed=lambda wildcards: instance.own("prompted", "seed"),
    shell:
        "python -m palimpsest.instance.evaluate_sd3 {params.paths} --model {params.model} --case {wildcards.case}"
        " --modules {params.modules:q} --sampling {params.sampling:q} --seed {params.seed} > {log} 2>&1"
