"""Typeset the paper with latexmk, reproducibly: the same sources give the same bytes."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from palimpsest.run import Input, Output, UserError, step

PACKAGES = "latexmk texlive-latex-base texlive-latex-recommended lmodern"
# The date that LaTeX believes in: a fixed one, so that a PDF tells its sources apart and nothing else.
EPOCH = "1767225600"


def compile(main: Input, sources: list[Input], families: Input, generated: list[Input], pdf: Output) -> dict:
    """Typeset main.tex.

    sources: the sections and the bibliography, below the folder of main. families: the generated list of sections;
    what is generated (numbers, tables, figures) is found by its path relative to the folder of that file.
    """
    if shutil.which("latexmk") is None:
        raise UserError(
            "latexmk is not installed, so the paper cannot be typeset. On Debian or Ubuntu: "
            f"apt-get install --no-install-recommends {PACKAGES} (60 MB). Everything else of the run is complete."
        )
    paper, made = main.parent.resolve(), families.parent.resolve()
    for path in [*sources, *generated]:
        if not path.resolve().is_relative_to(paper if path in sources else made):
            raise UserError(f"{path} is not below {paper if path in sources else made}, where LaTeX looks for it")
    search = os.pathsep.join(["", str(paper), str(made), ""])
    environment = {
        **os.environ,
        "TEXINPUTS": f".{search}",
        "BIBINPUTS": f".{search}",
        "SOURCE_DATE_EPOCH": EPOCH,
        "FORCE_SOURCE_DATE": "1",
        "max_print_line": "1000",
    }
    command = ["latexmk", "-norc", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-silent", main.name]
    with tempfile.TemporaryDirectory() as folder:
        # Only main.tex is copied: latexmk names what it makes after it and puts it beside it.
        shutil.copyfile(main, Path(folder) / main.name)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        log = Path(folder) / f"{main.stem}.log"
        text = log.read_text(errors="replace", encoding="utf-8") if log.exists() else done.stdout + done.stderr
        if done.returncode:
            raise UserError(f"LaTeX stopped at {main}: {faults(text)}")
        shutil.copyfile(log.with_suffix(".pdf"), pdf)
    return {"pages": pages(text), "overfull": overfull(text), "undefined": undefined(text)}


def faults(log: str) -> str:
    """The first error of a LaTeX log, with the line it happened in."""
    found = re.search(r"^(?:!|.*?:\d+:) .*(?:\n.*){0,4}", log, re.MULTILINE)
    return " ".join(found.group().split()) if found else log[-500:]


def pages(log: str) -> int:
    """How many pages LaTeX wrote."""
    found = re.search(r"Output written on .* \((\d+) pages?", log)
    return int(found.group(1)) if found else 0


def overfull(log: str) -> list[str]:
    """Lines that stick out by more than 2 pt."""
    found = re.findall(r"^(Overfull \\hbox \(([\d.]+)pt too wide\).*)$", log, re.MULTILINE)
    return [line for line, width in found if float(width) > 2]


def undefined(log: str) -> list[str]:
    """References and citations that lead nowhere."""
    return sorted(set(re.findall(r"(?:Reference|Citation) [`'](\S+?)' .*undefined", log)))


if __name__ == "__main__":
    step(compile)
