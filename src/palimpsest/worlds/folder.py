"""A folder of images as a world: any photographs of the user's, read the same way on every machine.

Every file below the folder is taken, whatever its extension and sorted by its path; names that begin with a dot are
passed over, a link to a folder is followed once. An animation gives its first frame. EXIF orientation is applied, and
colours are converted to sRGB from the profile that a picture brings. Transparent pixels are laid over white, as most
pages show them; 16-bit grey is scaled to 8 bits; every other mode is converted by Pillow.
"""

import io
import os
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from palimpsest.run import UserError, sha256
from palimpsest.worlds.base import World
from palimpsest.worlds.duplicates import Fingerprints, fingerprint, first_of_group, joined
from palimpsest.worlds.formats import FORMATS

MINIMUM_SIDE = 8
MAXIMUM_PIXELS = 2**27
RESIZES = ("squash", "crop", "pad")
SHOWN = 10
# What an ISO base media file calls itself when it holds an HEIC picture, as phones write them.
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


class Unreadable(Exception):
    """Why a file gives no image."""


def make(
    root: str,
    size: int,
    resize: Literal["squash", "crop", "pad"] = "crop",
    part: tuple[float, float] = (0, 1),
    limit: int | None = None,
    on_unreadable: Literal["skip", "error"] = "skip",
    explicit: bool = False,
    consent: bool = False,
    split: str = "test",
    source: str = "folder",
    near_duplicates: Literal["drop", "keep", "error"] = "drop",
) -> World:
    """Read the images below `root` as size x size pictures; concept masks are all False.

    resize: "squash" ignores the aspect ratio, "crop" keeps the centre square, "pad" adds black bars.
    part: of the sorted files, from which share on and up to which; parts that only touch share no picture.
    limit: of more files than that, so many spread evenly over the sorted list, so that no subfolder is left out.
    on_unreadable: list files that give no image in the report ("skip"), or refuse the folder ("error").
    explicit: the pictures are explicit; the configuration has to say `consent: true` as well.
    near_duplicates: "drop" all but the first of each group, "keep" them marked in the manifest, or refuse ("error").
    Whole pictures are compared, so that which ones are kept does not depend on how they are resized.

    The report holds `unreadable` (a list of {path, reason}, of files and folders) and `near_duplicates` (how many
    repeat an earlier image).
    """
    for name, value, choices in (
        ("resize", resize, RESIZES),
        ("on_unreadable", on_unreadable, ("skip", "error")),
        ("near_duplicates", near_duplicates, ("drop", "keep", "error")),
    ):
        if value not in choices:
            raise UserError(f"{name} is {value!r}: give one of {', '.join(choices)}.")
    if size < MINIMUM_SIDE or (limit is not None and limit < 1):
        raise UserError(f"size is {size} and limit {limit}: give at least {MINIMUM_SIDE} pixels and one image.")
    if not 0 <= part[0] < part[1] <= 1:
        raise UserError(f"part is {list(part)}: give its two ends as shares of the files, such as [0, 0.5].")
    if explicit is not False and consent is not True:
        raise UserError(
            f"the folder {root} is marked explicit: true, and nobody consented to its use. If you are entitled to work "
            "with it, write consent: true beside it in the configuration; its pictures are only ever shown blurred."
        )
    folder = Path(root)
    paths, unreadable = files_below(folder)
    paths = paths[round(part[0] * len(paths)) : round(part[1] * len(paths))]
    if not paths:
        raise UserError(f"the part {list(part)} of the image folder {folder} holds no file: widen it.")
    if limit is not None and limit < len(paths):
        paths = [paths[index] for index in np.arange(limit) * len(paths) // limit]
    images = np.empty((len(paths), size, size, 3), np.uint8)
    rows, prints = [], []
    for path in paths:
        shown = _shown(path.relative_to(folder))
        try:
            images[len(rows)], print_of_whole, facts = read(path, size, resize)
        except Unreadable as error:
            unreadable.append({"path": shown, "reason": str(error)})
            continue
        prints.append(print_of_whole)
        rows.append({"id": f"{source}-{facts['sha256'][:16]}-{len(rows):06d}", "path": shown, **facts})
    if unreadable and (on_unreadable == "error" or not rows):
        _refuse(folder, unreadable, len(paths))
    images = images[: len(rows)]
    manifest = pd.DataFrame(rows).assign(
        split=split, source=source, emblem=False, explicit=explicit is not False, caption="", near_duplicate_of=""
    )
    firsts = first_of_group(joined(prints))
    repeated = firsts != np.arange(len(firsts))
    report = {"unreadable": unreadable, "near_duplicates": int(repeated.sum())}
    if repeated.any() and near_duplicates == "error":
        path = manifest.path
        listed = [f"{path[index]} repeats {path[firsts[index]]}" for index in np.flatnonzero(repeated)]
        raise UserError(
            f"{folder} holds {len(listed)} near-duplicates:{_lines(listed)}\n"
            "Remove them, or set near_duplicates to drop (keeps the first of each group) or keep (marks them)."
        )
    if near_duplicates == "drop":
        images, manifest = _kept(images, ~repeated), manifest[~repeated].reset_index(drop=True)
    else:
        manifest.loc[repeated, "near_duplicate_of"] = manifest.id.to_numpy()[firsts[repeated]]
    return World(images, np.zeros(images.shape[:3], bool), manifest, report)


def files_below(folder: Path) -> tuple[list[Path], list[dict]]:
    """Every file below a folder, sorted by its path, and {path, reason} of each folder that could not be read.

    Dotted names are left out. A link to a folder is followed where nothing else leads there; one that leads back to a
    folder that holds it is refused.
    """
    if not folder.is_dir():
        kind = "is no folder" if folder.exists() else "does not exist"
        raise UserError(f"the image folder {folder} {kind}: correct `root` in the configuration.")
    found, unread, seen, links = [], [], {}, [folder]
    while links:
        start = links.pop(0)
        real = os.path.realpath(start)
        if os.path.realpath(start.parent).startswith(f"{real}{os.sep}") or os.path.realpath(start.parent) == real:
            raise UserError(f"{start} is a link to {real}, which holds it: a loop. Remove it.")
        if real in seen:
            unread.append(
                {"path": _shown(start.relative_to(folder)), "reason": f"a link to {seen[real]}, read already"}
            )
            continue

        def note(error: OSError) -> None:
            place = _shown(Path(error.filename).relative_to(folder))
            unread.append({"path": place, "reason": f"a folder that cannot be read ({error.strerror})"})

        for place, folders, names in os.walk(start, onerror=note):
            seen[os.path.realpath(place)] = _shown(Path(place).relative_to(folder))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links += [Path(place, name) for name in folders if Path(place, name).is_symlink()]
            found += [Path(place, name) for name in names if not name.startswith(".")]
    if not found and not unread:
        raise UserError(f"the image folder {folder} is empty: put images into it, or correct `root`.")
    return sorted(found, key=lambda path: path.relative_to(folder).parts), unread


def read(path: Path, size: int, resize: str = "crop") -> tuple[np.ndarray, Fingerprints, dict]:
    """One file as uint8 (size, size, 3), the fingerprint of the whole picture, and what is known of the file.

    That is its sha256, upright width and height, orientation, mode and profile.

    profile: the name of the colour profile that was converted from; "" without one, "damaged" where it is of no use.

    Raises Unreadable with the reason when the file gives no image.
    """
    try:
        # stat first: a pipe or a device would block the reader.
        if not path.is_file():
            raise Unreadable("no regular file, or a broken link")
        if path.stat().st_size == 0:
            raise Unreadable("empty file (0 bytes)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of the size, which is checked here
            with Image.open(path, formats=FORMATS) as image:
                _check_size(image)
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                mode = image.mode
                in_srgb, profile = to_srgb(ImageOps.exif_transpose(image))
                upright = to_rgb(in_srgb)
                pixels = np.asarray(fit(upright, size, resize))
        facts = {"sha256": sha256(path), "width": upright.width, "height": upright.height}
        whole = fingerprint(np.asarray(upright)[None])
        return pixels, whole, {**facts, "orientation": int(orientation), "mode": mode, "profile": profile}
    except (Unreadable, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"decompression bomb: {error}") from error
    except UnidentifiedImageError as error:
        if is_heic(path):
            message = "an HEIC picture, which Pillow does not read: convert it to JPEG or PNG (pillow-heif reads it)"
            raise Unreadable(message) from error
        raise Unreadable("no image of a known format") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise whatever they stumble over
        raise Unreadable(f"damaged or unsupported: {str(error) or type(error).__name__}") from error


def is_heic(path: Path) -> bool:
    """Whether a file says that it holds an HEIC picture."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS


def to_srgb(image: Image.Image) -> tuple[Image.Image, str]:
    """An image with its colours in sRGB, and the name of the profile that it had, "" without one.

    A profile that is damaged, lacks a part, or is not for the image's mode, is passed over, and called "damaged".
    """
    if "icc_profile" not in image.info:
        return image, ""
    content = image.info["icc_profile"] or b""  # Pillow has nothing of a JPEG's profile where a part of it is missing
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        name = ImageCms.getProfileDescription(profile).strip() or "unnamed"
        if "sRGB" in name:
            return image, name
        if image.mode in ("P", "PA", "LA", "1"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode=mode), name
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image, "damaged"


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB."""
    if image.mode.startswith("I"):
        return Image.fromarray(_sixteen_bits(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise Unreadable("floating-point pixels, whose range no file states")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def fit(image: Image.Image, size: int, resize: str) -> Image.Image:
    """An RGB image as size x size pixels, by antialiased bicubic interpolation; "squash" as the original, bilinear."""
    if resize == "squash":
        return image.resize((size, size), Image.Resampling.BILINEAR)
    if resize == "pad":
        return ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color="black")
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _check_size(image: Image.Image) -> None:
    """Refuse, before a pixel is decoded, what is too small to show anything and too large to be a photograph."""
    width, height = image.size
    if width * height > MAXIMUM_PIXELS:
        raise Unreadable(f"decompression bomb: {width} x {height} pixels, more than {MAXIMUM_PIXELS} in all")
    if min(width, height) < MINIMUM_SIDE:
        raise Unreadable(f"too small: {width} x {height} pixels, less than {MINIMUM_SIDE} on a side")


def _sixteen_bits(pixels: np.ndarray) -> np.ndarray:
    """Integer grey values of 0..65535 as uint8."""
    if pixels.min() < 0 or pixels.max() > 65535:
        raise Unreadable("32-bit pixels, whose range no file states")
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _kept(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The chosen images, moved together where they are: large sets do not fit the memory twice."""
    for place, index in enumerate(np.flatnonzero(chosen)):
        images[place] = images[index]
    return images[: chosen.sum()]


def _shown(path: Path) -> str:
    """A relative path as text; bytes that are no UTF-8 are escaped, since a manifest could not hold them."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _refuse(folder: Path, unreadable: list[dict], files: int) -> None:
    listed = _lines([f"{item['path']}: {item['reason']}" for item in unreadable])
    if len(unreadable) == files:
        raise UserError(f"no file of {folder} is a readable image:{listed}\nPut images into it, or correct `root`.")
    raise UserError(
        f"{len(unreadable)} of the {files} files of {folder} are no readable images:{listed}\n"
        "Repair or remove them, or set on_unreadable to skip."
    )


def _lines(items: list[str]) -> str:
    rest = f"\n  and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "".join(f"\n  {item}" for item in items[:SHOWN]) + rest
