"""Release a tuning with the repository: what it measured of every method, and a record of the runs behind it.

    python -m palimpsest.unlearning.release --tuning results/mini/erasure/tiny_sd/tuning \\
        --network resources/models/tiny_sd/unet/diffusion_pytorch_model.safetensors \\
        --released resources/tunings/erasure/tiny_sd

A workflow takes a method's file in place of its own tuning where it asks for the very same runs of the same network and
of what decodes it, by the same judges; the choice among the settings is made anew from it. Where a table says how much
a tuning measured, that is the same too.
"""

import shutil
from pathlib import Path

from palimpsest.run import Input, Output, UserError, read_record, record_path, sha256, step, write_json

# What turns an edited network's outputs into the pictures that are measured, in the folder of a model.
DECODERS = {"autoencoder": "vae/diffusion_pytorch_model.safetensors", "visual": "visual_tokenizer/model.safetensors"}
KEPT = ("versions", "commit", "lock", "seconds")
JUDGES = ("classifier", "detector", "judge", "judges")  # inputs of the step that measures
EDITED = ("weights", "models")  # the output of the step that edits, beside which its record lies


def release(tuning: Input, network: Input, released: Output) -> dict:
    """tuning: the folder of a study, with one for each method, whose measurements are copied."""
    edited = {path.parent: path for name in EDITED for path in tuning.glob(f"*/{name}")}
    sources = sorted(path for path in tuning.glob("*/measurements.parquet") if path.parent in edited)
    if not sources:
        raise UserError(f"{tuning} has no measurements of any method: give the folder of a tuning that was run")
    methods = {}
    released.mkdir()
    for source in sources:
        made = read_record(edited[source.parent])
        shutil.copyfile(source, released / f"{source.parent.name}.parquet")
        measured = read_record(source) if record_path(source).exists() else made
        sizes = measured["arguments"].get("params", {})
        about = {"runs": made["arguments"]["plan"]["runs"], "sizes": sizes, "judges": judges_of(measured["inputs"])}
        about["sha256"] = sha256(source)
        methods[source.parent.name] = about | {key: made[key] for key in KEPT}
    places = {name: network.parent.parent / place for name, place in DECODERS.items()}
    weights = {"network": network, **{name: place for name, place in places.items() if place.exists()}}
    shown = {name: sha256(place) for name, place in weights.items()}
    write_json(released / "record.json", {**shown, "methods": methods})
    return {"methods": len(methods)}


def judges_of(inputs: dict) -> list[str]:
    """The sha256 of each network that judges, by the inputs of a step's record, in order."""
    given = [inputs[name] for name in JUDGES if inputs.get(name)]
    files = [path for each in given for path in (each if isinstance(each, list) else [each])]
    return sorted({sha256(Path(path)) for path in files})


if __name__ == "__main__":
    step(release)
