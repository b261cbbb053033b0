# What the rules of the report share: which tables and figures there are, and what they are made from.
from types import SimpleNamespace


def families():
    """The paper's families, each with the models it compares."""
    return {name: setting(name, "models") for name in setting("families")}


def in_order(given):
    """A parameter's text on the command line where the order counts: that of the paper's parts."""
    return json.dumps(given)


def report_of(family, kind):
    """The tables or figures of a family: name to settings."""
    return setting("report", family, kind)


def parts(kind, suffix):
    """The files of all tables or figures."""
    return [
        f"<results>/paper/{kind}/{family}_{name}.{suffix}" for family in families() for name in report_of(family, kind)
    ]


def all_measurements():
    """Every measurement file of the experiment; each family's rules list their own."""
    return [path for name in families() for path in MEASUREMENTS[name]()]


def filled(template, values):
    """A path for every combination of the lists that its {names} stand for."""
    names = [name for name in values if isinstance(values[name], list) and f"{{{name[:-1]}}}" in template]
    for name in names:
        return [path for one in values[name] for path in filled(template.replace(f"{{{name[:-1]}}}", one), values)]
    return [template]


def part_params(wildcards, kind):
    """The settings of a table or figure: what its family gives all of them, then its own.

    A list of its own narrows the family's, so what an experiment drops is dropped everywhere.
    """
    given = REPORT_PARAMS[wildcards.family]()
    own = report_of(wildcards.family, kind)[wildcards.name]
    own = own.get("params", {}) if kind == "figures" else own
    lists = {name: values for name, values in own.items() if name in given and isinstance(values, list)}
    for name, values in lists.items():
        if unknown := set(values) - set(given[name]) - DROPPED:
            key = f"report.{wildcards.family}.{kind}.{wildcards.name}"
            raise WorkflowError(f"{key} has {name} {sorted(unknown)}; there are {sorted(given[name])}")
    narrowed = {name: [value for value in values if value in given[name]] for name, values in lists.items()}
    return {**given, **own, **narrowed}


def figure_inputs(wildcards):
    """What a figure is drawn from. Files of one model stay together."""
    params = part_params(wildcards, "figures")
    given = report_of(wildcards.family, "figures")[wildcards.name]["inputs"]
    per_model = [template for template in given if "{model}" in template]
    paths = [path for template in given if template not in per_model for path in filled(template, params)]
    for model in params["models"]:
        paths += [path for template in per_model for path in filled(template.replace("{model}", model), params)]
    return paths


def names_modules():
    """The modules with the families' names for their identifiers."""
    return [f"palimpsest.{name}.names" for name in families()]


def can_typeset():
    """Whether this machine has LaTeX; without it the run makes everything but the PDF, and says so."""
    return shutil.which("latexmk") is not None


def modules_in(name):
    """The modules of the package that a notebook's cells import."""
    cells = json.loads(Path(f"notebooks/{name}.ipynb").read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in ast.parse("".join(cell["source"])).body]
    imports = [(line.module, part.name) for line in lines if isinstance(line, ast.ImportFrom) for part in line.names]
    named = {f"{package}.{part}" for package, part in imports} | {package for package, part in imports}
    return sorted(named & import_graph().modules - {"palimpsest"})


def collected(experiment):
    """What a finished run has."""
    return [
        f"results/{experiment}/paper/{name}" for name in ("measurements.parquet", "verdicts.parquet", "provenance.json")
    ]


def paper_targets():
    """What the main job makes."""
    wanted = [*parts("tables", "html"), *parts("figures", "png"), "<results>/paper/scorecard.html"]
    wanted += ["<results>/paper/provenance.html", *(f"<results>/notebooks/{name}.html" for name in families())]
    wanted += [
        f"<results>/{name}/networks/{model}/edits.parquet" for name in families() for model in config[name]["models"]
    ]
    return [*wanted, *(["<results>/paper/paper.pdf"] if can_typeset() else [])]


for family in families():
    for kind in ("tables", "figures"):
        for name in report_of(family, kind):
            files_of(f"palimpsest.{family}.{kind}.{name}")
            part = SimpleNamespace(family=family, name=name)
            part_params(part, kind)
            if kind == "figures" and not figure_inputs(part):
                raise WorkflowError(
                    f"report.{family}.figures.{name} has nothing to be drawn from: what its inputs stand for was left"
                    f" out of the configuration. Leave the figure out too, with null, and a table of that name."
                )

if not can_typeset():
    logger.warning(
        "latexmk is not installed: everything but the PDF is made. To have it too: sudo apt-get install"
        " --no-install-recommends latexmk texlive-latex-base texlive-latex-recommended lmodern"
    )
