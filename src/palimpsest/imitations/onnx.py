"""NudeNet's larger network: the small one that the package `nudenet` brings stands in, of the same format."""

import shutil
from pathlib import Path

from palimpsest.judges.nudenet import bundled_path

ARCHITECTURES = {"nudenet_640m": bundled_path}


def imitate(folder: Path, files: list[str], name: str) -> None:
    """Write the one file of the published network of this name."""
    shutil.copyfile(ARCHITECTURES[name](), folder / files[0])
