# What the rules over published files share: where they lie, what their rows say, and what may not be used.
from fnmatch import fnmatch

REHEARSED = f"results/{config['experiment']}/imitations"


wildcard_constraints:
    catalogue="checkpoints|collections",
    source="|".join([*config["checkpoints"], *config["collections"]]),


def is_rehearsal():
    """Whether published networks and pictures are only imitated."""
    return config["base_models"] == "random"


def folder_of(catalogue, name):
    """Where the files of a row lie, as they were published."""
    return f"{REHEARSED if is_rehearsal() else 'resources'}/{catalogue}/{name}"


def published_files(wildcards):
    """What has to be there before a published network is read: its files, or the folder of its imitation."""
    name = setting("networks", wildcards.network, "published")
    folder = folder_of("checkpoints", name)
    return folder if is_rehearsal() else [f"{folder}/{file}" for file in setting("checkpoints", name, "files")]


def hashes_of(name):
    """The expected hash of each file of a published network; a file that this run wrote has none to compare with."""
    files = setting("checkpoints", setting("networks", name, "published"), "files")
    return {
        file: "random" if is_rehearsal() else row["sha256"]
        for file, row in files.items()
        if "sha256" in row or is_rehearsal()
    }


def as_published(**roles):
    """A params function: a published network as arguments. roles: of its files, by the pattern of their names.

    The hash is that of the last one, which holds the weights; of a pipeline, those of all files.
    """

    def arguments(wildcards):
        name = setting("networks", wildcards.network, "published")
        row, folder = setting("checkpoints", name), folder_of("checkpoints", name)
        files = {role: next(file for file in row["files"] if fnmatch(file, pattern)) for role, pattern in roles.items()}
        given = {role: f"{folder}/{file}" for role, file in files.items()}
        hashes = hashes_of(wildcards.network)
        given |= {"name": wildcards.network, "sha256": hashes.get([*files.values()][-1])}
        given |= {"sha256": as_json(hashes)} if row["layout"] == "pipeline" else {}
        given |= {key: row.get(key) for key in ("source", "revision")}
        return " ".join(f"--{key} {shlex.quote(value)}" for key, value in given.items() if value)

    return arguments


def expected_hash(wildcards):
    """The hash that a file has to have; none where its row states none, which the step refuses."""
    return setting(wildcards.catalogue, wildcards.source, "files", wildcards.file).get("sha256", "")


def stated(row, *keys):
    """What a row of the catalogue says under some keys, as arguments; a key that is not there gives none."""
    given = {key: row[key] for key in keys if row.get(key)}
    return " ".join(f"--{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in given.items())


def collection_of(name):
    """The collection that a data set takes its pictures from, or none."""
    return setting("datasets", name).get("collection")


def pictures_of(name):
    """The folder of a collection's pictures: the user's own, the unpacked archives, or the rehearsal's."""
    row = setting("collections", name)
    if not is_rehearsal() and row["layout"] == "folder":
        return row["path"]
    return f"{folder_of('collections', name)}/pictures"


def refuse_collection(name):
    """Stop before anything is fetched where a collection cannot be had or may not be used."""
    row = setting("collections", name)
    if row.get("explicit") and not row.get("consent"):
        raise WorkflowError(
            f"collections.{name} is explicit, and nobody consented to its use. If you are entitled to work with it, set"
            f" collections.{name}.consent: true in the configuration; its pictures are only ever shown blurred."
        )
    if not is_rehearsal() and "path" not in row and "source" not in row:
        raise WorkflowError(
            f"collections.{name} has no source: get it from {row.get('page', 'its owner')} and set"
            f" collections.{name}.path to the folder of its pictures in the configuration."
        )


def params_of_set(name):
    """The arguments of a set's world; what its collection knows comes from there."""
    if not (collection := collection_of(name)):
        return setting("datasets", name, "params")
    marks = {key: value for key, value in setting("collections", collection).items() if key in ("explicit", "consent")}
    return {**setting("datasets", name, "params"), **marks, "root": pictures_of(collection)}


for name in filter(None, map(collection_of, config["datasets"])):
    refuse_collection(name)
