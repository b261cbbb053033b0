"""How the paper writes the methods that erase concepts, in every family that shows them."""

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
    "neggrad": "gradient ascent",
}
