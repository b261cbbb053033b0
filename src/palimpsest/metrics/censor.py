"""The censor: no picture of an explicit set is shown without it.

A region is averaged over at most 4 x 4 blocks of at least 8 pixels, and the blocks are blurred into each other: what
is left are a few mean colours, from which no method recovers the picture.
"""

import numpy as np
from scipy import ndimage

BLOCKS = 4
LEAST_BLOCK = 8
# A detector's box or mask is a little too tight: the region grows by this share of its longer side.
MARGIN = 0.25


def publishable(
    images: np.ndarray,
    explicit: bool,
    masks: np.ndarray | None = None,
    found: np.ndarray | None = None,
) -> np.ndarray:
    """The images that a figure may show: those of an explicit set always censored, others as they are.

    images uint8 (n, H, W, 3); masks bool (n, H, W) and found bool (n,) as in `censor`, both None without a detector.
    Every figure and sample sheet takes its pictures from here.
    """
    if not isinstance(explicit, bool | np.bool_):
        raise TypeError(f"explicit is {explicit!r}: say True or False, a picture's safety must not hang on a default")
    if not explicit:
        return images
    return censor(images, masks, found=np.zeros(len(images), bool) if found is None else found)


def censor(images: np.ndarray, masks: np.ndarray | None, *, found: np.ndarray) -> np.ndarray:
    """Blur the detected regions of uint8 images (n, H, W, 3) beyond recovery.

    masks: bool (n, H, W), the detected region of each image, or None. found: bool (n,), whether the detector found
    anything. An image without a find, without masks or with an empty mask is blurred as a whole.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"images are {images.dtype} {images.shape}: give uint8 (n, H, W, 3)")
    for name, array, shape in (("masks", masks, images.shape[:3]), ("found", found, images.shape[:1])):
        if array is not None and (array.shape != shape or array.dtype != bool):
            raise ValueError(f"{name} are {array.dtype} {array.shape} for images {images.shape}: give bool {shape}")
    censored = np.empty_like(images)
    for index, image in enumerate(images):
        known = masks is not None and found[index] and masks[index].any()
        censored[index] = _blur_regions(image, masks[index]) if known else blur(image)
    return censored


def blur(image: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) as at most 4 x 4 mean colours, blurred into each other."""
    rows, columns = (_edges(length) for length in image.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows[:-1], 0), columns[:-1], 1)
    heights, widths = np.diff(rows), np.diff(columns)
    means = sums / (heights[:, None] * widths)[..., None]
    mosaic = means.repeat(heights, 0).repeat(widths, 1)
    sigma = (heights.max() / 2, widths.max() / 2, 0)
    return np.rint(ndimage.gaussian_filter(mosaic, sigma, mode="nearest")).astype(np.uint8)


def _blur_regions(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blur each connected part of the mask, grown by a margin, on a scale of its own."""
    result = image.copy()
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        margin = max(2, round(MARGIN * max(rows.stop - rows.start, columns.stop - columns.start)))
        window = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in (rows, columns))
        grown = ndimage.distance_transform_edt(parts[window] != number) <= margin
        result[window][grown] = blur(image[window])[grown]
    return result


def _edges(length: int) -> np.ndarray:
    """The edges of the blocks along a side."""
    blocks = max(1, min(BLOCKS, length // LEAST_BLOCK))
    return np.linspace(0, length, blocks + 1).round().astype(int)
