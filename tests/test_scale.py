"""The estimate of a large run: what commands ask of the networks, in closed form."""

import sys

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "profiles"))
from scale import MORE, Estimate, Scale, commands

SHOWN = """rule make_data:
    output: results/x/data/forget_test/images.npy
Shell command: python -m palimpsest.worlds.make --images results/x/data/forget_test/images.npy --world folder --params '{"part": [0.98, 1], "root": "resources/photographs/portraits", "size": 256}' > log 2>&1

rule lcr_encode:
    output: results/x/codes.npy
Shell command: python -m palimpsest.lcr.encode --network results/x/models/vqgan_gumbel_f8.safetensors --images results/x/data/forget_test/images.npy --codes codes.npy > log 2>&1

rule lcr_replace:
    output: results/x/codes.npz
Shell command: python -m palimpsest.lcr.replace --network results/x/models/vqgan_gumbel_f8.safetensors --set forget_test --rule random_safe --params '{"seeds": [0, 1], "variants": [["mask", "all"], ["global", "explicit"]]}' > log 2>&1

rule instance_unlearn:
    output: results/x/models
    resources: tmpdir=/tmp, mem_mb=4000, runtime=720, gpu=1
Shell command: python -m palimpsest.instance.unlearn --models results/x/models --plan '{"runs": [{"targets": ["a", "b"], "training": {"batch": 8, "steps": 10}}]}' > log 2>&1

localrule tabulate:
    output: results/x/table.csv
Shell command: python -m palimpsest.report.tabulate --family lcr > log 2>&1

"""  # noqa: E501


@pytest.fixture(scope="module")
def jobs():
    return commands(SHOWN)


def test_every_job_is_read_with_its_arguments(jobs):
    assert [rule for rule, _ in jobs] == ["make_data", "lcr_encode", "lcr_replace", "instance_unlearn", "tabulate"]
    assert jobs[0][1]["params"]["part"] == [0.98, 1] and jobs[4][1] == {"family": "lcr"}


def test_networks_are_asked_once_for_each_picture_variant_and_gradient(jobs):
    scale = Scale(jobs, MORE)
    assert scale.sets == {"forget_test": (1000, 256)}  # two of a hundred of 50,000 portraits
    asked = [scale.units(rule, given) for rule, given in jobs]
    # Two scopes by two seeds; ten steps of two gradients of eight pictures, for two targets one after the other.
    assert asked == [{}, {"encode": 1000}, {"decode": 4000, "detect": 4000}, {"gradient": 320}, {}]


def test_what_is_kept_is_counted_in_bytes(jobs):
    kept = Scale(jobs, MORE).storage()
    assert kept["codes"] == 1000 * 32 * 32 * 2 and kept["edited codes"] == 4 * kept["codes"]
    assert kept["unlearned diffusion models (455 MB each)"] == 2 * 454_741_108


def test_the_hours_of_a_rule_are_those_of_its_jobs_and_the_longest_is_one_of_them():
    one, two = Estimate(SHOWN, MORE), Estimate(SHOWN + SHOWN.replace('"steps": 10', '"steps": 30'), MORE)
    rule = "instance_unlearn"
    assert one.longest[rule] == one.hours[rule] > 0 and two.jobs[rule] == 2 and one.asked == {rule: 12.0}
    assert two.hours[rule] == pytest.approx(one.longest[rule] + two.longest[rule])
    assert two.longest[rule] == pytest.approx(3 * one.networks[rule]["gradient"] + one.starting[rule])
    assert one.in_all(True) + one.in_all(False) == pytest.approx(sum(one.hours.values()))
