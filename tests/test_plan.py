"""From the configuration to runs and files: how it is composed, and what the plans of the families say."""

import json
from pathlib import Path

import pytest
import yaml
from snakemake.iocontainers import Wildcards

from conftest import ROOT, configuration
from palimpsest.errors import UserError
from palimpsest.plan import families
from palimpsest.plan.configuration import merge, merged, parts, with_parts, without_nulls
from palimpsest.plan.erasure import Erasure
from palimpsest.plan.instance import Instance
from palimpsest.plan.lcr import Lcr
from palimpsest.plan.paper import Paper
from palimpsest.plan.sources import Sources
from palimpsest.plan.var import Var


def composed(files, given):
    return merged(parts(ROOT, files, given))


def written(folder, **files):
    """Files of YAML, by their stem."""
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def test_a_file_stands_on_what_it_is_composed_of_and_a_null_removes(tmp_path):
    written(
        tmp_path,
        below={"a": {"x": 1, "y": 2}, "b": [1, 2]},
        beside={"a": {"z": 3}},
        above={"compose": ["below.yaml", "beside.yaml"], "a": {"y": None}, "b": [3]},
    )
    config = merged(with_parts(tmp_path / "above.yaml"))
    assert config == {"a": {"x": 1, "y": None, "z": 3}, "b": [3]}
    assert without_nulls(config) == {"y"} and config["a"] == {"x": 1, "z": 3}


def test_what_anchors_share_is_changed_in_one_place_alone(tmp_path):
    (tmp_path / "below.yaml").write_text("first: &one {rate: 1}\nsecond: *one\n", encoding="utf-8")
    written(tmp_path, above={"compose": ["below.yaml"], "first": {"rate": 2}})
    assert merged(with_parts(tmp_path / "above.yaml")) == {"first": {"rate": 2}, "second": {"rate": 1}}


def test_a_part_that_is_missing_and_one_that_is_composed_of_itself_are_named(tmp_path):
    written(tmp_path, one={"compose": ["nowhere.yaml"]}, circle={"compose": ["circle.yaml"]})
    with pytest.raises(UserError, match=r"one\.yaml: compose names nowhere\.yaml"):
        with_parts(tmp_path / "one.yaml")
    with pytest.raises(UserError, match=r"circle\.yaml is composed of itself"):
        with_parts(tmp_path / "circle.yaml")


def test_a_file_without_parts_stands_on_the_default_experiment_and_single_values_come_last(tmp_path):
    written(tmp_path, mine={"experiment": "mine"})
    config = composed([tmp_path / "mine.yaml"], {"base_models": "train"})
    assert (config["experiment"], config["base_models"]) == ("mine", "train")
    assert config["networks"] == composed([], {})["networks"]
    on_full = composed([ROOT / "config/full.yaml", tmp_path / "mine.yaml"], {})
    assert on_full["experiment"] == "mine" and "tiny_vq" not in on_full["networks"]


def test_published_and_procedural_worlds_share_no_set_and_no_network():
    mini, full = configuration("mini"), configuration("full")
    assert not set(mini["networks"]) & set(full["networks"])
    assert {row["world"] for row in full["datasets"].values()} == {"folder"}
    assert "folder" not in {row["world"] for row in mini["datasets"].values()}


def test_the_first_missing_key_is_named():
    with pytest.raises(UserError, match=r"no lcr\.presets\.nothing"):
        Lcr(configuration()).own("presets", "nothing", "masks")


def wildcards(**given):
    return Wildcards(fromdict=given)


def test_a_preset_may_give_a_role_a_set_of_its_own():
    config = configuration()
    config["lcr"]["presets"]["reproduce_2025"]["roles"] = {"forget_test": "safe_test", "safe_fit": "safe_test"}
    plan = Lcr(config)
    for preset, name in {"corrected": "safe_fit", "reproduce_2025": "safe_test"}.items():
        given = wildcards(preset=preset, model="tiny_vq")
        assert plan.codes("safe_fit")(given) == f"<results>/lcr/{preset}/tiny_vq/codes/{name}.npy"
    assert "<results>/lcr/reproduce_2025/tiny_vq/grid/safe_test/fixed/measurements.parquet" in plan.groups()["grid"]


@pytest.mark.parametrize("experiment", ["full", "rehearsal"])
def test_the_released_preset_squashes_photographs_and_the_corrected_one_crops_the_same(experiment):
    config = configuration(experiment)
    plan, sources = Lcr(config), Sources(config)
    for role in ("forget_fit", "safe_fit", "forget_test", "safe_test"):
        cropped, squashed = (plan.set_of(role, preset) for preset in ("corrected", "reproduce_2025"))
        rows = [sources.params_of_set(name) for name in (cropped, squashed)]
        assert [row.pop("resize") for row in rows] == ["crop", "squash"] and rows[0] == rows[1]
        assert plan.shows_concept(cropped) == plan.shows_concept(squashed) == role.startswith("forget")
    tested = {"corrected": {"forget_test", "safe_test"}, "reproduce_2025": {"forget_test_squashed"}}
    groups = plan.groups()
    for preset, names in tested.items():
        made = [path.split("/")[4:] for path in (*groups["reconstruction"], *groups["grid"]) if f"/{preset}/" in path]
        assert {Path(parts[1]).stem for parts in made} == names


def test_twins_belong_to_the_roles_in_which_their_set_stands():
    config = configuration()
    config["lcr"]["presets"]["reproduce_2025"]["roles"] = {"forget_test": "train_c"}
    twins = Lcr(config).twins("{twin}")
    assert twins(wildcards(set="train_c")) == [] and twins(wildcards(set="forget_test")) == "<results>/twin_test"


@pytest.mark.parametrize(
    ("name", "twin"), [("forget_test", "twin_test"), ("safe_test", "safe_test"), ("forget_fit", None)]
)
def test_twins_are_found_by_role(name, twin):
    found = Lcr(configuration()).twins("data/{twin}/images.npy")(wildcards(set=name))
    assert found == (f"<results>/data/{twin}/images.npy" if twin else [])


@pytest.mark.parametrize("experiment", ["smoke", "mini", "small", "full", "rehearsal"])
def test_every_group_of_measurements_has_files_of_its_own(experiment):
    for family in (Lcr, Instance):
        groups = family(configuration(experiment)).groups()
        listed = [path for files in groups.values() for path in files]
        assert listed and len(set(listed)) == len(listed)


def test_a_study_is_every_combination_of_targets_settings_surrogates_and_seeds():
    plan = Instance(configuration("small"))
    runs = plan.runs_of("strength", "unpromptable")
    row = plan.own("studies", "strength")
    assert len(runs) == len(row["targets"]) * len(row["surrogates"]) * len(row["seeds"]) == 3 * 4 * 2
    assert len({run["name"] for run in runs}) == len(runs)
    assert plan.runs_of("comparison", "siss")[0]["tuned"]


def test_a_tuned_study_waits_for_what_the_tuning_chose():
    plan = Instance(configuration())
    given = {"model": "tiny_ddpm", "method": "siss"}
    tuned = plan.selected(wildcards(study="comparison", **given))
    assert tuned == "<results>/instance/tiny_ddpm/tuning/siss/selected.json"
    assert plan.selected(wildcards(study="weight", **given)) == []


@pytest.mark.parametrize(("experiment", "scales"), [("full", 7), ("classes", 10)])
def test_what_takes_several_steps_an_iteration_is_given_all_of_them(experiment, scales):
    """The release's 500 iterations of S-VARE are two steps each, EAR's 50 a step for each scale."""
    plan = Var(configuration(experiment))
    steps = {name: plan.training_of(name)["steps"] for name in ("vare", "s_vare", "ear_windows")}
    assert steps == {"vare": 500, "s_vare": 2 * 500, "ear_windows": 50 * scales}
    course = [row["training"]["steps"] for row in plan.tried("course")]
    assert [each % 2 for each in course] == [0, 0, 0] and course[-1] == steps["s_vare"]


def test_what_is_reported_is_measured_on_the_concepts_of_the_oracles_too():
    given = wildcards(model="tiny_var", study="comparison")
    assert "--oracles church red " in Var(configuration("small")).judged(given)
    plan = Var(configuration())
    assert "--oracles church " in plan.judged(given)
    assert "oracles" not in plan.judged(wildcards(model="tiny_var", study="tuning"))
    # One whose concept is not reported is none to compare with.
    config = configuration()
    config["var"]["studies"]["comparison"]["concepts"] = ["emblem", "stripes"]
    assert "oracles" not in Var(config).judged(given) and Var(config).lists()["oracles"] == {"tiny_var": []}
    assert "oracles" not in Var(configuration("full")).judged(wildcards(model="infinity_2b_256", study="comparison"))


def test_a_network_is_released_trained_or_converted():
    plan = Sources(configuration())
    assert plan.network("tiny_vq") == "resources/models/tiny_vq.safetensors"
    assert (
        Sources({**configuration(), "base_models": "train"}).network("tiny_vq")
        == "<results>/models/tiny_vq.safetensors"
    )
    published = Sources(configuration("full"))
    weights = published.weights_of("ddpm_celebahq")
    assert weights == "ddpm_celebahq/unet/diffusion_pytorch_model.safetensors"
    assert published.layout_of(weights)[0] == "palimpsest.models.convert_diffusion"
    assert published.published(weights) == "ddpm_celebahq"


def test_unknown_keys_and_families_without_settings_are_refused():
    known = families.known_families(ROOT)
    assert known == {"lcr", "instance", "erasure", "memory", "var", "remains"}
    config = configuration()
    with pytest.raises(UserError, match="unknown key 'lcrr'"):
        families.refuse_unknown_keys({**config, "lcrr": {}}, known)
    with pytest.raises(UserError, match="'nothing'"):
        families.refuse_unknown_keys({**config, "families": ["nothing"]}, known)


def test_merging_replaces_lists_and_joins_mappings():
    below = {"a": {"b": [1, 2], "c": 1}}
    merge(below, {"a": {"b": [3]}})
    assert below == {"a": {"b": [3], "c": 1}}


def test_a_study_tries_its_options_of_what_was_tuned_and_may_erase_several_concepts_at_once():
    var = Var(configuration("small"))
    grid = var.runs_of("tuning", "s_vare")
    assert {run["setting"] for run in grid} == {option["name"] for option in var.own("methods", "s_vare", "grid")}
    assert all(run["changes"]["training"]["learning_rate"] for run in grid)
    tried = {name: len(var.own("methods", name, "grid")) for name in var.methods_of("tuning")}
    assert tried == {name: 1 if name == "negative_prompt" else 3 for name in tried}
    assert {run["setting"] for run in var.runs_of("comparison", "vare")} == {"tuned"}
    changed = {run["setting"]: run["changes"] for run in var.runs_of("ablation", "s_vare_corrected")}
    assert changed["as_tuned"] == {} and changed["no_wide_preservation"] == {"settings": {"wide_weight": 0.0}}
    assert changed["6_pairs"] == {"learned": {"pairs": 6}}
    # One rollout of each pair is fewer than there are.
    assert changed["1_rollout"] == {"learned": {"rollouts": 1}} and var.own("pairs", "rollouts") > 1
    assert list(changed) == [option["name"] for option in var.own("studies", "ablation", "options")]
    assert {run["concept"] for run in var.runs_of("together", "s_vare")} == {"stripes+red+church+truck"}
    fewer = Var(configuration())
    reported = set(fewer.methods_of("comparison"))
    assert set(fewer.lists()["methods"]) == reported < set(fewer.methods_of("tuning"))


def test_a_course_is_made_of_lengths(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = configuration()
    Var(config).check()
    assert json.loads(Var(config).course_lengths()) == {"4_steps": 4, "10_steps": 10, "20_steps": 20, "40_steps": 40}
    del config["var"]["studies"]["course"]["options"]
    with pytest.raises(UserError, match=r"var\.studies\.course: the option tuned has no length"):
        Var(config).check()


def test_an_option_that_names_its_method_is_tried_on_no_other():
    changed = configuration("small")
    erasure = Erasure(changed)
    runs = {
        method: {run["setting"]: run["changes"] for run in erasure.runs_of("forms", method)}
        for method in erasure.methods_of("forms")
    }
    assert all(settings["as_tuned"] == {} for settings in runs.values())
    assert runs["spm"] == {"as_tuned": {}, "gated": {"selection": "gated_adapter"}}
    assert runs["esd_x"].keys() == {"as_tuned", "on_policy"}
    changed["erasure"]["studies"]["forms"]["options"].append({"name": "other", "method": "uce"})
    with pytest.raises(UserError, match=r"studies\.forms: the option other is of the method uce, which .* has not"):
        erasure.check()


def test_reported_edits_come_first_and_of_them_those_that_are_listed_last():
    var = Var(configuration())

    def priority(study, method):
        return var.priority(Wildcards(fromdict={"model": "tiny_var", "study": study, "method": method}))

    ranks = [priority("comparison", method) for method in var.methods_of("comparison")]
    assert ranks == sorted(set(ranks)) and ranks[0] > priority("course", "s_vare") == 0


@pytest.mark.parametrize("family", [Var, Erasure])
def test_real_pictures_for_distances_are_a_set_of_the_configuration(family):
    config = configuration("mini")
    own = config[family.family]
    assert family(config).data_pictures() == []
    own["data"] = "calibration"
    family(config).check()
    assert family(config).data_pictures() == ["<results>/data/calibration/images.npy"]
    own["data"] = "imagenet"
    with pytest.raises(UserError, match="imagenet"):
        family(config).check()


def test_distances_to_real_pictures_need_a_network_of_features():
    config = configuration("rehearsal_classes")
    Var(config).check()
    del config["var"]["judges"]["features"]
    with pytest.raises(UserError, match=r"var\.data: .* imagenet .*Set var\.judges\.features, or leave `data` out"):
        Var(config).check()
    del config["var"]["data"]
    Var(config).check()


@pytest.mark.parametrize(
    ("experiment", "procedural"),
    [("mini", True), ("smoke", True), ("full", False), ("classes", False), ("rehearsal_classes", False)],
)
def test_an_experiment_is_procedural_by_what_its_models_learned(experiment, procedural):
    config = configuration(experiment)
    plans = {name: each(config) for name, each in {"var": Var, "erasure": Erasure}.items() if name in config}
    assert Paper(config, plans, set()).is_procedural() == procedural
    # Photographs that pictures are compared with make no other world of it.
    config["datasets"]["photographs"] = {"world": "folder", "params": {}}
    config["var"]["data"] = "photographs"
    assert Paper(config, plans, set()).is_procedural() == procedural
