"""What remains, over all families of an experiment: it reads what they collected, and makes nothing of its own."""

import json
from typing import Any

from palimpsest.errors import UserError
from palimpsest.plan.base import Family
from palimpsest.plan.erasure import Erasure
from palimpsest.plan.instance import Instance
from palimpsest.plan.lcr import Lcr
from palimpsest.plan.var import Var

TWIN = "twin"  # the rule that takes the codes of the picture without the concept
# The families whose methods are compared.
PLANS = {"lcr": Lcr, "instance": Instance, "erasure": Erasure, "var": Var}


class Remains(Family):
    """The plan of the comparison over families."""

    family = "remains"

    def compared(self) -> dict[str, Family]:
        """The plans of those families that the experiment has."""
        return {name: plan(self.config) for name, plan in PLANS.items() if name in self.config["families"]}

    def models(self) -> list[str]:
        """Every generator whose edits are compared, in the order of the families."""
        return [model for plan in self.compared().values() for model in plan.models()]

    def collections(self) -> list[str]:
        """What each of these families measured."""
        return [f"<results>/{name}/measurements.parquet" for name in self.compared()]

    def names_modules(self) -> list[str]:
        """The modules with the labels that each of them means where none is given."""
        return [f"palimpsest.{name}.names" for name in self.compared()]

    def settings(self) -> str:
        """What the reading of each generator takes, as an argument; families in the order of `collections`."""
        return json.dumps({name: self.reading(name, plan) for name, plan in self.compared().items()})

    def reading(self, name: str, plan: Family) -> dict[str, dict]:
        """What the reading of a family's generators takes: methods, and where their measurements stand."""
        study = self.own("study")
        given = {"methods": self.methods_of(name, plan), "controls": self.own("controls").get(name, [])}
        given |= {"sets": plan.sets(plan.own("main_preset"))} if name == "lcr" else {"study": study}
        if name not in self.own("reminders"):
            return dict.fromkeys(plan.models(), given)
        given |= {"reminder": self.own("reminders", name), "concepts": plan.own("studies", study, "concepts")}
        return {model: {**given, "oracles": list(plan.oracles(model))} for model in plan.models()}

    def methods_of(self, name: str, plan: Family) -> list[str]:
        """The methods of a family; of codes its rules, but for the one that is the oracle."""
        if name == "lcr":
            return [rule for rule in plan.rules_of(plan.own("main_preset")) if rule != TWIN]
        return plan.methods_of(self.own("study"))

    def groups(self) -> dict[str, list[str]]:
        """The family's measurement files, by the name under which tables and figures ask for them."""
        return {"compared": ["<results>/remains/compared/measurements.parquet"]}

    def lists(self) -> dict[str, Any]:
        """What all of the family's tables and figures may ask for."""
        each = [(name, plan, model) for name, plan in self.compared().items() for model in plan.models()]
        return {
            "models": self.models(),
            "methods": {model: self.methods_of(name, plan) for name, plan, model in each},
            "kinds": {model: name for name, _, model in each},
        }

    def check(self) -> None:
        """Raise UserError where there is no family to compare."""
        if not self.compared():
            raise UserError(f"families: remains compares {', '.join(PLANS)}, of which the experiment has none")
