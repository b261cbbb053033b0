"""diffusers' UNet2DModel and its schedulers alone, the very classes of `from diffusers import ...`, ten times as fast.

diffusers keeps every UNet in one package and every transformer in another, and to import one is to import all, with
transformers, peft and torch's compiler: 7 seconds for each step that only samples. None of these has a part in a
UNet2DModel, and diffusers does without each where it is not installed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec

import torch  # noqa: F401 (before the compiler is hidden from those that ask for it)

# Asked for while diffusers is imported, each within try: a decorator for compiled graphs, and a type for annotations.
UNUSED = ("torch._dynamo", "transformers")
# Packages whose own module imports all that is in them.
PACKAGES = ("diffusers.models.unets", "diffusers.models.transformers")


@contextmanager
def without(modules: tuple[str, ...]) -> Iterator[None]:
    """Let imports of these modules fail as if they were not installed, unless they are loaded already."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def unopened(packages: tuple[str, ...]) -> Iterator[None]:
    """Let modules of these packages be imported without running the packages' own module; it runs when asked for."""
    closed = [name for name in packages if name not in sys.modules]
    for name in closed:
        sys.modules[name] = module_from_spec(find_spec(name))
    try:
        yield
    finally:
        for name in closed:
            del sys.modules[name]


with without(UNUSED[:1]):
    import diffusers  # notes what is installed, transformers among it
with without(UNUSED), unopened(PACKAGES):
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

VERSION = diffusers.__version__
__all__ = ["VERSION", "DDIMScheduler", "DDPMScheduler", "UNet2DModel"]
