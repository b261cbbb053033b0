"""Methods whose release differs from their paper, or has two forms: the other form beside the one that was tuned."""

from palimpsest.erasure.names import name_of
from palimpsest.report import erased
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Table

MEASUREMENTS = ("forms",)
OPTIONAL = erased.OF_THE_REST
PARAMS = {"models": None, "studies": ["forms"]}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: forms of each method."""
    caption = (
        "Both forms of the methods that have two. As tuned, ESD learns where the pretrained network’s samples pass, "
        "else where those of the edited one do; SPM’s adapters are merged, else gated by the prompt; EraseDiff adapts "
        "the weight of the forget loss as in its paper, else it is constant as in the published commands; updates of "
        "Scissorhands are as in the release, else projected as in the paper"
    )
    return erased.changes(lookup, params, name_of, "forms", caption, "tab:erasure-forms")
