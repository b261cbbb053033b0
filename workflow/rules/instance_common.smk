# What the rules of instance unlearning share: targets, judges, and the runs that a study is made of.
validate("instance.schema.yaml", "instance")
INSTANCE = "<results>/instance"
ROLES = sorted(setting("instance", "judges"))


wildcard_constraints:
    study="|".join(setting("instance", "studies")),
    method="|".join(setting("instance", "methods")),
    surrogate="|".join(setting("instance", "surrogates")),
    which="pretrained|oracle",


def data_of(key, role):
    """An array of the set that the configuration names under a key of the family."""
    return f"<results>/data/{setting('instance', key)}/{role}"


def target_sets():
    """The data sets that hold targets."""
    return sorted({row["set"] for row in setting("instance", "targets").values()})


def judge_networks():
    """The networks of the judges, in the order of their roles; the module's own file where it needs none."""
    rows = [setting("instance", "judges", role) for role in ROLES]
    return [network(row["network"]) if "network" in row else files_of(judge_path(row))[0] for row in rows]


def judge_path(row):
    return f"palimpsest.judges.{row['module']}"


def judge_modules():
    return [judge_path(setting("instance", "judges", role)) for role in ROLES]


def judging():
    """The module of each role, as an argument."""
    return as_json({role: setting("instance", "judges", role)["module"] for role in ROLES})


def methods_of(study):
    return setting("instance", "studies", study).get("methods") or list(setting("instance", "methods"))


def surrogates_of(study):
    return setting("instance", "studies", study).get("surrogates") or [setting("instance", "surrogate")]


def options_of(study, method):
    """The settings that a study tries of a method: the method's grid in the tuning, else the study's own, else one."""
    own = setting("instance", "studies", study).get("settings", [{}])
    return setting("instance", "methods", method, "grid") if study == "tuning" else own


def label_of(option):
    """How the measurements call a setting."""
    changed = {**option.get("training", {}), **option.get("settings", {})}
    changed |= {"remember": option["remember"]} if "remember" in option else {}
    return ",".join(f"{name}={value}" for name, value in changed.items()) or "default"


def runs_of(study, method):
    """Every run of a method in a study."""
    row, chosen = setting("instance", "studies", study), setting("instance", "methods", method)
    runs = []
    for targets in row["targets"]:
        for option in options_of(study, method):
            for surrogate in surrogates_of(study):
                for seed in row["seeds"]:
                    label = "tuned" if row.get("tuned") else label_of(option)
                    runs.append(
                        {
                            "name": f"{'+'.join(targets)}.{surrogate}.{label}.{seed}",
                            "targets": targets,
                            "surrogate": surrogate,
                            "setting": label,
                            "seed": seed,
                            "tuned": bool(row.get("tuned")),
                            "remember": option.get("remember", "data"),
                            "training": {
                                **setting("instance", "training"),
                                **chosen.get("training", {}),
                                **option.get("training", {}),
                            },
                            "settings": {**chosen.get("settings", {}), **option.get("settings", {})},
                        }
                    )
    return runs


def fixed_of(method):
    """What every setting of a method has, unless its label says otherwise."""
    chosen = setting("instance", "methods", method)
    return {**setting("instance", "training"), **chosen.get("training", {}), **chosen.get("settings", {})}


def plan(wildcards):
    return as_json({"runs": runs_of(wildcards.study, wildcards.method)})


def grid(wildcards):
    """The tuning's settings with their labels."""
    options = options_of("tuning", wildcards.method)
    return as_json({"settings": [{"setting": label_of(option), **option} for option in options]})


def selected(wildcards):
    """What the tuning chose, where the study asks for it."""
    if not setting("instance", "studies", wildcards.study).get("tuned"):
        return []
    return f"{INSTANCE}/{wildcards.model}/tuning/{wildcards.method}/selected.json"


def generated(wildcards):
    """The pretrained model's own samples, where a setting of the study, or of the tuning it follows, remembers them."""
    tuned = setting("instance", "studies", wildcards.study).get("tuned")
    options = options_of("tuning" if tuned else wildcards.study, wildcards.method)
    wanted = any(option.get("remember") == "generated" for option in options)
    return f"{INSTANCE}/{wildcards.model}/reference/generated.npy" if wanted else []


def evaluation():
    return as_json(setting("instance", "reference"))


def all_targets():
    """The lists of targets that each study forgets, one after the other."""
    return as_json({"studies": {name: row["targets"] for name, row in setting("instance", "studies").items()}})


def repairs():
    """Methods of the conditional case, where the experiment has one."""
    return list(config["instance"].get("faulty_class", {}).get("methods", {}))


def prompt_cases():
    """Prompts of a text-to-image model, where the experiment has one."""
    return list(config["instance"].get("prompted", {}).get("cases", {}))


def case_of(wildcards):
    """A prompt's row: prompt, kept, targets, surrogates."""
    return setting("instance", "prompted", "cases", wildcards.case)


def instance_measurements():
    """Every measurement file of the family."""
    files = [f"{INSTANCE}/ridge/measurements.parquet"]
    files += ["<results>/judges/faces.parquet"] if networks_of("face_judge") else []
    files += [f"{INSTANCE}/faulty_class/{name}/measurements.parquet" for name in repairs()]
    files += [f"{INSTANCE}/faulty_class/reference/measurements.parquet"] if repairs() else []
    files += [f"{INSTANCE}/prompted/{name}/measurements.parquet" for name in prompt_cases()]
    for model in setting("instance", "models"):
        base = f"{INSTANCE}/{model}"
        files += [f"{base}/{step}/measurements.parquet" for step in ("reference", "conflicts", "surrogates")]
        with_oracle = model in setting("instance", "oracles")
        files += [f"{base}/networks/pretrained/measurements.parquet"]
        if with_oracle:
            files += [f"{base}/{step}/measurements.parquet" for step in ("networks/oracle", "membership")]
        for study in setting("instance", "studies"):
            files += [f"{base}/{study}/{method}/measurements.parquet" for method in methods_of(study)]
            if "paired" in setting("instance", "studies", study):
                files += [f"{base}/{study}/{method}/paired.parquet" for method in methods_of(study)]
        files += [f"{base}/tuning/{method}/chosen.parquet" for method in methods_of("tuning")]
    return files


MEASUREMENTS["instance"] = instance_measurements
REPORT_PARAMS["instance"] = lambda: {
    "models": setting("instance", "models"),
    "methods": list(setting("instance", "methods")),
    "surrogates": list(setting("instance", "surrogates")),
    "targets": list(setting("instance", "targets")),
    "studies": {
        name: {key: row[key] for key in ("targets", "seeds")} for name, row in setting("instance", "studies").items()
    },
    "fixed": {name: fixed_of(name) for name in setting("instance", "methods")},
    "evaluation": {key: setting("instance", "reference", key) for key in ("draws", "pairs")},
    "repairs": repairs(),
    "cases": prompt_cases(),
    "judges": {role: setting("instance", "judges", role)["name"] for role in ROLES},
    "explicit_sets": explicit_sets(),
    "injection_steps": setting("instance", "reference", "injection_steps"),
}

# What the configuration names must be there, before anything is planned.
for name in [*setting("instance", "models"), *setting("instance", "oracles").values()]:
    network(name)
for name in (setting("instance", "data"), setting("instance", "held_out"), *target_sets()):
    setting("datasets", name)
for name in setting("instance", "methods"):
    files_of(f"palimpsest.instance.methods.{name}")
for name in repairs():
    files_of(f"palimpsest.instance.methods.{name}")
for name in prompt_cases():
    for role in ("targets", "surrogates"):
        setting("datasets", setting("instance", "prompted", "cases", name, role))
for name, row in setting("instance", "surrogates").items():
    files_of(f"palimpsest.instance.surrogates.{row['kind']}")
for name, row in setting("instance", "studies").items():
    for part in methods_of(name):
        setting("instance", "methods", part)
    for part in surrogates_of(name):
        setting("instance", "surrogates", part)
    for part in {part for targets in row["targets"] for part in targets}:
        setting("instance", "targets", part)
judge_modules()
