"""Attack the edited models of a study, and the networks that they are compared with, and judge what comes back.

The attacks on the words other than these, synonyms and other orders of words, are among the prompts of `reference`.
"""

from collections import defaultdict

import numpy as np
import pandas as pd
import torch

from palimpsest.erasure import attacks
from palimpsest.erasure.concepts import ALL, Concept
from palimpsest.erasure.judging import Readers
from palimpsest.metrics.intervals import wilson
from palimpsest.metrics.measurements import row, write
from palimpsest.models import autoencoder, text_diffusion
from palimpsest.models import edits as edited
from palimpsest.models.text_diffusion import TextDiffusion, noise_of
from palimpsest.options import Count
from palimpsest.run import Input, Output, step, torch_device


def attack(
    network: Input,
    edits: Input,
    latents: Input,
    prompts: Input,
    classifier: Input,
    detector: Input,
    measurements: Output,
    *,
    model: str,
    study: str,
    concepts: dict,
    attacked: list[str],
    sampling: dict,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """measurements: `recovered`, the share of pictures that show the concept again, by attack.

    latents, prompts: what the base drew, as `draw` writes them: the attacker has pictures of the concept. attacked: the
    concepts; a row of edits that names none is attacked on all of them. params: `pictures`, `words`, `points`,
    `strength`, and `inversion` (steps, rate, batch).
    """
    place, table = torch_device(device), pd.read_parquet(prompts)
    base, readers = text_diffusion.open_model(network, place), Readers(classifier, detector)
    found: dict[tuple, list[np.ndarray]] = defaultdict(list)
    with np.load(latents) as drawn:
        for edit in edited.read(edits):
            changed = base.with_network(edited.open_edit(edit, place))
            for name in [edit.target] if edit.target in attacked else [] if edit.target else attacked:
                concept = Concept(name, **concepts[name])
                texts = {
                    role: list(part["prompt"])[: params["pictures"]]
                    for role, part in table[table["concept"] == name].groupby("role")
                }
                clean = torch.from_numpy(drawn[f"{name}.concept"][: params["pictures"]]).to(place)
                for kind, lats in every_attack(changed, clean, texts, concept, sampling, params, seed).items():
                    pictures = autoencoder.decode(base.vae, lats)
                    shows = concept.shown(readers.factors(pictures), readers.emblems(pictures))
                    for label in (name, ALL):
                        found[edit.method, label, edit.setting, edit.seed, kind].append(shows)
    rows = []
    for labels, parts in found.items():
        shows = np.concatenate(parts)
        names = dict(zip(("method", "concept", "setting", "seed", "attack"), labels, strict=True))
        share = wilson(int(shows.sum()), len(shows))
        rows.append(row("recovered", shows.mean(), *share, n=len(shows), **names))
    write(measurements, rows, family="erasure", model=model, study=study)
    return {"attacks": len(rows)}


def every_attack(
    model: TextDiffusion, clean: torch.Tensor, texts: dict, concept: Concept, sampling: dict, params: dict, seed: int
) -> dict[str, torch.Tensor]:
    """Latents that each attack draws, by its name."""
    named, bare = model.ids(texts["concept"]), model.ids(texts["anchor"])
    noise = noise_of(model, 2_000_000 + np.arange(len(clean)), seed).to(clean.device)
    word = attacks.inverted_word(model, clean, bare, **params["inversion"], seed=seed)
    candidates = candidates_of(model, concept.naming)
    found = attacks.searched_words(
        model, clean, named, candidates, words=params["words"], points=params["points"], seed=seed
    )
    draw = {"steps": sampling["steps"], "guidance": sampling["guidance"]}
    embed = model.network.embed
    return {
        "none": attacks.denoised(model, noise, embed(named), **draw),
        "searched": attacks.denoised(model, noise, embed(attacks.before(named, found)), **draw),
        "inverted": attacks.denoised(model, noise, attacks.with_word(model, bare, word), **draw),
        "noised": attacks.noised(model, clean, noise, named, **draw, strength=params["strength"]),
        "completed": attacks.completed(model, clean, noise, named, **draw),
    }


def candidates_of(model: TextDiffusion, forbidden: set[str]) -> torch.Tensor:
    """Token ids (k,) of whole words that do not name the concept."""
    ending = "</w>"
    words = {
        number
        for token, number in model.tokenizer.get_vocab().items()
        if token.endswith(ending) and len(token) > len(ending) + 1 and token.removesuffix(ending) not in forbidden
    }
    return torch.tensor(sorted(words), device=model.alphas_cumprod.device)


if __name__ == "__main__":
    step(attack)
