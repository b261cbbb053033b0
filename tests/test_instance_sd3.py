"""Stable Diffusion 3 in the layout it is published in, with random weights and few channels: encoded, made to forget,
and judged. Nothing is downloaded."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file, save_file

from conftest import copy_of_the_project, snakemake
from palimpsest.imitations import pipeline
from palimpsest.instance import evaluate_sd3, prepare_sd3, unlearn_sd3
from palimpsest.instance.figures import prompted as prompted_figure
from palimpsest.instance.methods import flow_matching
from palimpsest.instance.tables import prompted as prompted_table
from palimpsest.judges import face_networks
from palimpsest.metrics import measurements
from palimpsest.models import check_pipeline, edits, weights
from palimpsest.models import stable_diffusion_3 as sd3
from palimpsest.models.pixels import to_tensor, to_uint8
from palimpsest.report.lookup import Lookup
from palimpsest.run import UserError, sha256


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_surrogates_velocity_leads_from_the_surrogate_to_the_noised_target():
    target, surrogate_image, noise, predicted = (random(4, 2, 3, 3, seed=seed).double() for seed in range(4))
    levels = torch.tensor([0.02, 0.3, 0.7, 1.0]).double()
    noisy = flow_matching.mixed(target, noise, levels)
    wanted = flow_matching.surrogate_velocity(target, noise, surrogate_image, levels)
    assert torch.allclose(flow_matching.clean_estimate(noisy, wanted, levels), surrogate_image, atol=1e-12)
    assert torch.allclose(flow_matching.surrogate_velocity(target, noise, target, levels), noise - target)
    # The two forms of the loss differ by the square of the level.
    found = (flow_matching.clean_estimate(noisy, predicted, levels) - surrogate_image).square().sum((1, 2, 3))
    assert torch.allclose(found, levels**2 * (predicted - wanted).square().sum((1, 2, 3)))
    # Below the smallest level the quotient grows no more.
    near = flow_matching.surrogate_velocity(target, noise, surrogate_image, torch.full((4,), 1e-6).double())
    assert torch.allclose(near, noise - target + (target - surrogate_image) / 0.02)
    assert flow_matching.noise_levels(torch.tensor([0, 499, 999]), 1000).tolist() == pytest.approx([0.001, 0.5, 1])


SIDE = 64  # pixels, of 8 x 8 latents


ENCODER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TRANSFORMER = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 32,
    "pos_embed_max_size": 8,
}


def save_tiny_pipeline(folder) -> None:
    """A pipeline of Stable Diffusion 3 as it is published, every part with random weights and a few channels."""
    torch.manual_seed(0)
    vae = {**pipeline.VAE, "latent_channels": 4, "block_out_channels": (4, 4, 4, 4), "norm_num_groups": 4}
    third = {"d_model": 32, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    pipeline.write(folder, TRANSFORMER, vae, ENCODER, ENCODER, third)


def hashes_of(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    """The pipeline, compared with its hashes; pictures to forget and repaired ones; all of it encoded."""
    folder = tmp_path_factory.mktemp("sd3")
    save_tiny_pipeline(folder / "pipeline")
    place = SimpleNamespace(folder=folder, pipeline=folder / "pipeline")
    place.hashes = hashes_of(place.pipeline)
    for name in ("checked.json", "targets.npy", "repaired.npy", "latents.npz", "embeddings.npz"):
        setattr(place, name.split(".")[0], folder / name)
    check_pipeline.check(place.pipeline / "model_index.json", place.checked, name="sd3", sha256=place.hashes)
    for path, seed in ((place.targets, 0), (place.repaired, 1)):
        np.save(path, to_uint8(random(2, 3, SIDE, SIDE, seed=seed)))
    prepare_sd3.prepare(
        place.checked,
        place.targets,
        place.repaired,
        place.latents,
        place.embeddings,
        prompt="a flag",
        kept=["another flag", "a field"],
        sampling={"remember": 3, "steps": 2, "guidance": 5.0},
        device="cpu",
    )
    return place


def test_a_pipeline_is_used_only_with_the_hashes_of_all_its_weights(tmp_path, prompted):
    assert len(prompted.hashes) == 6 and json.loads(prompted.checked.read_text(encoding="utf-8"))["folder"] == str(
        prompted.pipeline
    )
    index, part = prompted.pipeline / "model_index.json", "vae/diffusion_pytorch_model.safetensors"
    without = {place: known for place, known in prompted.hashes.items() if place != part}
    wrong, more = {**prompted.hashes, part: "0" * 64}, {**prompted.hashes, "vae/second.safetensors": "0" * 64}
    for given, named in ((without, f"has no sha256.*{part}"), (wrong, "expected 0000"), (more, "lacks vae/second")):
        with pytest.raises(UserError, match=named):
            check_pipeline.check(index, tmp_path / "checked.json", name="sd3", sha256=given)
    assert not (tmp_path / "checked.json").exists()


def test_pictures_and_prompts_are_encoded_as_the_pipeline_does(prompted):
    model = sd3.open_pipeline(prompted.checked, torch.device("cpu"))
    with np.load(prompted.latents) as file:
        assert file["targets"].shape == file["surrogates"].shape == (2, 4, 8, 8) and file["remember"].shape[0] == 3
        decoded = sd3.decode(model, torch.from_numpy(file["remember"]))
        known = to_tensor(np.load(prompted.targets)[:1])
        mean = model.vae.encode(known).latent_dist.mean
        assert torch.allclose(torch.from_numpy(file["targets"][:1]), (mean - 0.0609) * 1.5305, atol=1e-5)
    with np.load(prompted.embeddings) as file:
        texts = {name: torch.from_numpy(file[name]) for name in sd3.EMBEDDINGS}
        assert not np.array_equal(file["0.prompt"], file["1.prompt"]) and "2.prompt" not in file.files
    # What is remembered are the pictures that the pipeline itself draws of the prompt.
    drawn = model(
        "a flag",
        latents=sd3.drawn_noise(0, np.arange(1), (4, 8, 8)),
        height=SIDE,
        width=SIDE,
        num_inference_steps=2,
        guidance_scale=5.0,
        output_type="np",
    ).images
    assert np.abs(drawn[0] * 255 - decoded[0]).max() <= 1.01
    assert texts["prompt"].shape == texts["negative"].shape and texts["pooled"].shape == (1, 32)


def test_a_prompts_pictures_of_another_size_and_equal_ones_are_refused(tmp_path, prompted):
    outputs = (tmp_path / "latents.npz", tmp_path / "embeddings.npz")
    given = {"prompt": "a flag", "kept": ["a"], "sampling": {"remember": 1, "steps": 1, "guidance": 1.0}}
    with pytest.raises(UserError, match="equals the target for 0, 1"):
        prepare_sd3.prepare(prompted.checked, prompted.targets, prompted.targets, *outputs, **given, device="cpu")
    np.save(tmp_path / "few.npy", np.load(prompted.repaired)[:1])
    with pytest.raises(UserError, match=r"few\.npy: uint8 \(1, 64, 64, 3\) for targets \(2, 64, 64, 3\)"):
        prepare_sd3.prepare(prompted.checked, prompted.targets, tmp_path / "few.npy", *outputs, **given, device="cpu")
    with pytest.raises(UserError, match="24 x 24 pixels: give multiples of 16"):
        sd3.encode(sd3.open_pipeline(prompted.checked, torch.device("cpu")), np.zeros((1, 24, 24, 3), np.uint8))


def forget_loss(transformer: SD3Transformer2DModel, prompted) -> float:
    """Mean distance of the clean estimates at the noised targets to the surrogates, at fixed noise."""
    latents, texts = np.load(prompted.latents), np.load(prompted.embeddings)
    target, other = (torch.from_numpy(latents[name]).repeat(8, 1, 1, 1) for name in ("targets", "surrogates"))
    times = torch.linspace(100, 999, 16).long()
    levels = flow_matching.noise_levels(times, 1000)
    network = unlearn_sd3.VelocityPredictor(
        transformer.eval(), torch.from_numpy(texts["prompt"]), torch.from_numpy(texts["pooled"])
    )
    noisy = flow_matching.mixed(target, random(16, 4, 8, 8, seed=9), levels)
    with torch.no_grad():
        return float((flow_matching.clean_estimate(noisy, network(noisy, times), levels) - other).square().mean())


def forgotten(prompted, folder, **given):
    """The step on the encoded pictures."""
    inputs = (prompted.checked, prompted.latents, prompted.embeddings)
    outputs = (folder / "adapter.safetensors", folder / "log.parquet", folder / "edits.parquet")
    training = {"steps": 30, "learning_rate": 0.01, "batch": 4}
    return unlearn_sd3.unlearn_sd3(
        *inputs,
        *outputs,
        **{"model": "sd3", "case": "flag", "training": training, "settings": {}, "rank": 4, "device": "cpu", **given},
    )


@pytest.mark.parametrize("form", ["clean", "velocity"])
def test_a_transformer_of_velocities_forgets_by_adapters(tmp_path, prompted, form):
    report = forgotten(prompted, tmp_path, settings={"form": form})
    # Ranks of 4 on 16 channels: in each block eight projections, in the last without the prompt's way out.
    assert report == {"parameters": (8 + 7) * 4 * (16 + 16), "steps": 30}
    steps = pd.read_parquet(tmp_path / "log.parquet")
    assert {"forget_loss", "remember_loss", "cosine"} <= set(steps.columns) and steps["backwards"].eq(8).all()
    transformer = sd3.load_transformer(prompted.checked)
    before = forget_loss(transformer, prompted)
    transformer.load_lora_adapter(load_file(tmp_path / "adapter.safetensors"), prefix="transformer")
    assert forget_loss(transformer, prompted) < 0.9 * before
    # The row of the table opens the same transformer.
    (edit,) = edits.read(tmp_path / "edits.parquet")
    assert (edit.base, edit.target, edit.format) == ("sd3", "flag", "lora") and edit.base_path == prompted.checked
    assert forget_loss(edits.open_edit(edit), prompted) == pytest.approx(forget_loss(transformer, prompted), rel=1e-5)


def test_the_samples_before_and_after_differ_by_the_adapter_alone(tmp_path, prompted):
    judges = {"descriptor": "face_networks", "perceptual": "face_networks"}
    torch.manual_seed(0)
    networks = [tmp_path / f"{role}.safetensors" for role in sorted(judges)]
    for role, path in zip(sorted(judges), networks, strict=True):
        judge = face_networks.FaceNetwork("descriptor" if role == "descriptor" else "attributes", 8, 4, SIDE)
        weights.save(path, judge, judge.config)
    tables = {}
    for name, rate in (("still", 0.0), ("moved", 0.05)):
        training = {"steps": 3, "learning_rate": rate, "batch": 2}
        (tmp_path / name).mkdir()
        forgotten(prompted, tmp_path / name, training=training)
        evaluate_sd3.evaluate(
            prompted.checked,
            tmp_path / name / "adapter.safetensors",
            prompted.embeddings,
            prompted.targets,
            networks,
            tmp_path / name / "measurements.parquet",
            tmp_path / name / "panel.npz",
            model="sd3",
            case="flag",
            modules=judges,
            sampling={"samples": 2, "steps": 2, "guidance": 5.0},
            device="cpu",
        )
        tables[name] = measurements.read([tmp_path / name / "measurements.parquet"])
        with np.load(tmp_path / name / "panel.npz") as panel:
            assert panel["before.own"].shape == (2, SIDE, SIDE, 3) and panel["after.kept"].shape == (4, SIDE, SIDE, 3)
            assert np.array_equal(panel["before.own"], panel["after.own"]) == (name == "still")
    after = measurements.select(tables["still"], method="unpromptable", metric="perceptual")
    assert set(after["kind"]) == {"own", "kept"} and (after["value"] == 0).all()
    assert (measurements.select(tables["moved"], method="unpromptable", metric="perceptual")["value"] > 0).all()
    before = measurements.select(tables["moved"], method="pretrained", metric="samples_like_target")
    assert before["n"].tolist() == [2] and set(tables["moved"]["setting"]) == {"flag"}
    known = {"cases": ["flag"], "judges": {"perceptual": "LPIPS"}}
    table = prompted_table.build(Lookup([tmp_path / "moved/measurements.parquet"], "instance"), known)
    assert table.frame["Change, prompt"].map(lambda found: found.value > 0).tolist() == [False, True]
    params = {"cases": ["flag"], "own": 2, "kept": 3, "explicit_sets": []}
    drawn = prompted_figure.draw(None, [tmp_path / "moved/panel.npz"], params)
    assert [axes.get_title() for axes in drawn.axes[:2]] == ["the prompt", "other prompts"] and len(drawn.axes) == 4


@pytest.mark.workflow
def test_a_prompts_pictures_are_forgotten_from_the_configuration(tmp_path, prompted):
    folder, given = copy_of_the_project(tmp_path / "project"), str(prompted.pipeline)
    files = {
        str(path.relative_to(given)): {"sha256": sha256(path)}
        for path in prompted.pipeline.rglob("*")
        if path.is_file()
    }
    pictures = {"world": "faces", "params": {"n": 2, "seed": 3, "split": "fit", "size": 32}}
    case = {
        "prompt": "it's a flag",
        "kept": ["another flag", "a 'field'"],
        "targets": "wrong",
        "surrogates": "repaired",
    }
    prompt = {
        "model": "sd3",
        "rank": 2,
        "training": {"steps": 2, "learning_rate": 0.01, "batch": 2},
        "settings": {"form": "clean"},
        "sampling": {"remember": 2, "samples": 2, "steps": 1, "guidance": 2.0},
        "seed": 0,
        "cases": {"ireland": case},
    }
    overlay = {
        "experiment": "prompted",
        "families": ["instance"],
        "datasets": {"wrong": pictures, "repaired": {**pictures, "params": {**pictures["params"], "ood": "inverted"}}},
        "networks": {"sd3": {"published": "sd3"}},
        "checkpoints": {
            "sd3": {"layout": "pipeline", "licence": "none", "page": "none", "path": given, "files": files}
        },
        "instance": {"prompted": prompt},
    }
    (folder / "prompted.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    made = "results/prompted/instance/prompted/ireland/measurements.parquet"
    snakemake(folder, "--configfile", "prompted.yaml", "--", made)
    table = measurements.read([folder / made])
    assert set(table["method"]) == {"pretrained", "unpromptable"} and set(table["model"]) == {"sd3"}
    told = json.loads((folder / made).with_name("latents.record.json").read_text(encoding="utf-8"))["arguments"]
    assert told["prompt"] == case["prompt"] and told["kept"] == case["kept"]


def test_what_the_flow_matching_step_is_not_given_is_named(tmp_path, prompted):
    with pytest.raises(UserError, match="form is 'noise'"):
        forgotten(prompted, tmp_path, settings={"form": "noise"})
    np.savez(tmp_path / "one.npz", targets=np.zeros((1, 4, 8, 8)))
    with pytest.raises(UserError, match="no array surrogates, remember"):
        unlearn_sd3.arrays(tmp_path / "one.npz", ("targets", "surrogates", "remember"), 4)
    shutil.copytree(prompted.pipeline, tmp_path / "pipeline")
    (tmp_path / "checked.json").write_text(json.dumps({"folder": str(tmp_path / "pipeline")}), encoding="utf-8")
    part = tmp_path / "pipeline/transformer/diffusion_pytorch_model.safetensors"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match="is no transformer of a Stable Diffusion 3 pipeline"):
        sd3.load_transformer(tmp_path / "checked.json")


@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
@pytest.mark.parametrize("name", sd3.NETWORKS)
def test_no_network_of_the_pipeline_is_loaded_half(tmp_path, prompted, name, change):
    """The libraries would give what is missing random weights and pass over what they do not know."""
    shutil.copytree(prompted.pipeline, tmp_path / "pipeline")
    (tmp_path / "checked.json").write_text(json.dumps({"folder": str(tmp_path / "pipeline")}), encoding="utf-8")
    file = sorted((tmp_path / "pipeline" / name).glob("*.safetensors"))[0]
    state = load_file(file)
    key = next(key for key in sorted(state) if state[key].ndim == 2)
    if change == "missing":
        del state[key]
    elif change == "unexpected":
        state[f"{key}.old"] = state[key].clone()
        key = f"{key}.old"
    else:
        state[key] = state[key][:, :-1].contiguous()
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"pipeline/{name} ") as caught:
        sd3.open_pipeline(tmp_path / "checked.json", torch.device("cpu"))
    assert key in str(caught.value) or change == "mismatched"
