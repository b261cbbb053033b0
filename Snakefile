# palimpsest: from data to a typeset paper on unlearning in image generators.
#
# The main job:             snakemake
# Another experiment:       snakemake --configfile config/small.yaml
# Train the base models:    snakemake --config base_models=train
#
# Everything a run makes lies in results/<experiment>/:
#   data/<set>/...                      pictures, masks, manifest of each data set
#   models/<network>.safetensors        base models that this run trained or converted
#   <family>/.../edits.parquet          every edited model, a row each: palimpsest.models.edits opens it
#   judges/<detector>/<set>.parquet     every box a detector found
#   <family>/...                        one folder per family, below it one per model, preset or study, and step
#   paper/                              measurements, claims, tables, figures, numbers, paper.pdf
#   notebooks/                          each family's artifacts opened, executed on this run
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")

# Every path of the workflow is one of this folder.
folder = workflow.current_basedir.get_path_or_uri(secret_free=True)
if Path(folder).resolve() != Path.cwd():
    raise WorkflowError(
        f"palimpsest runs in its own folder, neither with --directory nor as a module: cd {folder} && snakemake."
        " A configuration of yours may lie anywhere (--configfile)."
    )


include: "workflow/rules/common.smk"


pathvars:
    results=f"results/{config['experiment']}",
    logs=f"results/{config['experiment']}/logs",
    benchmarks=f"results/{config['experiment']}/benchmarks",


report: "workflow/report/workflow.rst"


include: "workflow/rules/sources.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"


for family in plans:

    include: f"workflow/rules/{family}.smk"


include: "workflow/rules/paper.smk"
include: "workflow/rules/notebooks.smk"


rule all:
    """The paper, its tables and figures, everything they hang on, and the tables of edited models."""
    default_target: True
    input:
        paper.targets(typeset=can_typeset()),
        edits=paper.edits(),
