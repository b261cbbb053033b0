"""Release a trained base model with the repository: its weights, and a record of what made it.

    python -m palimpsest.models.release --network results/mini/models/tiny_vq.safetensors \\
        --data results/mini/data/train_a/images.npy --released resources/models/tiny_vq.safetensors \\
        --record resources/models/tiny_vq.json

With `--start` the record of the stage that the training started from, where that was released too, is kept in this one,
with `--autoencoder` that of a latent model's autoencoder, with `--visual` that of a next-scale one's visual tokenizer.
The record holds the recipe (parameters, seed), the training data (recipe and hash), the code's fingerprint, and the
measured quality. A test compares it with the configuration.
"""

import json
import shutil

from palimpsest.run import Input, Output, read_record, sha256, step, write_json

KEPT = ("step", "seed", "versions", "code", "seconds", "peak_memory_mb")


def release(
    network: Input,
    data: Input,
    released: Output,
    record: Output,
    *,
    start: Input | None = None,
    autoencoder: Input | None = None,
    visual: Input | None = None,
) -> None:
    """Copy a trained network, and write its record beside it."""
    made, drawn = read_record(network), read_record(data)
    if (network.parent / "config.json").exists():  # a diffusion model: its folder, without the training's record
        shutil.copytree(
            network.parent.parent,
            released.parent.parent,
            ignore=shutil.ignore_patterns("*.record.json", ".partial-*", ".unfinished-*"),
            dirs_exist_ok=True,
        )
    shutil.copyfile(network, released)
    write_json(
        record,
        {
            **{key: made[key] for key in KEPT},
            "params": made["arguments"]["params"],
            "data": {**drawn["arguments"], "sha256": sha256(data)},
            "sha256": sha256(network),
            **made["result"],
            **{
                name: json.loads(path.read_text(encoding="utf-8"))
                for name, path in {"start": start, "autoencoder": autoencoder, "visual": visual}.items()
                if path
            },
        },
    )


if __name__ == "__main__":
    step(release)
