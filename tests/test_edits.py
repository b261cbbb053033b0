"""Edited models: what a table lists is opened as it was saved, in every format; what is not is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from palimpsest.models import diffusion, edit_table, edits, vqgan, weights
from palimpsest.models.list_networks import list_networks
from palimpsest.run import UserError, sha256

COMMON = {"base": "tiny", "family": "instance", "method": "unpromptable", "target": "one", "setting": "default"}
VQGAN = {
    "quantiser": "nearest",
    "codes": 8,
    "embed_dim": 4,
    "resolution": 16,
    "z_channels": 8,
    "ch": 32,
    "ch_mult": [1],
}


def tiny(seed: int = 0) -> UNet2DModel:
    torch.manual_seed(seed)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return UNet2DModel(
        8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, add_attention=False, **blocks
    )


@pytest.fixture
def base(tmp_path) -> Path:
    """The file of a base network."""
    file = tmp_path / "base/unet" / diffusion.WEIGHTS
    diffusion.save(file, tiny(), DDPMScheduler())
    return file


def listed(folder: Path, base: Path, *rows: dict, **more) -> Path:
    folder.mkdir(exist_ok=True)
    edit_table.write(folder / "edits.parquet", list(rows), base_path=base, **{**COMMON, "seed": 0, **more})
    return folder / "edits.parquet"


def predicted(network) -> torch.Tensor:
    noisy = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = network.to(memory_format=torch.channels_last)  # what loading computes in: other layouts round otherwise
    with torch.no_grad():
        return network(noisy, torch.tensor([5, 900])).sample


def test_whole_networks_are_opened_wherever_the_folder_went(tmp_path, base):
    other = tmp_path / "run/models/x/unet" / diffusion.WEIGHTS
    diffusion.save(other, tiny(1), DDPMScheduler())
    rows = [{"method": "pretrained", "path": base}, {"method": "unpromptable", "path": other}]
    common = {name: value for name, value in COMMON.items() if name != "method"}
    edit_table.write(tmp_path / "run/edits.parquet", rows, base_path=base, format="whole", seed=3, **common)
    shutil.copytree(tmp_path, moved := tmp_path.with_name("moved"))
    shutil.rmtree(tmp_path / "run")
    found = edits.read(moved / "run/edits.parquet")
    assert [edit.method for edit in found] == ["pretrained", "unpromptable"] and {edit.seed for edit in found} == {3}
    assert found[0].path == found[0].base_path == moved / "base/unet" / diffusion.WEIGHTS
    for edit, seed in zip(found, (0, 1), strict=True):
        network = edits.open_edit(edit)
        assert torch.equal(predicted(network), predicted(tiny(seed).eval()))
        assert not any(parameter.requires_grad for parameter in network.parameters()) and not network.training


def test_the_temporary_names_of_a_step_are_not_listed(tmp_path, base):
    folder = tmp_path / "run"
    file = folder / ".partial-models/x/unet" / diffusion.WEIGHTS
    diffusion.save(file, tiny(1), DDPMScheduler())
    table = folder / ".partial-edits.parquet"
    edit_table.write(table, [{"path": file}], base_path=base, format="whole", seed=0, **COMMON)
    (folder / ".partial-models").rename(folder / "models")
    (edit,) = edits.read(table.rename(folder / "edits.parquet"))
    assert edit.path == folder / "models/x/unet" / diffusion.WEIGHTS and edits.open_edit(edit)


def test_a_delta_holds_what_changed_and_is_put_on_its_base(tmp_path, base):
    edited = tiny()
    with torch.no_grad():
        edited.conv_in.weight.add_(0.5)
        edited.mid_block.resnets[0].conv1.bias.sub_(1)
    edits.save_delta(tmp_path / "delta.safetensors", edited, base)
    changed = load_file(tmp_path / "delta.safetensors")
    assert set(changed) == {"conv_in.weight", "mid_block.resnets.0.conv1.bias"}
    row = {"path": tmp_path / "delta.safetensors", "format": "delta"}
    (edit,) = edits.read(listed(tmp_path / "run", base, row))
    assert torch.equal(predicted(edits.open_edit(edit)), predicted(edited.eval()))
    assert not torch.allclose(predicted(edited), predicted(tiny().eval()), atol=0.1)
    # A network with other tensors has no delta.
    with pytest.raises(ValueError, match="other tensors"):
        edits.save_delta(tmp_path / "x.safetensors", torch.nn.Linear(2, 2), base)


@pytest.mark.parametrize("fault", ["name", "shape", "base", "no base"])
def test_a_delta_that_does_not_fit_is_refused(tmp_path, base, fault):
    path, known = tmp_path / "delta.safetensors", {"base": sha256(base)}
    tensors = {"conv_in.weight": load_file(base)["conv_in.weight"] + 1}
    if fault == "name":
        tensors["conv_in.weigth"] = torch.zeros(3)
    elif fault == "shape":
        tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :2].contiguous()
    save_file(tensors, path, metadata={"name": known, "shape": known, "base": {"base": "0" * 64}}.get(fault))
    (edit,) = edits.read(listed(tmp_path / "run", base, {"path": path, "format": "delta"}))
    named = {"name": "unexpected conv_in.weigth", "shape": "shape of conv_in.weight"}.get(fault, "another base")
    with pytest.raises(UserError, match=named):
        edits.open_edit(edit)


def adapted(seed: int) -> UNet2DModel:
    """The base with adapters of random weights, of several ranks' worth of modules."""
    config = LoraConfig(r=2, lora_alpha=2, target_modules=r".*\.(conv1|time_emb_proj)", init_lora_weights=False)
    network = tiny()
    torch.manual_seed(seed)
    return inject_adapter_in_model(config, network)


def test_adapters_are_opened_and_half_of_them_or_another_networks_are_refused(tmp_path, base):
    network, path = adapted(3), tmp_path / "adapter.safetensors"
    state = {name: each.contiguous() for name, each in get_peft_model_state_dict(network).items()}
    save_file(state, path)
    rows = [{"path": path, "seed": 3, "format": "lora"}]
    edit_table.write(tmp_path / "edits.parquet", rows, base_path=base, **COMMON)
    (edit,) = edits.read(tmp_path / "edits.parquet")
    assert torch.allclose(predicted(edits.open_edit(edit)), predicted(network.eval()), atol=1e-6)
    for name, named in (("lora_B", "lacks"), ("lora_A", "does not fit")):
        change = dict(state)
        key = next(key for key in change if name in key)
        tensor = change.pop(key)
        if name == "lora_A":
            change[key.replace("resnets", "attentions")] = tensor
        save_file(change, path)
        with pytest.raises(UserError, match=named):
            edits.open_edit(replace(edit, sha256=sha256(path)))
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"holds no adapters"):
        edits.open_edit(replace(edit, sha256=sha256(path)))


def test_codes_are_opened_by_their_setting(tmp_path, base):
    grids = {"mask-all-0": np.arange(8).reshape(2, 2, 2), "global-all-1": np.ones((2, 2, 2), int)}
    np.savez(tmp_path / "edited.npz", **grids)
    rows = [{"setting": f"{place}{name}", "path": tmp_path / "edited.npz"} for place in ("", "p/s/") for name in grids]
    common = {**COMMON, "seed": 0, "format": "codes", "base_path": base}
    common.pop("setting")
    edit_table.write(tmp_path / "edits.parquet", rows, **common)
    for edit in edits.read(tmp_path / "edits.parquet"):
        assert np.array_equal(edits.open_edit(edit), grids[edit.setting.removeprefix("p/s/")])
    with pytest.raises(UserError, match=r"no codes of the setting x; it has mask-all-0, global-all-1"):
        edits.open_edit(replace(edit, setting="x"))
    # A rule that paints edits no codes: its table is empty, and a table.
    edit_table.write(tmp_path / "none.parquet", [], **common)
    assert edits.read(tmp_path / "none.parquet") == []


def test_what_a_row_lists_must_be_there_unchanged_and_of_a_known_format(tmp_path, base):
    other = tmp_path / "x/unet" / diffusion.WEIGHTS
    diffusion.save(other, tiny(1), DDPMScheduler())
    (edit,) = edits.read(table := listed(tmp_path / "run", base, {"path": other, "format": "whole"}))
    for broken, named in (
        (
            replace(edit, format="pickle"),
            "format 'pickle' of the row is unknown; known: whole, delta, text_encoder, steering, lora, gated, "
            "published_unet, published_text_encoder, codes",
        ),
        (replace(edit, path=tmp_path / "gone"), "gone is missing"),
        (replace(edit, base_path=tmp_path / "gone"), "gone is missing"),
        (replace(edit, sha256="0" * 64), r"is not the file that the row of unpromptable lists \(sha256 000000000000"),
    ):
        with pytest.raises(UserError, match=named):
            edits.open_edit(broken)
    content = bytearray(other.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    with pytest.raises(UserError, match="is not the file that the row"):
        edits.open_edit(edit)
    with pytest.raises(ValueError, match="format is 'pickle'"):
        listed(tmp_path / "run", base, {"path": other, "format": "pickle"})
    frame = pd.read_parquet(table)
    frame.drop(columns=["sha256", "format"]).to_parquet(table)
    with pytest.raises(UserError, match="has no column format, sha256"):
        edits.read(table)
    table.write_bytes(b"no parquet")
    with pytest.raises(UserError, match="no readable table"):
        edits.read(table)


@pytest.mark.parametrize("kind", ["diffusion", "vqgan"])
def test_the_base_its_oracle_and_a_random_network_are_rows_too(tmp_path, base, kind):
    oracle = [tmp_path / "oracle/unet" / diffusion.WEIGHTS]
    diffusion.save(oracle[0], tiny(1), DDPMScheduler())
    if kind == "vqgan":
        base, oracle = tmp_path / "vqgan.safetensors", []
        torch.manual_seed(0)
        network = vqgan.VQGAN(vqgan.VQGANConfig(**VQGAN, num_res_blocks=1))
        weights.save(base, network, network.to_metadata())
    outputs = tmp_path / "networks/random", tmp_path / "networks/edits.parquet"
    list_networks(base, *outputs, family="instance", model="tiny", oracles=oracle, seed=4)
    found = {edit.method: edits.open_edit(edit).state_dict() for edit in edits.read(outputs[1])}
    assert list(found) == ["pretrained", *(["oracle"] if oracle else []), "random"]
    before, after = found["pretrained"], found["random"]
    assert all(torch.equal(before[name], tensor) for name, tensor in load_file(base).items())
    assert {name: each.shape for name, each in before.items()} == {name: each.shape for name, each in after.items()}
    assert not any(torch.equal(before[name], after[name]) for name in before if before[name].ndim == 4)
    again = tmp_path / "again", tmp_path / "again.parquet"
    list_networks(base, *again, family="instance", model="tiny", seed=4)
    (random,) = (edit for edit in edits.read(again[1]) if edit.method == "random")
    assert all(torch.equal(each, after[name]) for name, each in edits.open_edit(random).state_dict().items())
