"""What a replaced code changes (locality, injection) and how random the encoder is: geometry, floors, expectations."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from palimpsest.judges.networks import EmblemDetector
from palimpsest.lcr import encoder_noise as noise
from palimpsest.lcr import injection as inject
from palimpsest.lcr import locality as reach
from palimpsest.metrics.measurements import read, select
from palimpsest.models import weights
from palimpsest.models.pixels import to_tensor
from palimpsest.models.vqgan import VQGAN, VQGANConfig
from palimpsest.run import UserError, step

CODES = 32


def tiny(quantiser="gumbel", seed=0) -> VQGAN:
    torch.manual_seed(seed)
    config = VQGANConfig(quantiser, CODES, 32, 64, 32, 32, (1, 1), 1, (), 2)
    return VQGAN(config).eval().requires_grad_(False)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def random_grids(rng, n=6, side=16):
    return rng.integers(0, CODES, (n, side, side))


def changes_of(vqgan, grids, edits, batch=8):
    """The absolute changes (n, sites, 3, H, W) by (decoder, block), all images together."""
    found = {}
    for decoder, block, _, change in reach.decoded_changes(vqgan, grids, edits, batch):
        found.setdefault((decoder, block), []).append(change)
    return {key: np.concatenate(parts) for key, parts in found.items()}


def test_edits_touch_their_block_alone_and_always_change_it(rng):
    grids = random_grids(rng, side=6)
    grids[1] = grids[0]
    grids[1, 2, 3] = (grids[0, 2, 3] + 1) % CODES  # image 0 differs from its donor in one cell
    for block in (1, 3):
        edited, corners = reach.edit_blocks(grids, block, 4, rng)
        for image in range(len(grids)):
            for site, (top, left) in enumerate(corners[image]):
                inside = np.zeros((6, 6), bool)
                inside[top : top + block, left : left + block] = True
                donor = grids[(image + 1) % len(grids)]
                np.testing.assert_array_equal(edited[image, site], np.where(inside, donor, grids[image]))
                assert (edited[image, site] != grids[image]).any()


def test_duplicate_images_are_named(rng):
    grids = random_grids(rng)
    grids[3] = grids[2]
    with pytest.raises(UserError, match="images 2 and 3 have the same codes"):
        reach.edit_blocks(grids, 1, 2, rng)


def test_distance_is_the_chessboard_distance_to_the_nearest_pixel_of_the_block(rng):
    corners = np.array([[0, 2], [1, 1]])
    found = reach.distances(corners, block=2, cell=3, size=(12, 15))
    for (top, left), distance in zip(corners * 3, found, strict=True):
        for y, x in rng.integers(0, 12, (40, 2)):
            expected = min(max(abs(y - r), abs(x - c)) for r in range(top, top + 6) for c in range(left, left + 6))
            assert distance[y, x] == expected


def test_sums_by_distance(rng):
    distance = rng.integers(0, 5, (2, 3, 5, 5))
    values = rng.random((2, 3, 5, 5))
    found, pixels = reach.by_distance(values, distance), reach.by_distance(None, distance)
    for image in range(2):
        for r in range(5):
            assert found[image, r] == pytest.approx(values[image][distance[image] == r].sum())
            assert pixels[image, r] == (distance[image] == r).sum()


def test_a_change_spread_evenly_has_the_share_beyond_the_reach_that_its_pixels_have(rng):
    vqgan, corners = tiny(), rng.integers(0, 16, (3, 4, 2))
    distance = reach.distances(corners, 1, 4, (64, 64))
    evenly, pixels = reach.by_distance(np.ones(distance.shape), distance), reach.by_distance(None, distance)
    share = reach.reach_row(vqgan, pixels)["value"]
    assert share == pytest.approx((distance > reach.receptive_field(vqgan)).mean()) and 0 < share < 1
    rows = {row["metric"]: row["value"] for row in reach.energy_rows(vqgan, evenly, seed=0)}
    assert rows["energy_beyond_receptive_field"] == pytest.approx(share)


def test_half_energy_radius_interpolates():
    assert reach.half_energy_radius(np.array([0.6, 1.0])) == 0
    assert reach.half_energy_radius(np.array([0.1, 0.3, 0.7, 1.0])) == pytest.approx(1.5)


class Enlarge(nn.Module):
    """A decoder without any context: each cell paints its own pixels."""

    def forward(self, latents):
        return latents[:, :12].repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_an_identity_decoder_changes_nothing_outside_the_block(rng):
    vqgan = tiny()
    vqgan.decoder, vqgan.post_quant_conv = Enlarge(), nn.Identity()
    grids = random_grids(rng)
    edited, corners = reach.edit_blocks(grids, 3, 2, rng)
    for (decoder, block), change in changes_of(vqgan, grids, {3: (edited, corners)}).items():
        distance = reach.distances(corners, block, vqgan.config.downsampling, change.shape[-2:])
        absolute, squared, pixels = (
            reach.by_distance(part, distance) for part in (change.mean(2), np.square(change).mean(2), None)
        )
        table = reach.curve_table(absolute, pixels, seed=0).set_index("r_pixels")
        assert table.loc[0, "change"] > 1
        assert (table.loc[1:, ["change", "low", "high"]] == 0).all(axis=None)
        rows = {(row["metric"], row.get("unit")): row["value"] for row in reach.energy_rows(vqgan, squared, seed=0)}
        assert rows["half_energy_radius", "cells"] == 0
        assert rows["energy_within_block", None] == 1
        assert decoder in ("real", "no_attention", "frozen_norm", "local")


def test_convolutions_alone_stay_in_the_receptive_field(rng):
    """On a grid large enough to have an outside: no change beyond the analytic reach, and some at it; the real
    decoder's change goes everywhere."""
    vqgan = tiny()
    field = reach.receptive_field(vqgan)
    # In cells: conv_in 1, middle 2 + 2, upper level 2 + 2; at half a cell: upsampling 1, lower level 2 + 2, conv_out 1.
    assert field == 4 * 9 + 2 * 6
    side = 2 * field // 4 + 7
    grids = random_grids(rng, 2, side)
    edited = np.repeat(grids[:, None], 1, 1)
    corner = np.full((2, 1, 2), side // 2)
    edited[:, 0, side // 2, side // 2] = (grids[:, side // 2, side // 2] + 1) % CODES
    found = changes_of(vqgan.double(), grids, {1: (edited, corner)})
    distance = reach.distances(corner, 1, 4, (side * 4, side * 4))
    outside = {name: change.max(2)[distance > field].max() for (name, _), change in found.items()}
    edge = found["local", 1].max(2)[(distance > field - 2) & (distance <= field)].max()
    assert outside["local"] < 1e-9 < edge
    assert min(outside["real"], outside["frozen_norm"], outside["no_attention"]) > 1e-6


def test_frozen_statistics_of_the_same_codes_change_nothing(rng):
    vqgan, codes = tiny(), torch.from_numpy(random_grids(rng))
    with torch.inference_mode():
        plain = vqgan.decode_codes(codes)
        with reach.recorded_norms(vqgan.decoder) as statistics:
            vqgan.decode_codes(codes)
        with reach.frozen_norms(vqgan.decoder, statistics, 1):
            frozen = vqgan.decode_codes(codes)
        assert (frozen - plain).abs().max() < 1e-5
        with reach.frozen_norms(vqgan.decoder, statistics, 1):
            assert (vqgan.decode_codes(codes.flip(0)) - plain.flip(0)).abs().max() > 1e-3
        with reach.without_attention(vqgan.decoder):
            assert (vqgan.decode_codes(codes) - plain).abs().max() > 1e-4
        assert torch.equal(vqgan.decode_codes(codes), plain)  # every hook is gone


def test_without_attention_is_a_zeroed_output_projection(rng):
    vqgan, codes = tiny(), torch.from_numpy(random_grids(rng))
    with torch.inference_mode():
        with reach.without_attention(vqgan.decoder):
            skipped = vqgan.decode_codes(codes)
        for parameter in vqgan.decoder.mid.attn_1.proj_out.parameters():
            parameter.zero_()
        assert torch.equal(vqgan.decode_codes(codes), skipped)


def saved(folder, quantiser="gumbel"):
    vqgan = tiny(quantiser)
    weights.save(folder / "model.safetensors", vqgan, vqgan.to_metadata())
    return vqgan


def test_locality_step(tmp_path, rng):
    saved(tmp_path)
    np.save(tmp_path / "safe_test.npy", random_grids(rng).astype(np.uint16))
    params = {"images": 4, "sites": 2, "blocks": [1, 3], "batch": 4}

    def run(name, **changes):
        paths = [tmp_path / f"{name}_curves.parquet", tmp_path / f"{name}.parquet"]
        step(
            reach.locality,
            [
                f"--network={tmp_path / 'model.safetensors'}",
                f"--codes={tmp_path / 'safe_test.npy'}",
                f"--curves={paths[0]}",
                f"--measurements={paths[1]}",
                "--model=tiny",
                "--preset=corrected",
                f"--params={json.dumps({**params, **changes})}",
            ],
        )
        return paths

    curves, measured = run("a")
    table, curve = read([measured]), pd.read_parquet(curves)
    assert set(table["set"]) == {"safe_test"}
    assert select(table, metric="zero_edit_change", baseline="repeat")["value"].item() == 0
    assert select(table, metric="zero_edit_change", baseline="batch")["value"].item() < 0.05
    assert len(select(table, metric="half_energy_radius", unit="cells")) == 8
    assert (curve["low"] <= curve["change"] + 1e-9).all()
    assert (curve["change"] <= curve["high"] + 1e-9).all()
    near = curve.query("decoder == 'real' and block == 3").set_index("r_pixels")["change"]
    assert near[0] > 3 * near[30]
    assert [path.read_bytes() for path in run("b")] == [curves.read_bytes(), measured.read_bytes()]
    # How many images go at once is no part of the result.
    other = pd.read_parquet(run("c", batch=8)[0])
    np.testing.assert_allclose(other["change"], curve["change"], atol=1e-3)


def test_draws_agree_as_expected():
    """Two draws agree with chance sum p^2, a draw and the argmax with chance max p; here for known logits."""
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))[None, :, None, None].expand(8, 4, 20, 20)
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([noise.gumbel_draw(logits, generator) for _ in range(8)], 1)
    expected = 0.5**2 + 0.3**2 + 0.15**2 + 0.05**2
    assert noise.pair_agreement(codes).mean() == pytest.approx(expected, abs=0.01)
    assert (codes == 0).double().mean() == pytest.approx(0.5, abs=0.015)
    assert (codes == 3).double().mean() == pytest.approx(0.05, abs=0.01)


def test_pair_agreement_counts_pairs():
    codes = torch.tensor([1, 1, 2, 1]).reshape(1, 4, 1, 1)
    assert noise.pair_agreement(codes).item() == 0.5


def noise_table(folder, rng, name="a", draws=6):
    images = rng.integers(0, 256, (6, 64, 64, 3), np.uint8)
    np.save(folder / "images.npy", images)
    paths = [folder / f"{name}_cells.parquet", folder / f"{name}.parquet"]
    step(
        noise.encoder_noise,
        [
            f"--network={folder / 'model.safetensors'}",
            f"--images={folder / 'images.npy'}",
            f"--cells={paths[0]}",
            f"--measurements={paths[1]}",
            "--model=tiny",
            "--preset=corrected",
            "--set=forget_test",
            f"--params={json.dumps({'images': 6, 'draws': draws, 'batch': 4})}",
        ],
    )
    return images, paths


def test_gumbel_encoder_noise(tmp_path, rng):
    vqgan = saved(tmp_path)
    vqgan.quantize.proj.weight.mul_(8)  # from undecided to mixed cells
    weights.save(tmp_path / "model.safetensors", vqgan, vqgan.to_metadata())
    images, (cells, measured) = noise_table(tmp_path, rng)
    table, histogram = read([measured]), pd.read_parquet(cells)
    with torch.inference_mode():
        chance = vqgan.encode_logits(to_tensor(images)).double().softmax(1)
    entropy = -(chance * chance.log2()).sum(1)
    assert 0.5 < entropy.mean() < np.log2(CODES) - 0.1

    def value(**labels):
        return select(table, **labels)["value"].item()

    assert value(metric="cell_entropy_bits", statistic="mean") == pytest.approx(entropy.mean().item(), rel=1e-4)
    assert value(metric="cell_entropy_bits", statistic="q90") == pytest.approx(np.quantile(entropy, 0.9), rel=1e-4)
    for metric, expected in (("draw_agreement", chance.square().sum(1)), ("argmax_agreement", chance.amax(1))):
        assert value(metric=metric, kind="expected") == pytest.approx(expected.mean().item(), rel=1e-4)
        assert value(metric=metric, kind="measured") == pytest.approx(expected.mean().item(), abs=0.03)
    assert value(metric="psnr_draw_spread") > 0
    assert value(metric="psnr_draw_loss") == pytest.approx(
        value(metric="psnr_argmax") - value(metric="psnr_draw"), abs=1e-6
    )
    assert histogram["cells"].sum() == entropy.numel()
    again = noise_table(tmp_path, np.random.default_rng(3), "b")[1]
    assert [path.read_bytes() for path in again] == [cells.read_bytes(), measured.read_bytes()]


def test_nearest_encoder_has_no_noise(tmp_path, rng):
    vqgan = saved(tmp_path, "nearest")
    images, (cells, measured) = noise_table(tmp_path, rng)
    table = read([measured])
    for metric in ("draw_agreement", "argmax_agreement"):
        assert select(table, metric=metric)["value"].item() == 1
    assert not set(table["metric"]) & {"cell_entropy_bits", "psnr_draw", "psnr_draw_spread"}
    with torch.inference_mode():
        z = vqgan.latents(to_tensor(images)).permute(0, 2, 3, 1).flatten(0, 2)
    nearest = torch.cdist(z, vqgan.codebook).sort(1).values
    margin = 1 - nearest[:, 0] / nearest[:, 1]
    assert select(table, metric="code_margin", statistic="mean")["value"].item() == pytest.approx(
        margin.mean().item(), rel=1e-3
    )
    assert pd.read_parquet(cells)["cells"].sum() == len(margin)


def injected(folder, rng, quantiser="gumbel", same=False):
    """Run the step on random grids; returns grids, masks, the table and the panel."""
    saved(folder, quantiser)
    detector = EmblemDetector(4)
    weights.save(folder / "detector.safetensors", detector, {"kind": "detector", "width": 4, "depth": 2})
    forget, safe = (random_grids(rng, 5).astype(np.uint16) for _ in range(2))
    masks = np.zeros(forget.shape, bool)
    masks[:, 5:9, 6:10] = True
    masks[2] = False  # no detection: the pair is left out
    if same:
        forget[masks] = safe[masks]
    for name, value in (("forget", forget), ("safe", safe), ("masks", masks)):
        np.save(folder / f"{name}.npy", value)
    step(
        inject.injection,
        [
            f"--network={folder / 'model.safetensors'}",
            f"--forget-codes={folder / 'forget.npy'}",
            f"--forget-masks={folder / 'masks.npy'}",
            f"--safe-test-codes={folder / 'safe.npy'}",
            f"--detector={folder / 'detector.safetensors'}",
            f"--measurements={folder / 'measured.parquet'}",
            f"--panel={folder / 'panel.npz'}",
            "--model=tiny",
            "--preset=corrected",
            "--threshold=0.5",
            f"--params={json.dumps({'images': 8, 'batch': 3, 'panel': 2})}",
        ],
    )
    with np.load(folder / "panel.npz") as panel:
        return forget, safe, masks, read([folder / "measured.parquet"]), dict(panel)


def test_injection_measures_what_it_says(tmp_path, rng):
    forget, safe, masks, table, panel = injected(tmp_path, rng)
    vqgan, kept = tiny(), [0, 1, 3, 4]
    mixed = np.where(masks, forget, safe)[kept].astype(np.int64)
    plain = safe[kept].astype(np.int64)
    with torch.inference_mode():
        pictures = [vqgan.decode_codes(torch.from_numpy(part)).clamp(-1, 1) for part in (plain, mixed)]
        again = [vqgan.encode(part).numpy() for part in pictures]
    inside, book = masks[kept], vqgan.codebook.numpy()
    agreement = select(table, metric="cycle_agreement").set_index(["edit", "where"])["value"]
    assert agreement["none", "inside"] == pytest.approx((again[0] == plain)[inside].mean())
    assert agreement["injected", "outside"] == pytest.approx((again[1] == mixed)[~inside].mean())
    assert agreement["none", "all"] == pytest.approx((again[0] == plain).mean())
    for labels, (first, second) in {
        ("against", "codes"): (again[1], plain),
        ("against", "cycle"): (again[1], again[0]),
        ("baseline", "cycle"): (again[0], plain),
    }.items():
        moved = np.linalg.norm(book[first] - book[second], axis=-1)
        found = select(table, metric="injection_ratio", **dict([labels]))
        assert found["value"].item() == pytest.approx(moved[inside].mean() / moved[~inside].mean(), rel=1e-5)
        assert found["n"].item() == 4
    assert len(select(table, metric="injection_ratio", baseline="draws")) == 1
    # Rows 5 to 8 and columns 6 to 9 of 16 are injected; two cells around them are near.
    around = np.zeros_like(inside)
    around[:, 3:11, 4:12] = True
    for name, part in {"outside": ~inside, "near": around & ~inside, "far": ~around}.items():
        found = select(table, metric=f"codes_changed_{name}")["value"].item()
        assert found == pytest.approx((again[1] != again[0])[part].mean())
    region = inside.repeat(4, 1).repeat(4, 2)
    change = (pictures[1] - pictures[0]).numpy() * 127.5
    outside = select(table, metric="pixel_change", where="outside")["value"].item()
    assert outside == pytest.approx(np.abs(change).mean(1)[~region].mean(), rel=1e-4)
    errors = [np.square(change[i]).mean(0)[~region[i]].mean() for i in range(4)]
    psnr = select(table, metric="leak_outside_psnr")["value"].item()
    assert psnr == pytest.approx(np.mean(10 * np.log10(255**2 / np.array(errors))), abs=0.01)
    assert set(select(table, metric="injected_detection_rate")["image"]) == {
        "reconstruction",
        "injected",
        "forget_reconstruction",
    }
    assert {name: value.shape for name, value in panel.items()} == {
        "donor": (2, 64, 64, 3),
        "reconstruction": (2, 64, 64, 3),
        "injected": (2, 64, 64, 3),
        "pixel_change": (2, 64, 64),
        "latent_change": (2, 16, 16),
        "mask": (2, 16, 16),
    }
    np.testing.assert_array_equal(panel["mask"], inside[:2])
    with torch.inference_mode():
        donors = vqgan.decode_codes(torch.from_numpy(forget[kept][:2].astype(np.int64))).clamp(-1, 1)
    np.testing.assert_allclose(panel["donor"] / 127.5 - 1, donors.permute(0, 2, 3, 1), atol=0.01)


def test_injecting_the_same_codes_changes_nothing(tmp_path, rng):
    *_, table, panel = injected(tmp_path, rng, "nearest", same=True)
    assert (select(table, metric="pixel_change")["value"] == 0).all()
    assert (select(table, metric="latent_change", against="cycle")["value"] == 0).all()
    assert select(table, metric="leak_outside_psnr")["value"].item() > 70
    assert select(table, metric="injected_detection_p")["value"].item() == 1
    assert len(select(table, metric="injection_ratio", baseline="draws")) == 0  # a nearest encoder draws nothing
    assert not panel["pixel_change"].any()


def test_detection_follows_the_concept():
    """A detector of one colour finds it in the pictures that have it, and only there."""

    class Bright:
        def __call__(self, images):
            return (images.mean(1) - 0.5) * 100, torch.zeros(len(images), 4, *images.shape[2:])

        def centres(self, height, width):
            return torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    dark = torch.full((10, 3, 8, 8), -1.0)
    marked = dark.clone()
    marked[:7, :, 2, 3] = 1
    rows = inject.detection_rows(Bright(), {"reconstruction": dark, "injected": marked}, 0.5)
    rates = {row["image"]: row["value"] for row in rows if row["metric"] == "injected_detection_rate"}
    assert rates == {"reconstruction": 0, "injected": 0.7}
    assert rows[-1]["value"] == pytest.approx(2 / 2**7)
