"""Measure the judges on held-out scenes: their error rates are results of the run."""

from palimpsest.arrays import read_masks, read_pictures, read_table
from palimpsest.judges.networks import EmblemDetector, load
from palimpsest.judges.quality import detector_quality, factor_accuracy
from palimpsest.metrics.intervals import wilson
from palimpsest.metrics.measurements import row, write
from palimpsest.models.pixels import to_tensor
from palimpsest.run import Input, Output, step


def calibrate(
    networks: list[Input], images: Input, masks: Input, manifest: Input, measurements: Output, *, set: str
) -> None:
    """Write accuracy per factor of classifiers; recall, false-positive rate and box IoU of detectors. Row = network."""
    shown = read_pictures(images)
    pictures, scenes = to_tensor(shown), read_table(manifest, ("emblem",), len(shown))
    regions, present = read_masks(masks, shown.shape[:3]), scenes["emblem"].to_numpy()
    rows = []
    for path in networks:
        network, name = load(path), path.stem
        if isinstance(network, EmblemDetector):
            quality = detector_quality(network, pictures, regions, present)
            n = {key: int((~present if "false" in key else present).sum()) for key in quality}
        else:
            quality = {f"{key}_accuracy": value for key, value in factor_accuracy(network, pictures, scenes).items()}
            n = dict.fromkeys(quality, len(scenes))
        for key, value in quality.items():
            interval = wilson(round(value * n[key]), n[key]) if key != "box_iou" else ()
            rows.append(row(key, value, *interval, n=n[key], model=name))
    write(measurements, rows, family="judges", set=set, concept="emblem")


if __name__ == "__main__":
    step(calibrate)
