"""The README's scorecard: one line a claim, and nothing of it lost or mixed up."""

import pandas as pd
import pytest

from palimpsest.report import readme
from palimpsest.run import UserError

TWO = (
    "Gumbel: recall = 18 [14, 21] %, null, matched = 9 [8, 10] % (holds); "
    "nearest: recall = 34 [31, 37] %, null, matched = 9 [9, 9] % (mixed)"
)


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        (TWO, "recall = 18 / 34 %, null, matched = 9 %"),
        # The other model was left out.
        (
            "Gumbel: agreement = 27.2 [25.8, 28.7] %, PSNR lost (dB) = 0.25 (holds)",
            "Gumbel: agreement = 27.2 %, PSNR lost (dB) = 0.25",
        ),
        # One model alone: a comma inside a text, a negative number, a text that ends with a number.
        (
            "targets = 4, difference, once = −0.004 [−0.026, 0.018], not held = −0.003",
            "targets = 4, difference, once = −0.004, not held = −0.003",
        ),
        ("edit 0.01 = 97 [96, 98] %, edit 0.1 = 71 [69, 73] %", "edit 0.01 = 97 %, edit 0.1 = 71 %"),
        ("S of one = 0.48 [0.42, 0.54], S of two = 0.67", "S of one = 0.48, S of two = 0.67"),
        # As report.typeset writes numbers: thousands, what is infinite, what is not known.
        (
            "codes = 1\u2009234 [1\u2009200, 1\u2009300], at most = ∞, ratio = –",
            "codes = 1\u2009234, at most = ∞, ratio = –",
        ),
        ("", ""),
    ],
)
def test_what_was_measured_stands_side_by_side_without_intervals(ours, shown):
    assert readme.side_by_side(ours) == shown


@pytest.mark.parametrize(
    ("published", "shown"),
    [
        ("d_N about 1 (second-hand)", "d_N about 1 (second-hand)"),
        ("none (one picture)", "none"),
        ("28 dB (of a church), 33 dB (second-hand); of all models", "28 dB, 33 dB (second-hand)"),
        ("at least 25 dB in every cell; 26 to 33 dB (second-hand)", "at least 25 dB in every cell"),
    ],
)
def test_a_published_value_keeps_the_mark_that_it_is_second_hand(published, shown):
    assert readme.in_brief(published) == shown


def test_a_long_list_says_that_it_goes_on():
    ours = ", ".join(f"S{index} = {index}" for index in range(readme.MOST + 1))
    assert readme.side_by_side(ours) == ours.removesuffix(f"S{readme.MOST} = {readme.MOST}") + "…"


@pytest.mark.parametrize("ours", ["Gumbel: a = 1 (holds); nearest: b = 1 (holds)", "nothing was measured"])
def test_what_is_no_list_of_quantities_is_refused(ours):
    with pytest.raises(UserError, match="quantities"):
        readme.side_by_side(ours)


def test_the_scorecard_is_written_between_its_markers_and_the_rest_stays(tmp_path):
    rows = [
        {
            "family": "lcr",
            "statement": "Codes | are diffused.",
            "published": "none (one picture)",
            "ours": TWO,
            "reason": "",
            "verdict": "mixed",
        },
        {
            "family": "var",
            "statement": "It works. †",
            "published": "1.755; no interval",
            "ours": "",
            "reason": "no SSIM",
            "verdict": "not testable here",
        },
    ]
    page, figure, results = tmp_path / "README.md", tmp_path / "run/lcr_pareto.png", tmp_path / "results.md"
    scorecards = [tmp_path / "mini.csv", tmp_path / "small.csv"]
    for each in (page, results):
        each.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n", encoding="utf-8")
    pd.DataFrame([rows[0] | {"verdict": "holds", "ours": "recall = 1 %"}, rows[1]]).to_csv(scorecards[0], index=False)
    pd.DataFrame(rows).to_csv(scorecards[1], index=False)
    figure.parent.mkdir()
    figure.write_bytes(b"a picture")
    names = ["mini", "small"]
    readme.readme(page, results, scorecards, [figure], page, results, experiments=names, pictures=str(tmp_path))
    assert page.read_text(encoding="utf-8").splitlines()[1:-1] == [
        readme.BEGIN,
        "| claims of | run | holds | mixed | fails | not testable here |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `lcr` | `mini` | 1 | 0 | 0 | 0 |",
        "| `lcr` | `small` | 0 | 1 | 0 | 0 |",
        "| `var` | `mini` | 0 | 0 | 0 | 1 |",
        "| `var` | `small` | 0 | 0 | 0 | 1 |",
        "",
        "Of 2 claims 1 have the same verdict in `mini`, `small`, and 0 hold in one and fail in another;"
        " the others are open, or not testable, in one of them.",
        readme.END,
    ]
    assert results.read_text(encoding="utf-8").splitlines() == [
        "before",
        readme.BEGIN,
        "| claim | published | `small` | verdict in `mini` | verdict in `small` |",
        "| --- | --- | --- | --- | --- |",
        "| Codes ¦ are diffused. | none | recall = 18 / 34 %, null, matched = 9 % | holds | mixed |",
        "| It works. † | 1.755 | no SSIM | not testable here | not testable here |",
        readme.END,
        "after",
    ]
    assert (tmp_path / "lcr_pareto.png").read_bytes() == b"a picture"


def test_verdicts_that_contradict_each_other_are_counted():
    tables = {
        name: pd.DataFrame({"verdict": verdicts})
        for name, verdicts in {
            "a": ["holds", "holds", "mixed", "fails", "holds"],
            "b": ["holds", "fails", "holds", "fails", "mixed"],
            "c": ["holds", "mixed", "mixed", "fails", "not testable here"],
        }.items()
    }
    assert readme.compared(tables) == (
        "Of 5 claims 2 have the same verdict in `a`, `b`, `c`, and 1 hold in one and fail in another;"
        " the others are open, or not testable, in one of them."
    )


def test_experiments_of_different_claims_are_refused():
    tables = {name: pd.DataFrame({"statement": [name], "verdict": ["holds"]}) for name in ("mini", "small")}
    with pytest.raises(UserError, match="scorecards of mini and small are of different claims"):
        readme.markdown(tables)


def test_a_page_without_markers_is_refused(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("no scorecard here", encoding="utf-8")
    with pytest.raises(UserError, match="lacks the markers"):
        readme.replaced(page, "")
