"""Published text-to-image models and their judges: read from files in the published layouts, and from nothing else."""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetForImageClassification

from conftest import ROOT, configuration, snakemake
from palimpsest.erasure import draw, erase
from palimpsest.imitations import text_diffusion as imitation
from palimpsest.imitations.transformers import RESNET, VIT
from palimpsest.judges import clip_texts, image_classes, judge_networks, reference
from palimpsest.judges.nudenet import bundled_path
from palimpsest.judges.photographs import Photographs
from palimpsest.metrics import measurements
from palimpsest.metrics.censor import publishable
from palimpsest.models import check_folder, compvis, convert_text_diffusion, edits, text_diffusion
from palimpsest.models.diffusion import WEIGHTS
from palimpsest.models.list_networks import list_networks
from palimpsest.models.pixels import to_tensor
from palimpsest.options import check_types, options_of
from palimpsest.plan.erasure import Erasure
from palimpsest.run import UserError, sha256
from palimpsest.unlearning.engine import train
from palimpsest.unlearning.find import method_module
from palimpsest.worlds.concepts import ROLES
from palimpsest.worlds.named import concept_of

WIDTHS = {"block_out_channels": [8, 8], "norm_num_groups": 4, "layers_per_block": 1}
UNET = {
    **WIDTHS,
    "sample_size": 8,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
VAE = {
    **WIDTHS,
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "sample_size": 16,
}
TEXT = {
    "vocab_size": 200,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def write(folder: Path, **changes) -> Path:
    torch.manual_seed(0)
    imitation.write(folder, {**UNET, **changes}, VAE, TEXT)
    return folder


def hashes_of(folder: Path) -> dict[str, str]:
    files = [Path(part, file) for part, file in convert_text_diffusion.FILES.items()]
    return {str(file): sha256(folder / file) for file in files if (folder / file).exists()}


def converted(folder: Path, out: Path, name: str = "mine", **changes) -> Path:
    network = out / "unet" / WEIGHTS
    network.parent.mkdir(parents=True, exist_ok=True)
    hashes = {**hashes_of(folder), **changes}
    convert_text_diffusion.convert(folder / "model_index.json", network, name=name, sha256=hashes)
    return network


@pytest.fixture
def published(tmp_path):
    return write(tmp_path / "published")


def test_a_published_pipeline_is_the_same_network_under_todays_names(tmp_path, published):
    from diffusers import StableDiffusionPipeline

    model = text_diffusion.open_model(converted(published, tmp_path / "out"))
    given = StableDiffusionPipeline.from_pretrained(published, local_files_only=True)
    ids = model.ids(["a red kite, by the sea"])
    assert torch.equal(
        ids, given.tokenizer(["a red kite, by the sea"], padding="max_length", return_tensors="pt").input_ids
    )
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.network(latents, torch.tensor([500]), ids)
        theirs = given.unet(latents, torch.tensor([500]), given.text_encoder(ids)[0]).sample
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert torch.allclose(model.vae.decode(latents).sample, given.vae.decode(latents).sample, atol=1e-6)
    assert model.scheduler.config.beta_schedule == "scaled_linear" and model.scheduler.config.steps_offset == 1
    # Whoever has diffusers loads what was written.
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    assert torch.equal(again.unet.conv_in.weight, given.unet.conv_in.weight)


def test_another_or_half_a_pipeline_is_named_and_nothing_written(tmp_path, published):
    def refused(change, message, name="mine", **hashes):
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(published, folder)
        change(folder)
        with pytest.raises(UserError, match=message):
            converted(folder, tmp_path / "none", name, **hashes)
        assert not (tmp_path / "none/unet" / WEIGHTS).exists()

    def without(key: str):
        def change(folder):
            state = load_file(folder / "unet" / WEIGHTS)
            save_file(
                {name: each for name, each in state.items() if not name.startswith(key)}, folder / "unet" / WEIGHTS
            )

        return change

    def not_finite(folder):
        state = load_file(folder / "vae" / WEIGHTS)
        state["decoder.conv_in.weight"][0] = torch.nan
        save_file(state, folder / "vae" / WEIGHTS)

    def other_words(folder):
        shutil.rmtree(folder / "tokenizer")
        imitation.write_tokenizer(folder / "tokenizer", 150, 77)

    refused(
        without("mid_block"),
        r"does not fit the configured UNet2DConditionModel; nothing was loaded:\n  missing mid_block",
    )
    refused(not_finite, r"is damaged: decoder\.conv_in\.weight hold no finite numbers")
    refused(other_words, "tokenizer has 150 tokens .* the text encoder 200.*another model's tokenizer")
    refused(
        lambda folder: None, "takes texts of width 16, not 768.*Stable Diffusion 2 has 1024", "stable_diffusion_1_4"
    )
    refused(lambda folder: (folder / "vae" / WEIGHTS).unlink(), "lacks vae/diffusion", **{f"vae/{WEIGHTS}": "0" * 64})
    refused(lambda folder: None, "has the sha256 .*, expected 0000", **{f"unet/{WEIGHTS}": "0" * 64})
    refused(lambda folder: None, r"checkpoints\.mine \(unet/.*\) has no sha256", **{f"unet/{WEIGHTS}": None})


@pytest.fixture
def resnet(tmp_path):
    return classifier(tmp_path / "resnet")


def classifier(folder: Path, names: tuple[str, ...] = ("tench", "church", "kite")) -> Path:
    torch.manual_seed(0)
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    labels = dict(enumerate(names))
    config = ResNetConfig(**sizes, id2label=labels, label2id={name: number for number, name in labels.items()})
    ResNetForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**RESNET, "size": 32}), encoding="utf-8")
    return folder


def checked(folder: Path) -> Path:
    network = folder.parent / f"{folder.name}.json"
    weights = {path.name: sha256(path) for path in folder.glob("*.safetensors")}
    check_folder.check(folder / "config.json", network, name="mine", sha256=weights)
    return network


def test_a_classifier_sees_the_middle_of_a_picture_as_its_settings_say(resnet):
    judge = image_classes.load(checked(resnet))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
    ranked = judge.ranked(pictures)
    assert ranked.shape == (3, 3) and (np.sort(ranked, 1) == np.arange(3)).all()
    # What lies beyond the middle is not seen: here 8 pixels on each side are cut away.
    changed = pictures.copy()
    changed[:, :, :8] = 0
    inside = image_classes.prepared(to_tensor(pictures), **judge.prepare)
    assert inside.shape == (3, 3, 32, 32)
    assert torch.allclose(
        inside[..., 4:], image_classes.prepared(to_tensor(changed), **judge.prepare)[..., 4:], atol=1e-4
    )
    white = image_classes.prepared(torch.ones(1, 3, 48, 48), **judge.prepare)
    assert white[0, :, 0, 0].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    assert judge.number_of("church", "x") == judge.number_of(1, "x") == judge.number_of("1", "x") == 1
    with pytest.raises(UserError, match="concept x: its judge has no class 'boat'; it has 3, among them tench, church"):
        judge.number_of("boat", "x")


def test_a_folder_whose_weights_or_settings_are_missing_is_named(resnet):
    (resnet / "preprocessor_config.json").write_text(json.dumps({**VIT, "image_mean": None}), encoding="utf-8")
    network = checked(resnet)
    with pytest.raises(UserError, match="does not say how pictures are prepared"):
        image_classes.load(network)
    state = load_file(resnet / "model.safetensors")
    dropped = sorted(state)[0]
    save_file({name: each for name, each in state.items() if name != dropped}, resnet / "model.safetensors")
    with pytest.raises(UserError, match=r"expected .* another file"):
        check_folder.check(resnet / "config.json", network, name="mine", sha256={"model.safetensors": "0" * 64})
    with pytest.raises(UserError, match=f"does not fit its own config.json; missing_keys {dropped}"):
        image_classes.load(checked(resnet))
    (resnet / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no file of weights"):
        checked(resnet)


def small_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    marks = {"bos_token_id": 198, "eos_token_id": 199}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    CLIPModel(CLIPConfig(text_config={**TEXT, **marks}, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    imitation.write_tokenizer(folder / "tokenizer", 200, 77)
    shutil.copytree(folder / "tokenizer", folder, dirs_exist_ok=True)
    return folder


def test_clip_compares_pictures_with_texts_as_the_library_does(tmp_path):
    folder = small_clip(tmp_path / "clip")
    network = CLIPModel.from_pretrained(folder)
    judge = clip_texts.load(checked(folder))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), np.uint8)
    texts = ["a kite", "a cup of coffee", "sea " * 100]
    found = judge.similarity(pictures, texts)
    given = judge.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        theirs = network(pixel_values=clip_texts.prepared(to_tensor(pictures), 28), **given).logits_per_image
    assert np.allclose(found, theirs / network.logit_scale.exp().item(), atol=1e-5)


# The steps over a published model


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A converted pipeline, its judges, the user's files, and concepts of each kind."""
    folder = tmp_path_factory.mktemp("world")
    model = converted(write(folder / "published"), folder / "model")
    classes, artists = classifier(folder / "resnet"), classifier(folder / "artists")
    judges = {"artists": checked(artists), "similarity": checked(small_clip(folder / "clip"))}
    files = {
        "prompts": 'prompt,sd_seed\n"an emblem, on a coat",7\n,8\n',
        "captions": "caption\na kite\na cup\na boat\na dog\n",
    }
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8-sig")
    common = {"captions": str(folder / "captions.csv")}
    concepts = {
        "church": {"kind": "object", "value": "a church", "label": 1, "neighbours": [{"value": "a tench", "label": 0}]},
        "vangogh": {"kind": "style", "value": "Van Gogh", "label": "kite", "synonyms": ["a Dutch painter"]},
        "hidden": {
            "kind": "explicit",
            "value": "an emblem",
            "prompts": str(folder / "prompts.csv"),
            "consent": True,
        },
    }
    concepts = {name: {**row, **common} for name, row in concepts.items()}
    return SimpleNamespace(folder=folder, model=model, classes=checked(classes), judges=judges, concepts=concepts)


@pytest.fixture(scope="module")
def ran(world):
    """Every step from prompts to measurements, with two methods."""
    out = world.folder / "run"
    out.mkdir()
    given = {"concepts": world.concepts, "sampling": {"steps": 1, "guidance": 7.5}}
    learned, judged = (out / "latents.npz", out / "learned.parquet"), (out / "prompts.parquet", out / "pictures.npz")
    draw.draw(world.model, *learned, counts={"concept": 2, "others": 2}, **given)
    reference.reference(world.model, *judged, counts=dict.fromkeys(ROLES, 2), **given)
    roles = sorted(world.judges)
    readers = {"judges": [world.judges[role] for role in roles], "judge_roles": roles}
    list_networks(world.model, out / "random", out / "networks.parquet", family="erasure", model="sd")
    networks = [out / name for name in ("networks_measurements.parquet", "networks_panel.npz")]
    attacks = {"pictures": 2, "words": 1, "points": 1, "shortlist": 2, "strength": 0.5, "given": 0.5}
    attacks["inversion"] = {"steps": 1, "rate": 0.1, "batch": 1}
    common = {"model": "sd", "attacks": attacks, **given, **readers}
    place = (world.classes, bundled_path())
    judge_networks.judge(
        world.model,
        out / "networks.parquet",
        *judged,
        *place,
        *learned,
        *networks,
        study="networks",
        pooled=["church"],
        family="erasure",
        **common,
    )
    for method, selection in (("uce", "cross_attention_kv"), ("esd", "cross_attention")):
        training = {} if method == "uce" else {"steps": 1, "batch": 1, "learning_rate": 0.001}
        settings = {} if method == "uce" else {"sampling_steps": 2, "paths": 1}
        run = {"setting": "one", "seed": 0, "selection": selection, "training": training, "settings": settings}
        runs = [{**run, "concept": name} for name in world.concepts]
        names = ("weights", "log.parquet", "edits.parquet", "measurements.parquet", "panel.npz")
        (out / method).mkdir()
        outputs = (out / method / name for name in names)
        given = (world.model, *learned, *judged, *place, *outputs)
        erase.erase(*given, study="comparison", method=method, module=method, plan={"runs": runs}, **common)
    return out


@pytest.mark.parametrize("method", ["uce", "esd"])
def test_a_published_model_is_edited_and_judged_by_published_judges(ran, method):
    assert [row.format for row in edits.read(ran / method / "edits.parquet")] == ["delta"] * 3
    table = measurements.read([ran / method / "measurements.parquet"])
    found = {name: set(zip(rows["metric"], rows["prompts"], strict=True)) for name, rows in table.groupby("concept")}
    everywhere = {("erased", "own"), ("erased", "template"), ("appears", "unnamed"), ("kept", "rest"), ("clip", "rest")}
    everywhere |= {("recovered", each) for each in ("own", "template", "searched", "inverted", "noised", "completed")}
    assert all(everywhere <= each for each in found.values())
    assert ("kept", "neighbour") in found["church"] and ("erased", "synonym") in found["vangogh"]
    # What has no label is not measured, and what has no other words is not asked.
    assert ("kept", "neighbour") not in found["hidden"] and ("erased", "synonym") not in found["hidden"]


def test_no_picture_of_an_explicit_concept_gets_out_uncensored(ran):
    with np.load(ran / "pictures.npz") as before, np.load(ran / "networks_panel.npz") as panel:
        seen = {name: panel[f"pretrained.{name}..0"] for name in before.files}
        for name, pictures in seen.items():
            uncensored = [any((one == other).all() for other in before[name]) for one in pictures]
            assert all(uncensored) if name != "hidden" else not any(uncensored)
        assert (seen["hidden"] == publishable(before["hidden"], explicit=True)).all()


def test_an_artist_is_asked_of_a_classifier_of_artists(world):
    concept = concept_of("vangogh", world.concepts["vangogh"])
    pictures = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(UserError, match=r"concept vangogh is a style: set erasure\.judges\.artists"):
        Photographs(world.classes, bundled_path(), {}).shows(concept, pictures)
    with_artists = Photographs(world.classes, bundled_path(), {"artists": world.judges["artists"]})
    assert with_artists.shows(concept, pictures).shape == (1,)


# What others erased


def state_of(world, part: str) -> dict:
    network = text_diffusion.open_model(world.model).network
    torch.manual_seed(1)
    return {name: torch.randn(tensor.shape) for name, tensor in getattr(network, part).state_dict().items()}


def as_compvis(unet: dict) -> dict:
    return {f"model.diffusion_model.{compvis.name_of(name, 1, {1})}": tensor for name, tensor in unet.items()}


def listed(world, folder: Path, path: Path, kind: str) -> edits.Edit:
    rows = {"rows": [{"method": "esd_x", "target": "church", "format": kind, "setting": "theirs"}]}
    folder.mkdir()
    list_networks(
        world.model,
        folder / "random",
        folder / "edits.parquet",
        family="erasure",
        model="sd",
        others=[path],
        about=rows,
    )
    row = edits.read(folder / "edits.parquet")[-1]
    assert (row.method, row.target, row.setting) == ("esd_x", "church", "theirs")
    return row


def test_the_first_authors_names_are_those_that_diffusers_reads(world):
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    unet = state_of(world, "unet")
    config = {"layers_per_block": 1, "class_embed_type": None, "addition_embed_type": None}
    theirs = convert_ldm_unet_checkpoint(as_compvis(unet), config)
    assert theirs.keys() == unet.keys() and all(torch.equal(theirs[name], unet[name]) for name in unet)
    back = compvis.renamed({**as_compvis(unet), "first_stage_model.x": torch.zeros(1)}, list(unet), 1)
    assert back.keys() == unet.keys() and all(torch.equal(back[name], unet[name]) for name in unet)


@pytest.mark.parametrize("form", ["diffusers", "compvis", "checkpoint", "text"])
def test_a_checkpoint_of_others_is_put_on_its_base(world, tmp_path, form):
    part = "text_encoder" if form == "text" else "unet"
    state = state_of(world, part)
    kind, path = f"published_{part}", tmp_path / "theirs.pt"
    if form == "diffusers":
        save_file(state, path := tmp_path / "theirs.safetensors")
    elif form == "text":
        named = {f"text_model.{name}": each for name, each in state.items()}
        torch.save({**named, "text_model.embeddings.position_ids": torch.arange(77)[None]}, path)
    else:
        whole = {**as_compvis(state), "cond_stage_model.x": torch.zeros(2)}
        torch.save({"state_dict": whole, "global_step": 3} if form == "checkpoint" else whole, path)
    after = edits.open_edit(listed(world, tmp_path / "run", path, kind)).state_dict()
    before = text_diffusion.open_model(world.model).network.state_dict()
    for name, tensor in after.items():
        own = name.removeprefix(f"{part}.") if name.startswith(f"{part}.") else None
        assert torch.equal(tensor, state[own] if own else before[name]), name


def test_half_a_checkpoint_and_that_of_another_model_are_named(world, tmp_path):
    unet, text = state_of(world, "unet"), state_of(world, "text_encoder")
    half = {name: each for name, each in unet.items() if not name.startswith("up_blocks")}
    wide = {
        name: torch.zeros(each.shape[0], 24) if name.endswith("attn2.to_k.weight") else each
        for name, each in unet.items()
    }
    words = {**text, "embeddings.token_embedding.weight": torch.zeros(300, 16)}
    cases = {
        "half": (half, "published_unet", r"nothing was loaded:\n  missing up_blocks"),
        "named": (as_compvis(half), "published_unet", r"nothing was loaded:\n  missing up_blocks"),
        "two": (wide, "published_unet", "takes texts of width 24, sd of 16.*Stable Diffusion 2 has 1024"),
        "tokens": (words, "published_text_encoder", "knows 300 tokens, the tokenizer of sd 200.*another tokenizer"),
        "other": (text, "published_unet", "missing conv_in"),
    }
    for name, (state, kind, message) in cases.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(state, path)
        row = edits.Edit("sd", world.model, "erasure", "esd", "church", 0, "", kind, path, sha256(path))
        with pytest.raises(UserError, match=message):
            edits.open_edit(row)


@pytest.fixture
def full(tmp_path):
    """The full experiment of somebody who has captions."""
    config = configuration("full")
    path = tmp_path / "captions.csv"
    path.write_text("caption\na kite\n", encoding="utf-8")
    config["erasure"]["captions"] = str(path)
    return config


def test_the_full_experiment_asks_for_consent_and_for_files_before_it_starts(full, tmp_path):
    Erasure(full).check()
    assert full["erasure"]["attacks"].keys() == configuration()["erasure"]["attacks"].keys() | {"shortlist"}
    assert Erasure(full).prompt_files() == [str(tmp_path / "captions.csv")]
    full["erasure"]["studies"]["comparison"]["concepts"].append("nudity")
    with pytest.raises(UserError, match=r"concept nudity is explicit.*erasure\.concepts\.nudity\.consent: true"):
        Erasure(full).check()
    full["erasure"]["concepts"]["nudity"]["consent"] = True
    with pytest.raises(UserError, match=r"read from resources/prompts/nudity\.csv, and there is no such file"):
        Erasure(full).check()
    full["erasure"]["captions"] = "none.csv"
    with pytest.raises(UserError, match=r"read from none\.csv"):
        Erasure(full).check()


def test_what_others_erased_is_named_with_a_base_a_concept_and_a_file(full, tmp_path):
    row = {"model": "stable_diffusion_1_4", "method": "advunlearn", "concept": "church", "format": "published_unet"}
    full["erasure"]["others"] = {"theirs": {**row, "path": str(tmp_path / "captions.csv")}}
    plan = Erasure(full)
    plan.check()
    assert '"setting": "theirs"' in plan.others_rows("stable_diffusion_1_4") and plan.others_rows("other") == ""
    for change, message in (({"concept": "nudity"}, "the concept nudity"), ({"path": "none.pt"}, "no file none.pt")):
        full["erasure"]["others"]["theirs"] = {**row, "path": str(tmp_path / "captions.csv"), **change}
        with pytest.raises(UserError, match=rf"erasure\.others\.theirs.*{message}"):
            Erasure(full).check()


@pytest.mark.workflow
def test_a_checkpoint_of_the_catalogue_that_others_erased_is_fetched_as_the_page_says(tmp_path):
    page = (ROOT / "docs/published_data.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^  ```yaml\n(.*?)^  ```$", page, re.MULTILINE | re.DOTALL)
    told = yaml.safe_load(text.replace("<hash>", "ab" * 32))
    (path,) = {row["path"] for row in told["erasure"]["others"].values()}
    captions = tmp_path / "captions.csv"
    captions.write_text("caption\na kite\n", encoding="utf-8")
    overlay = tmp_path / "told.yaml"
    told["erasure"]["captions"] = str(captions)
    overlay.write_text(yaml.safe_dump({**told, "families": ["erasure"]}), encoding="utf-8")
    files = ("--configfile", "config/full.yaml", str(overlay))
    table = "results/full/erasure/networks/stable_diffusion_1_4/edits.parquet"
    shown = snakemake(ROOT, "--dry-run", "--nolock", *files, "--", table).stdout
    assert re.search(rf"sources\.fetch --file {path} --name advunlearn .*--sha256 {'ab' * 32}", shown)
    assert "vangogh_unlearned" not in shown  # what nobody names is left where it is
    other = path.replace("church", "chapel")
    overlay.write_text(overlay.read_text(encoding="utf-8").replace(path, other), encoding="utf-8")
    failed = snakemake(ROOT, "--dry-run", "--nolock", *files, "--", table, check=False)
    assert failed.returncode and f"erasure.others.their_church: there is no file {other}" in failed.stdout


def test_a_method_has_settings_of_its_own_for_a_kind_of_concepts(full):
    plan = Erasure(full)
    church, vangogh, nudity = (plan.made_by("scissorhands", name) for name in ("church", "vangogh", "nudity"))
    assert church == vangogh and church["settings"] == {"share": 0.001} and nudity["settings"] == {"share": 0.005}
    assert church["training"] == {**nudity["training"], "steps": 150, "learning_rate": 2.0e-5}
    assert plan.made_by("erasediff", "nudity")["selection"] == "not_cross_attention"
    guides = [plan.made_by("uce", name)["settings"]["guide"] for name in ("church", "vangogh", "nudity")]
    assert guides == ["empty", "anchor", "empty"] and plan.made_by("uce", "church")["training"] == {}
    assert {run["concept"]: run["settings"]["guide"] for run in plan.runs_of("comparison", "uce")}[
        "vangogh"
    ] == "anchor"


@pytest.mark.parametrize("concept", ["church", "vangogh", "nudity"])
def test_every_setting_of_a_release_is_one_that_the_method_takes(full, concept):
    for name in full["erasure"]["methods"]:
        run = Erasure(full).made_by(name, concept)
        module = import_module(method_module("erasure", Erasure(full).module_of(name)))
        check_types(getattr(module, "edit", None) or module.direction, dict(run["settings"]), name)
        known = options_of(getattr(module, "edit", None) or module.direction)
        assert run["settings"].keys() <= known.keys(), name
        assert run["training"].keys() <= options_of(train).keys()
