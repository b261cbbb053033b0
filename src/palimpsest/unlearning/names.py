"""How the paper writes methods that more than one family shows."""

ERASERS = {
    "esd_x": "ESD-x",
    "esd_u": "ESD-u",
    "uce": "UCE",
    "ac": "AC",
    "fmn": "FMN",
    "spm": "SPM",
    "salun": "SalUn",
    "erasediff": "EraseDiff",
    "scissorhands": "Scissorhands",
    "advunlearn": "AdvUnlearn",
    "neggrad": "NegGrad",
}
# Those that make a model forget single pictures.
FORGETTERS = {
    "unpromptable": "Unpromptable",
    "unpromptable_drawn": "Unpromptable, drawn noise",
    "replace": "replace (control)",
    "neggrad_plus": "NegGrad+",
    "naive_deletion": "naive deletion",
    "erasediff_port": "EraseDiff, port",
    "erasediff_bome": "EraseDiff, bilevel",
    "siss": "SISS",
    "siss_no_is": "SISS, no IS",
    "retrack": "ReTrack",
}
