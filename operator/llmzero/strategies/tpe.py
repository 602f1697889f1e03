"""TPE: runs whose settings Optuna's tree-structured Parzen estimator proposes.

Source: Bergstra et al. 2011; Optuna's TPESampler. Asked and told anew in every plan: the study is
a function of the tree, and of nothing that Optuna would keep.
"""

import hashlib
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from llmzero.api.parameters import Parameter
from llmzero.api.spec import SettingsMap
from llmzero.api.stage import Provenance, StageNode
from llmzero.rules.space import hopeless
from llmzero.search.nodes import train_node
from llmzero.search.rows import Kind
from llmzero.search.tree import ROOT
from llmzero.strategies.context import infeasible
from llmzero.strategies.options import Options, boolean, whole
from llmzero.strategies.runs import RunsStrategy

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

TRIES = 16
MOST_STARTUP = 10
"""Optuna's default of random trials before the estimator; a small search has fewer."""
LEAST_STARTUP = 3


class TPESearch(RunsStrategy):
    """``perStage: true``: a run is a schedule, every stage has settings of its own. ``startup``:
    runs that are drawn at random first (run 0 is the declared initial setting).

    A trial is a run: complete where it reached its end, pruned where it was stopped early (its
    last objective is its intermediate value), failed where it ran out of memory or diverged. Runs
    under way count as bad (the constant liar), so that parallel runs differ.
    """

    OPTIONS: ClassVar[Options] = {"perStage": boolean, "startup": whole(1, 1000)}

    @cached_property
    def per_stage(self) -> bool:
        return bool(self.options.get("perStage", False))

    @cached_property
    def startup(self) -> int:
        """As given; else a third of the runs that the budget holds, 3 to 10."""
        spec = self.search.spec
        runs = int(spec.budget.stages / spec.strategy.max_depth)
        default = min(max(runs // 3, LEAST_STARTUP), MOST_STARTUP)
        return int(self.options.get("startup", default))

    def setting(self, run: int) -> tuple[SettingsMap, Provenance] | None:
        if not self.tree.children(ROOT):
            initial = {p.name: p.clip(p.initial) for p in self.search.spec.parameters}
            return initial, Provenance(proposer="initial", rationale="the declared initial values")
        return self._suggested(f"run {run}", 0, {})

    def following(self, index: int) -> StageNode:
        if not self.per_stage:
            return super().following(index)
        row, level = self.tree.rows[index], int(self.tree.columns["level"][index])
        assert row.tip is not None
        point, provenance = self._suggested(f"stage {row.path}", level, row.parameters)
        return train_node(
            self.search,
            parent=row.node,
            number=0,
            steps=self.child_steps(row.begin + row.tip),
            parameters=point,
            provenance=provenance,
            segment="tree",
            start_step=row.tip,
            carry_optimizer=True,
            carry_reference=True,
        )

    def _suggested(
        self, what: str, level: int, before: SettingsMap
    ) -> tuple[SettingsMap, Provenance]:
        """Settings of a stage at this level; with ``perStage`` each level has its own dimensions.

        Points that are known to fail are drawn again.
        """
        parameters, trials = self.search.spec.parameters, self._trials()
        failures = infeasible(self.tree)
        known = sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)
        by = "tpe" if known >= self.startup else "random"
        space = {self._name(p.name, level): _distribution(p) for p in parameters}
        point: SettingsMap = dict(before)
        for attempt in range(TRIES):
            study = self._study(f"{self.seed}/tpe/{what}/{attempt}", trials)
            asked = study.ask(space).params
            point = {p.name: p.clip(asked[self._name(p.name, level)]) for p in parameters}
            if not hopeless(parameters, point, failures):
                break
        why = f"{what}: {by} over {len(trials)} trials, {known} of them with a value"
        return point, Provenance(proposer=by, rationale=why)

    def _study(self, seed: str, trials: "list[FrozenTrial]") -> "Study":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=number,
                n_startup_trials=self.startup,
                # Schedules: stages of a run under way have no value for the dimensions to come.
                multivariate=not self.per_stage,
                constant_liar=True,
            )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(trials)
        return study

    def _trials(self) -> "list[FrozenTrial]":
        """One trial a run, in the order of the runs."""
        import optuna

        State = optuna.trial.TrialState
        found = []
        for root in self.tree.children(ROOT):
            run = [root]
            while children := self.tree.children(run[-1]):
                run.append(children[0])
            row = self.tree.rows[run[-1]]
            state, value, seen = State.FAIL, None, {}
            if row.kind is Kind.IN_FLIGHT or (row.kind is Kind.VALUED and self.can_branch(run[-1])):
                state = State.RUNNING
            elif row.kind is Kind.VALUED and row.goodness is not None:
                state, value = State.COMPLETE, row.goodness
            elif row.kind is Kind.CENSORED and row.goodness is not None:
                state, seen = State.PRUNED, {row.end: row.goodness}
            named = run if self.per_stage else run[:1]
            settings = [(lvl, p) for lvl in range(len(named)) for p in self.search.spec.parameters]
            found.append(
                optuna.trial.create_trial(
                    state=state,
                    value=value,
                    intermediate_values=seen,
                    params={
                        self._name(p.name, lvl): self.tree.rows[named[lvl]].parameters[p.name]
                        for lvl, p in settings
                    },
                    distributions={
                        self._name(p.name, lvl): _distribution(p) for lvl, p in settings
                    },
                )
            )
        return found

    def _name(self, name: str, level: int) -> str:
        return f"{name}@{level}" if self.per_stage else name


def _distribution(parameter: Parameter) -> "BaseDistribution":
    from optuna import distributions as d

    if parameter.choices is not None:
        return d.CategoricalDistribution(list[Any](parameter.choices))
    assert parameter.min is not None and parameter.max is not None
    log = parameter.scale == "log"
    if parameter.type == "int":
        return d.IntDistribution(int(parameter.min), int(parameter.max), log=log)
    return d.FloatDistribution(parameter.min, parameter.max, log=log)
