"""What others published: where it lies, what its rows say, and what may not be used."""

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from palimpsest.errors import UserError
from palimpsest.plan.base import Plan, arguments, as_json
from palimpsest.plan.code import files_of
from palimpsest.plan.folders import listing

# Layout of a checkpoint to the module that reads it strictly, and its files by argument and the pattern of their names.
# The hash is that of the last one, which holds the weights; of a folder (FOLDERS), those of all files.
LAYOUTS = {
    "taming": ("palimpsest.models.checkpoints", {"config": "model.yaml", "checkpoint": "last.ckpt"}),
    "diffusion": ("palimpsest.models.convert_diffusion", {"weights": "*diffusion_pytorch_model.*"}),
    "clip": ("palimpsest.models.convert_clip", {"config": "config.json", "checkpoint": "*.safetensors"}),
    "torchscript": ("palimpsest.models.take_file", {"file": "*"}),
    "state_dict": ("palimpsest.models.take_file", {"file": "*"}),
    "onnx": ("palimpsest.models.take_file", {"file": "*"}),
    "pipeline": ("palimpsest.models.check_pipeline", {"index": "model_index.json"}),
    "text_diffusion": ("palimpsest.models.convert_text_diffusion", {"index": "model_index.json"}),
    "transformers": ("palimpsest.models.check_folder", {"config": "config.json"}),
    # var_d16.pth, infinity_2b_reg.pth, infinity_125M_256x256.pth; the tokenizers beside them are not of that pattern.
    "next_scale": ("palimpsest.models.convert_next_scale", {"transformer": "*[ry]_[d0-9]*.pth", "visual": "*vae*.pth"}),
}
FOLDERS = ("pipeline", "text_diffusion", "transformers", "next_scale")  # of several files, each with a hash of its own


def stated(row: dict, *keys: str) -> str:
    """What a row of the catalogue says under some keys, as arguments; a key that is not there gives none."""
    return arguments({key: row[key] for key in keys if row.get(key)})


class Sources(Plan):
    """Published checkpoints and collections of pictures, or what stands for them in a rehearsal."""

    def rehearsed(self) -> str:
        """The folder of what a rehearsal writes instead."""
        return f"results/{self.config['experiment']}/imitations"

    def folder_of(self, catalogue: str, name: str) -> str:
        """Where the files of a row lie, as they were published."""
        return f"{self.rehearsed() if self.is_rehearsal() else 'resources'}/{catalogue}/{name}"

    def hash_of(self, catalogue: str, name: str, file: str) -> str:
        """The hash that a file has to have; none where its row states none, which the step refuses."""
        return self.setting(catalogue, name, "files", file).get("sha256", "")

    def licence_of(self, catalogue: str, name: str) -> dict:
        """What is to be known of a row before anything of it is fetched."""
        told = ("source", "revision", "licence", "page", "explicit", "consent")
        return {key: value for key, value in self.setting(catalogue, name).items() if key in told}

    # Published networks

    def published(self, weights: str) -> str:
        """The row of checkpoints behind a converted file."""
        return self.setting("networks", self.made_by("published")[weights], "published")

    def layout_of(self, weights: str) -> tuple[str, dict[str, str]]:
        """The module that reads the files behind a converted one, and those files by argument."""
        return LAYOUTS[self.setting("checkpoints", self.published(weights), "layout")]

    def converter_inputs(self, wildcards) -> dict[str, Any]:
        """What has to be there before a published network is read: its files, or the folder of its imitation."""
        name = self.published(wildcards.weights)
        folder = self.folder_of("checkpoints", name)
        files = [f"{folder}/{file}" for file in self.setting("checkpoints", name, "files")]
        return {
            "code": files_of(self.layout_of(wildcards.weights)[0]),
            "files": folder if self.is_rehearsal() else files,
        }

    def as_published(self, weights: str) -> str:
        """A published network as arguments: its files by role, its hash, where it is from."""
        name, (_, roles) = self.published(weights), self.layout_of(weights)
        row, folder = self.setting("checkpoints", name), self.folder_of("checkpoints", name)
        files = {role: next(file for file in row["files"] if fnmatch(file, pattern)) for role, pattern in roles.items()}
        given = {role: f"{folder}/{file}" for role, file in files.items()}
        # A file that this run wrote has no hash to compare with.
        hashes = {
            file: "random" if self.is_rehearsal() else about["sha256"]
            for file, about in row["files"].items()
            if "sha256" in about or self.is_rehearsal()
        }
        given |= {"name": self.made_by("published")[weights]}
        given |= {"sha256": as_json(hashes) if row["layout"] in FOLDERS else hashes.get([*files.values()][-1])}
        given |= {key: row.get(key) for key in ("source", "revision")}
        return arguments({key: value for key, value in given.items() if value})

    # Collections of pictures

    def pictures_of(self, name: str) -> str:
        """The folder of a collection's pictures: the user's own, the unpacked archives, or the rehearsal's."""
        row = self.setting("collections", name)
        if not self.is_rehearsal() and row["layout"] == "folder":
            return row["path"]
        return f"{self.folder_of('collections', name)}/pictures"

    def pictures_of_set(self, name: str) -> str | list:
        """The folder that a data set takes its pictures from; no input where they are drawn."""
        collection = self.collection_of(name)
        place = self.pictures_of(collection) if collection else []
        # Snakemake knows no way to say that braces in an input are no wildcard: there the listing alone tells a change.
        return [] if "{" in place else place

    def listing_of_set(self, name: str) -> str:
        """What the user's folder of a data set holds: a change of it draws the set anew; "" for any other set."""
        row = self.setting("collections", collection) if (collection := self.collection_of(name)) else {}
        own = row.get("layout") == "folder" and not self.is_rehearsal()
        return listing(Path(row["path"])) if own and "path" in row else ""

    def params_of_set(self, name: str) -> dict:
        """The arguments of a set's world; what its collection knows comes from there."""
        own = self.setting("datasets", name, "params")
        if not (collection := self.collection_of(name)):
            return own
        row = self.setting("collections", collection)
        marks = {key: row[key] for key in ("explicit", "consent") if key in row}
        return {**own, **marks, "root": self.pictures_of(collection)}

    def of_set(self, *keys: str) -> Callable:
        """A params function: a value of the wildcard's data set."""
        return lambda wildcards: self.setting("datasets", wildcards.set, *keys)

    def check(self) -> None:
        """Stop before anything is fetched where a collection cannot be had or may not be used."""
        super().check()
        for name in filter(None, map(self.collection_of, self.config["datasets"])):
            row = self.setting("collections", name)
            if row.get("explicit") and not row.get("consent"):
                raise UserError(
                    f"collections.{name} is explicit, and nobody consented to its use. If you are entitled to work "
                    f"with it, set collections.{name}.consent: true in the configuration; its pictures are only ever "
                    "shown blurred."
                )
            if not self.is_rehearsal() and "path" not in row and "source" not in row:
                raise UserError(
                    f"collections.{name} has no source: get it from {row.get('page', 'its owner')} and set "
                    f"collections.{name}.path to the folder of its pictures in the configuration."
                )
