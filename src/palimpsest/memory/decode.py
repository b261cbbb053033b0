"""Seek other latents of a picture in the decoder, from those of others: the source's sequential inversion block.

No diffusion model is asked, so one run serves every edit. Of each query: its own latents (own), latents sought from
each support's (distant), and its own with as much white noise as brings their picture to the same PSNR (adjacent): what
any cloud of that size looks like. reencoded: the distant ones decoded to 8 bits and encoded again, as the release
inverts them by default. Written too, once for all audits: the latents of every picture, and what these decode to.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.memory.decoder_inversion import Decode, decibels, decoder_of, invert_decoder, reencoded
from palimpsest.metrics.intervals import bootstrap
from palimpsest.metrics.measurements import row, write
from palimpsest.models import autoencoder, text_diffusion
from palimpsest.models.forward_process import drawn_noise
from palimpsest.models.pixels import to_tensor, to_unit
from palimpsest.options import Amount, Count, Positive
from palimpsest.run import Input, Output, UserError, step, torch_device

LEAST, MOST, HALVINGS = 1e-4, 4.0, 14  # scales of the noise between which the adjacent ones' is sought, to 0.01 dB


def decode(
    network: Input,
    pictures: Input,
    manifest: Input,
    latents: Output,
    rows: Output,
    encoded: Output,
    plain: Output,
    measurements: Output,
    *,
    model: str,
    queries: Positive,
    supports: Positive,
    steps: Positive,
    learning_rate: Amount,
    patience: Count,
    gain: float,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """latents: (n, c, h, w) float32; rows: of each, concept, query (its picture in the set concept), support, kind,
    psnr of what it decodes to against the query, and steps taken. Supports are real pictures without the concept,
    others for each query. encoded: float32, of every row of the manifest; plain: (n, H, W, 3) uint8, of these.
    """
    base, table = text_diffusion.open_model(network, torch_device(device)), pd.read_parquet(manifest)
    arrays, place, found, lines = np.load(pictures), base.alphas_cumprod.device, [], []
    read, every = decoder_of(base.vae), autoencoder.encode(base.vae, arrays)[0].numpy()
    np.save(encoded, every)
    np.save(plain, autoencoder.decode(base.vae, torch.from_numpy(every)))
    for name, group in table.groupby("concept", sort=False):
        wanted, starts = (group.index[group["set"] == kind].to_numpy() for kind in ("concept", "real"))
        if len(wanted) < queries or len(starts) < supports:
            raise UserError(
                f"concept {name}: {queries} queries and {supports} supports are asked for, there are {len(wanted)} and "
                f"{len(starts)} pictures. Lower memory.images, or raise memory.counts.pictures"
            )
        # Supports in turn, so that queries share none until they must.
        pairs = [(q, int(starts[(q * supports + s) % len(starts)])) for q in range(queries) for s in range(supports)]
        asked = np.array([wanted[query] for query, _ in pairs])
        targets = to_unit(to_tensor(arrays[wanted[:queries]])).to(place)
        own, distant = (
            invert_decoder(
                read,
                aims,
                torch.from_numpy(every[begun]).to(place),
                learning_rate=learning_rate,
                steps=steps,
                patience=patience,
                gain=gain,
                batch=autoencoder.at_once(arrays.shape[1], gradient=True),
            )
            for aims, begun in (
                (targets, wanted[:queries]),
                (to_unit(to_tensor(arrays[asked])).to(place), np.array([support for _, support in pairs])),
            )
        )
        of_pair = torch.tensor([query for query, _ in pairs], device=place)
        aims = targets[of_pair]
        near, near_psnr = adjacent(read, own.latents[of_pair], aims, distant.psnr, seed)
        again = reencoded(base.vae, distant.latents).to(place)
        again_psnr = quality(read, again, aims)
        parts = {
            "own": (own.latents, own.psnr, own.steps),
            "distant": (distant.latents, distant.psnr, distant.steps),
            "adjacent": (near, near_psnr, None),
            "reencoded": (again, again_psnr, None),
        }
        for kind, (values, psnr, taken) in parts.items():
            found.append(values.cpu().numpy())
            used = [(query, -1) for query in range(queries)] if kind == "own" else pairs
            lines.append(
                pd.DataFrame(used, columns=["query", "support"]).assign(
                    concept=name, kind=kind, psnr=psnr.cpu().numpy(), steps=0 if taken is None else taken.numpy()
                )
            )
    np.save(latents, np.concatenate(found).astype(np.float32))
    whole = pd.concat(lines, ignore_index=True)
    whole.to_parquet(rows, index=False)
    write(measurements, measured(whole), family="memory", model=model)
    return {"latents": len(whole)}


def measured(rows: pd.DataFrame) -> list[dict]:
    """PSNR and steps of each kind and concept; intervals over queries, whose rows go together."""
    lines = []
    for (concept, kind), group in rows.groupby(["concept", "kind"], sort=False):
        by_query = group.groupby("query")["psnr"].mean().to_numpy()
        labels = {"concept": concept, "kind": kind, "n": len(by_query)}
        lines.append(row("decoded_psnr", by_query.mean(), *bootstrap(by_query), **labels))
        if kind in ("own", "distant"):
            lines.append(row("decoded_steps", group["steps"].mean(), **labels))
    return lines


@torch.no_grad()
def quality(read: Decode, latents: Tensor, targets: Tensor) -> Tensor:
    """PSNR (n,) of what latents (n, c, h, w) decode to, against targets (n, 3, H, W) in [0, 1]."""
    batch = autoencoder.at_once(targets.shape[-1])
    parts = zip(latents.split(batch), targets.split(batch), strict=True)
    return decibels(torch.cat([(read(some) - aims).square().flatten(1).mean(1) for some, aims in parts]))


def adjacent(read: Decode, latents: Tensor, targets: Tensor, wanted: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Latents (n, c, h, w) with white noise, so much that they decode at a PSNR (n,) to the targets; and that PSNR.

    By bisection of the noise's scale; where the latents themselves are not as good, with next to no noise.
    """
    noise = drawn_noise(seed, np.arange(len(latents)), tuple(latents.shape[1:])).to(latents)
    low, high = (latents.new_full((len(latents), 1, 1, 1), each) for each in (LEAST, MOST))
    for _ in range(HALVINGS):
        middle = (low * high).sqrt()
        good = (quality(read, latents + middle * noise, targets) > wanted.to(latents)).view(-1, 1, 1, 1)
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    found = latents + low * noise
    return found, quality(read, found, targets)


if __name__ == "__main__":
    step(decode)
