"""Tables of what edited models still show, for every family whose methods erase concepts.

`name_of` is how a family writes its identifiers. Measurements are those of `judges.judging`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Marked, Table

Names = Callable[[str], str]
NETWORKS = ("pretrained", "oracle", "random")
ALL, WITH_ORACLE = "all", "with_oracle"  # the concepts of measurements over several together, as judges name them


def intervals(unit: str, study: dict, kind: str = "") -> str:
    """What the intervals of a study's edits are over, as a sentence; unit: what is drawn and judged; kind: of them."""
    seeds = len(study["seeds"])
    joined = f"an edit’s join these with one over its {seeds} seeds of training (t), in quadrature"
    return f"Intervals are 95 %, over {unit}{kind}; {joined if seeds > 1 else 'an edit is trained once'}."


def basis(params: dict) -> str:
    """What the numbers of the comparison rest on, in words."""
    study = params["studies"]["comparison"]
    kind = " (Wilson’s for shares, bootstrap for means)"
    return f"{intervals('prompts', study, kind)} Each method was tuned on other concepts."


def of(lookup: Lookup, model: str, method: str) -> Lookup:
    """The measurements of a network or of a method's edits in the comparison."""
    study = "networks" if method in NETWORKS else "comparison"
    return lookup.of(model=model, method=method, study=study)


def rows_of(params: dict, model: str) -> list[str]:
    """The rows of a model: networks that nothing was erased from, its oracles only where it has some, then methods."""
    networks = [name for name in NETWORKS if name != "oracle" or params["oracles"][model]]
    return [*networks, *params["methods"]]


def title_on(network: str, concepts: list[str], name_of: Names) -> str:
    """How the row of a network on some concepts alone is called."""
    return f"{name_of(network)}: {', '.join(map(name_of, concepts))}"


def rows_together(lookup: Lookup, params: dict, model: str, name_of: Names) -> Iterator[tuple[str, str, Lookup]]:
    """Method, title and measurements of each row of a model, on all concepts together."""
    for method, title, concept in titled(rows_of(params, model), params["oracles"][model], name_of):
        yield method, title, of(lookup, model, method).of(concept=concept)


def titled(methods: Iterable[str], oracles: list[str], name_of: Names) -> Iterator[tuple[str, str, str]]:
    """Method, title and concept of the measurements of each row, on all concepts together.

    Oracles stand on the concepts that they lack, and the pretrained model on the same once more: other concepts may
    be easier, or harder.
    """
    for method in methods:
        if method != "oracle":
            yield method, name_of(method), ALL
        elif oracles:
            for network in ("pretrained", "oracle"):
                yield network, title_on(network, oracles, name_of), WITH_ORACLE


def comparable(params: dict, model: str) -> str:
    """The concepts on which a model's edits can be set beside its oracles: all of them where there is none."""
    return WITH_ORACLE if params["oracles"][model] else ALL


def beside_oracles(params: dict) -> str:
    """What the oracles are, and on which concepts they stand; nothing where there are none."""
    if not any(params["oracles"].values()):
        return ""
    return (
        "The oracle: networks trained without a concept, on the concepts that there is one of; on these the pretrained "
        "model stands once more. "
    )


BOLD = "Bold: the best method of a column, where no other’s interval overlaps its."
FORMATS = {
    "Name": Format(0, "percent", better="high"),
    "Synonym": Format(0, "percent", better="high", interval=False),
    "Order": Format(0, "percent", better="high", interval=False),
    "Unnamed": Format(0, "percent", interval=False),
    "Words": Format(0, "percent", better="high", interval=False),
    "Near": Format(0, "percent", better="high"),
    "Rest": Format(0, "percent", better="high", interval=False),
    "Change": Format(3, better="low", interval=False),
    "FD": Format(2, interval=False),
    "FD data": Format(2, interval=False),
    "Div": Format(2, interval=False),
    "On": Format(0, "number", interval=False),
    "Cost": Format(1, "number", interval=False),
}


def models_of(params: dict, name_of: Names) -> str:
    """The names of a table's models, to open its caption with."""
    names = ", ".join(map(name_of, params["models"]))
    return names[:1].upper() + names[1:]


def comparison(lookup: Lookup, params: dict, name_of: Names, label: str) -> Table:
    """Erased against kept on all concepts together: the networks that nothing was erased from, then the methods."""
    rows, concepts = [], params["studies"]["comparison"]["concepts"]
    for model in params["models"]:
        for method, title, here in rows_together(lookup, params, model, name_of):
            rows.append(
                {
                    "group": "" if method in NETWORKS else "edited",
                    "Row": title,
                    **measured(here),
                    **({"FD data": here.get("frechet_data", prompts="rest")} if params["data"] else {}),
                    "On": erasures(here, concepts, params["erased"], params["kept"]),
                    "Cost": cost(here, concepts),
                }
            )
    counts, called = params["prompts"], params["names"]
    data = ""
    if params["data"]:
        data = f"FD data: between a concept’s set and real pictures, {params['data']}; mean over concepts. "
    erased, kept = (f"{100 * params[name]:.0f} %" for name in ("erased", "kept"))
    return Table(
        pd.DataFrame(rows),
        caption=f"{models_of(params, name_of)}: concept erasure, all concepts together. "
        "Erased (%): pictures that do not show the concept although the prompt names it, names it by another word, or "
        "in another order of words. Unnamed (%): that show it though the prompt does not name it. Kept (%): of the "
        "words that are not the concept’s, those that the picture shows: "
        "in the same prompts, in those of its neighbours, in any others. Change: of pictures of other prompts from the "
        f"same noise, {called['perceptual']}; FD: between both sets of pictures, {called['features']}. {data}Div: "
        f"between two pictures of one prompt that names the concept, {called['perceptual']}. On: of how many "
        f"of the {len(concepts)} concepts {erased} are erased by name while {kept} is kept of neighbours and the rest. "
        "Cost: pictures that go through the network to erase a concept, in thousands, a backward pass counted as two.",
        label=label,
        formats={name: shown for name, shown in FORMATS.items() if name in rows[0]},
        group="group",
        wide=True,
        compared=[row["group"] != "" for row in rows],
        bold=BOLD,
        notes=f"Of each concept {counts['own']} prompts by name, {counts['synonym']}, {counts['template']} and "
        f"{counts['unnamed']} by other words, {counts['neighbour']} of neighbours, {counts['rest']} others; all of "
        f"combinations that no training showed. {beside_oracles(params)}{basis(params)}",
    )


def measured(here: Lookup) -> dict[str, Estimate]:
    """The cells of a model, on one concept or on all together."""
    return {
        "Name": here.get("erased", prompts="own"),
        "Synonym": here.get("erased", prompts="synonym"),
        "Order": here.get("erased", prompts="template"),
        "Unnamed": here.get("appears", prompts="unnamed"),
        "Words": here.get("kept", prompts="own"),
        "Near": here.get("kept", prompts="neighbour"),
        "Rest": here.get("kept", prompts="rest"),
        "Change": here.get("perceptual", prompts="rest"),
        "FD": here.get("frechet", prompts="rest"),
        "Div": here.get("redrawn", prompts="own"),
    }


def in_brief(here: Lookup) -> dict[str, Estimate]:
    """What the selection of settings reads of a model."""
    return {
        "Erased": here.get("erased", prompts="own"),
        "Words": here.get("kept", prompts="own"),
        "Near": here.get("kept", prompts="neighbour"),
        "Rest": here.get("kept", prompts="rest"),
    }


def under(title: str, here: Lookup, marked: bool = False) -> dict[tuple[str, str], Estimate]:
    """Three cells of a model on one concept, under its title; marked: that it is erased."""
    cells = in_brief(here)
    cells["Erased"] = Marked(*cells["Erased"]) if marked else cells["Erased"]
    return {(title, name.lower()): cells[name] for name in ("Erased", "Near", "Rest")}


def erasures(here: Lookup, concepts: list[str], erased: float, kept: float) -> Estimate:
    """On how many concepts an edit erases and keeps so much; of a network that was not measured on all, no number."""
    if any(math.isnan(here.get("erased", prompts="own", concept=concept).value) for concept in concepts):
        return Estimate(math.nan)
    return Estimate(sum(erases(here.of(concept=concept), erased, kept) for concept in concepts))


def erases(here: Lookup, erased: float, kept: float) -> bool:
    """Whether so much of one concept is erased by name while so much is kept of neighbours, and of the rest."""
    others = [here.get("kept", prompts=role).value for role in ("neighbour", "rest")]
    return here.get("erased", prompts="own").value >= erased and all(value >= kept for value in others)


def cost(here: Lookup, concepts: list[str]) -> Estimate:
    """Passes through the network for one concept, in thousands, a backward pass counted as two; the mean of them."""
    found = [
        here.get("forwards", concept=concept).value + 2 * here.get("backwards", concept=concept).value
        for concept in concepts
    ]
    return Estimate(sum(found) / len(found) / 1000)


def by_concept(lookup: Lookup, params: dict, name_of: Names, label: str) -> Table:
    """For each concept what is erased by name, and what is kept of neighbours and the rest; which are erased."""
    rows, limits = [], (params["erased"], params["kept"])
    for model in params["models"]:
        for method in rows_of(params, model):
            cells = {("", "Row"): name_of(method)}
            for concept in params["studies"]["comparison"]["concepts"]:
                here = of(lookup, model, method).of(concept=concept)
                cells |= under(name_of(concept), here, erases(here, *limits))
            rows.append(cells)
    idle = [
        row["", "Row"]
        for row in rows
        if row["", "Row"] not in map(name_of, NETWORKS) and not any(isinstance(cell, Marked) for cell in row.values())
    ]
    erased, kept = (f"{100 * limit:.0f} %" for limit in limits)
    said = f"; of no concept by {', '.join(idle)}" if idle else ""
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return Table(
        frame,
        caption=f"Concept erasure by concept: erased (%), and kept (%) near it and elsewhere. {Marked.mark}: {erased} "
        f"are erased by name while {kept} is kept of both{said}.",
        label=label,
        formats={
            "erased": Format(0, "percent", better="high"),
            "near": Format(0, "percent", better="high", interval=False),
            "rest": Format(0, "percent", better="high", interval=False),
        },
        wide=True,
        compared=[row["", "Row"] not in map(name_of, NETWORKS) for row in rows],
        bold=BOLD,
        notes=f"Columns as in the table of all concepts. A dash: there is no oracle of this concept. {basis(params)}",
    )


def tuning(lookup: Lookup, params: dict, name_of: Names, label: str) -> Table:
    """What the tuning tried of every method on concepts that are not reported, the chosen setting marked."""
    rows = []
    for model in params["models"]:
        for method, grid in params["grids"].items():
            here = lookup.of(model=model, method=method)
            chosen = set(here.rows("selected")["setting"])
            for position, option in enumerate(grid):
                tried = here.of(study="tuning", concept="all", setting=option["name"])
                rows.append(
                    {
                        "Method": "" if position else name_of(method),
                        "Setting": described(option) + (" *" if option["name"] in chosen else ""),
                        **in_brief(tried),
                        "Again": here.get("selected_again", setting=option["name"]),
                    }
                )
    concepts = ", ".join(map(name_of, params["studies"]["tuning"]["concepts"]))
    return Table(
        pd.DataFrame(rows),
        caption=f"The tuning of the erasers, on concepts of its own ({concepts}): erased (%), kept (%) of the same "
        "prompts’ other words, of neighbours and of the rest. A setting is as good as the worse one of erased and of "
        "kept (the mean of all three); chosen (*) is the first within one standard error of the best. Again: how often "
        "(%), were the prompts’ outcomes drawn anew.",
        label=label,
        wide=True,
        formats={name: Format(0, "percent", interval=False) for name in ("Erased", "Words", "Near", "Rest", "Again")},
        compared=[False] * len(rows),
        notes=measured_before(params, name_of),
    )


CHANGES = {
    "Erased": Format(0, "percent", better="high"),
    "Words": Format(0, "percent", better="high", interval=False),
    "Near": Format(0, "percent", better="high"),
    "Rest": Format(0, "percent", better="high", interval=False),
    "Change": Format(3, better="low", interval=False),
    "FD": Format(2, better="low", interval=False),
}
CHANGED = (
    "erased (%) by name, kept (%) of the same prompts’ other words, of neighbours and of the rest; change of the "
    "rest’s pictures, and their Fréchet distance."
)


OF_THE_REST = ("perceptual", "frechet")  # what `changes` shows where a study judges the rest


def changes(lookup: Lookup, params: dict, name_of: Names, study: str, caption: str, label: str) -> Table:
    """What a study's changes to what was tuned do; rows: its options, below their method where there are several.

    caption: what is changed; what is measured comes after it.
    """
    row, rows = params["studies"][study], []
    for model in params["models"]:
        for method in row["methods"]:
            for option in row["options"]:
                if option.get("method", method) != method:
                    continue
                here = lookup.of(model=model, study=study, method=method, concept="all", setting=option["name"])
                rows.append(
                    {
                        "group": name_of(method) if len(row["methods"]) > 1 else "",
                        "Changed": option["name"].replace("_", " "),
                        **in_brief(here),
                        "Change": here.get("perceptual", prompts="rest"),
                        "FD": here.get("frechet", prompts="rest"),
                    }
                )
    concepts = ", ".join(map(name_of, row["concepts"]))
    return Table(
        pd.DataFrame(rows),
        caption=f"{caption} (on {concepts}): {CHANGED}",
        label=label,
        formats=CHANGES,
        group="group",
        wide=True,
        notes=f"At what was tuned otherwise. {intervals('prompts', row)}",
    )


def measured_before(params: dict, name_of: Names) -> str:
    """That a tuning was not made by this run, where it was not."""
    released = params["released_tunings"]
    if not released:
        return ""
    which = "All" if set(released) == set(params["grids"]) else ", ".join(map(name_of, released))
    return f"{which}: measured beforehand and released with the repository, as base models are."


def described(option: dict) -> str:
    """What a setting changes, in words; its name where it changes nothing."""
    changes = {**option.get("training", {}), **option.get("settings", {})}
    parts = [f"{name.replace('_', ' ')} {value}" for name, value in changes.items()]
    if "selection" in option:
        parts.append(option["selection"].replace("_", " "))
    return ", ".join(parts) or option["name"].replace("_", " ")


# Prompts that name the concept, which every model is judged by, and which are attacks by other words.
WORDS = {
    "Name": ("own", "of prompts that name it, without an attack"),
    "Synonym": ("synonym", "of the same prompts with another word for it"),
    "Order": ("template", "of the same prompts in another order of words"),
}


def made(lookup: Lookup, attacks: Iterable[str]) -> list[str]:
    """Those of some attacks that models were attacked by."""
    return [attack for attack in attacks if len(lookup.rows("recovered", prompts=attack))]


def attacks(lookup: Lookup, params: dict, name_of: Names, label: str, known: dict[str, tuple[str, str]]) -> Table:
    """What attacks bring back, beside what they reach with networks that know less, and more.

    known: the family's attacks by title, each with what it is called in measurements, and what it is in words.
    """
    rows, concepts = [], params["studies"]["comparison"]["concepts"]
    known = WORDS | known
    found = made(lookup, [attack for attack, _ in known.values()])
    columns = {title: attack for title, (attack, _) in known.items() if attack in found}
    for model in params["models"]:
        for method, row, here in rows_together(lookup, params, model, name_of):
            cells = {title: here.get("recovered", prompts=attack) for title, attack in columns.items()}
            rows.append({"group": "" if method in NETWORKS else "edited", "Row": row} | cells)
    settings, said = params["attacks"], defaultdict(list)
    for title in columns:
        said[known[title][1]].append(title)
    drawn = pictures_of(of(lookup, params["models"][0], "pretrained").of(concept=ALL), columns)
    tried = f", of the {settings['shortlist']} that gradients promise most of" if "shortlist" in settings else ""
    words = (
        f" Words found: {settings['words']} of the vocabulary but the concept’s{tried}." if "words" in settings else ""
    )
    return Table(
        pd.DataFrame(rows),
        caption=f"{models_of(params, name_of)}: attacks on erased models. Pictures (%) that show the concept, "
        "all concepts together. " + " ".join(f"{', '.join(titles)}: {what}." for what, titles in said.items()),
        label=label,
        formats={title: Format(0, "percent", interval=title not in WORDS) for title in columns},
        group="group",
        wide=True,
        compared=[False] * len(rows),
        notes=f"Pictures of all {len(concepts)} concepts, with each seed of training: {drawn}.{words} "
        f"{intervals('pictures', params['studies']['comparison'], ' (Wilson’s)')} {beside_oracles(params)}The oracle "
        "is the floor of an attack, the pretrained model its ceiling: what begins with the attacker’s "
        "picture may show what that shows already.",
    )


def pictures_of(here: Lookup, columns: dict[str, str]) -> str:
    """How many pictures were judged in each column: an attacker has no more than the model drew of the concept."""
    counts = {title: here.rows("recovered", prompts=attack)["n"] for title, attack in columns.items()}
    return ", ".join(f"{title.lower()} {int(each.iloc[0])}" for title, each in counts.items() if len(each))
