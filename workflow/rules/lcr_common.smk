# What the rules of latent code replacement share: settings of presets, rules and judges, and the family's results.
validate("lcr.schema.yaml", "lcr")


wildcard_constraints:
    preset="|".join(config["lcr"]["presets"]),
    rule="[a-z0-9_]+",
    experiment="grid|sweep",


def preset(*keys):
    """A params function: a value of the wildcard's preset."""
    return lambda wildcards: setting("lcr", "presets", wildcards.preset, *keys)


def codebook_size(wildcards):
    """The number of codes K of the wildcard's model."""
    row = setting("networks", wildcards.model)
    if "trainer" in row:
        return row["params"]["architecture"]["codes"]
    return setting("checkpoints", row["published"], "codes")


def mask_params(wildcards):
    return as_json({**setting("lcr", "presets", wildcards.preset, "masks"), "classes": setting("lcr", "classes")})


def judge():
    """The held-out detector that scores."""
    return detector(setting("lcr", "judge"))


def judge_module():
    return f"palimpsest.judges.{judge()['module']}"


def shows_concept(name):
    return name.startswith("forget")


def twins_of(path):
    """An input function: the same pictures without the concept, where the world has them; safe sets are their own."""

    def twins(wildcards):
        twin = wildcards.set.replace("forget", "twin")
        return f"<results>/{path}".format(twin=twin, **wildcards) if twin in config["datasets"] else []

    return twins


def evaluation_params(wildcards):
    return as_json({"classes": setting("lcr", "classes"), "shows_concept": shows_concept(wildcards.set)})


def replace_params(wildcards):
    """What one replacement job does: the grid of variants, or the sweep over the number of explicit codes."""
    chosen = setting("lcr", "presets", wildcards.preset)
    given = {
        "selection": chosen["selection"],
        "min_count": chosen["min_count"],
        "classes": setting("lcr", "classes"),
        "shows_concept": shows_concept(wildcards.set),
        "settings": rules_of(wildcards.preset)[wildcards.rule],
    }
    if wildcards.experiment == "sweep":
        sweep = setting("lcr", "sweep")
        ranking = {key: value for key, value in chosen["selection"].items() if key not in ("q", "top")}
        given |= {
            "variants": [["global", "explicit"]],
            "seeds": sweep["seeds"],
            "tops": sweep["tops"],
            "selection": ranking,
        }
    else:
        given |= {"variants": chosen["variants"], "seeds": chosen["seeds"]}
    return as_json(given)


def rules_of(name):
    """The replacement rules of a preset with their settings: its own, or all of lcr.rules."""
    return setting("lcr", "presets", name).get("rules") or setting("lcr", "rules")


def lcr_measurements():
    """Every measurement file of the family."""
    models, presets = setting("lcr", "models"), setting("lcr", "presets")
    judged = models if "classifier" in setting("lcr") else []
    files = ["<results>/judges/calibration.parquet"] if networks_of("judge") else []
    files += [f"<results>/lcr/model_card/{model}.parquet" for model in judged]
    for model in models:
        for preset in presets:
            base = f"<results>/lcr/{preset}/{model}"
            files += [f"{base}/reconstruction/forget_test.parquet", f"{base}/cooccurrence/measurements.parquet"]
            files += [f"{base}/grid/forget_test/{rule}/measurements.parquet" for rule in rules_of(preset)]
            files += [f"{base}/{step}/measurements.parquet" for step in setting("lcr", "presets", preset, "analyses")]
        base = f"<results>/lcr/corrected/{model}"
        files.append(f"{base}/reconstruction/safe_test.parquet")
        files += [
            f"{base}/sweep/{set}_test/{rule}/measurements.parquet"
            for set in ("forget", "safe")
            for rule in setting("lcr", "sweep", "rules")
        ]
    return files


MEASUREMENTS["lcr"] = lcr_measurements
REPORT_PARAMS["lcr"] = lambda: {
    "models": setting("lcr", "models"),
    "presets": list(setting("lcr", "presets")),
    "rules": list(rules_of("corrected")),
    "set": "forget_test",
    "sets": {"forget": "forget_test", "safe": "safe_test"},
    "explicit_sets": explicit_sets(),
}

for name in setting("lcr", "models"):
    network(name)
for name in setting("lcr", "presets"):
    detector(setting("lcr", "presets", name, "detector"))
    for rule_name in rules_of(name):
        files_of(f"palimpsest.lcr.rules.{rule_name}")
judge_module()
