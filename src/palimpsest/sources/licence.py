"""The licence of what is about to be fetched: shown once, and kept beside the files.

The rules that fetch a row's files take LICENCE.md as an input, so that nothing is fetched before it was shown, and
nothing at all where the row asks for the user's consent and has none.
"""

from palimpsest.run import Output, UserError, step

SHOWN = {"source": "Source", "revision": "Revision", "licence": "Licence", "page": "Read it at"}


def show(text: Output, *, name: str, row: dict) -> dict:
    """Write what a row of the catalogue states of its licence as text, and print it.

    row: its source, revision, licence, page, explicit and consent.
    Raises UserError for a row without a licence, and for one whose consent is asked for and not given.
    """
    if not row.get("licence"):
        raise UserError(f"the row {name} states no licence: write what it is and the page where it stands.")
    if (row.get("explicit") or "consent" in row) and row.get("consent") is not True:
        what = "holds explicit pictures" if row.get("explicit") else "asks for your agreement to its licence"
        raise UserError(
            f"{name} {what}, and nobody consented to its use. Read {row.get('page') or 'its licence'}; if you are "
            f"entitled to use it, write consent: true into the row {name} of your configuration."
        )
    lines = [f"# {name}", ""]
    lines += [f"* {label}: {row[key]}" for key, label in SHOWN.items() if row.get(key)]
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(text.read_text(encoding="utf-8"), end="")
    return {key: row[key] for key in SHOWN if row.get(key)}


if __name__ == "__main__":
    step(show)
