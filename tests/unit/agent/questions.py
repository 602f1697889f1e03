"""Questions as a planner would ask them, for the tests of the agent and of its client."""

import math
from typing import Any

from llmzero.api.curve import Curve, Pathology, PathologyKind, Score
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import (
    BudgetLeft,
    Infeasible,
    ProposalRequest,
    Sample,
    StageView,
    VerdictRequest,
)

PARAMETERS = [
    Parameter(
        name="learning_rate",
        role=Role.REGULARIZATION,
        min=1e-7,
        max=1e-4,
        scale="log",
        initial=1e-6,
    ),
    Parameter(name="beta", role=Role.REGULARIZATION, min=0, max=0.2, initial=0.02),
    Parameter(name="temperature", role=Role.REGULARIZATION, min=0.4, max=1.5, initial=1.0),
    Parameter(
        name="max_completion_length", role=Role.CAPACITY, type="int", min=128, max=4096, initial=512
    ),
    Parameter(
        name="num_generations",
        role=Role.CAPACITY,
        type="categorical",
        choices=[4, 8, 16],
        initial=8,
    ),
    Parameter(
        name="loss_type", type="categorical", choices=["dapo", "grpo", "dr_grpo"], initial="dapo"
    ),
]
SETTINGS: dict[str, Any] = {p.name: p.initial for p in PARAMETERS}


def curve(steps: int = 100, points: int = 20, start: float = 0.2, gain: float = 0.3) -> Curve:
    """A healthy, slowly saturating stage."""
    xs = [round((i + 1) * steps / points) for i in range(points)]
    rise = [1 - math.exp(-3 * x / steps) for x in xs]
    return Curve(
        steps=xs,
        metrics={
            "reward": [start + gain * r + 0.01 * math.sin(7 * r) for r in rise],
            "reward_std": [0.4 - 0.1 * r for r in rise],
            "frac_reward_zero_std": [0.1 + 0.2 * r for r in rise],
            "entropy": [1.2 - 0.5 * r for r in rise],
            "kl": [0.02 * r for r in rise],
            "grad_norm": [0.5 + 0.1 * math.cos(20 * r) for r in rise],
            "completions/mean_length": [180 + 60 * r for r in rise],
            "completions/mean_terminated_length": [170 + 50 * r for r in rise],
            "completions/clipped_ratio": [0.05 + 0.1 * r for r in rise],
        },
        scores=[
            Score(
                step=s,
                value=start + gain * (1 - math.exp(-3 * s / steps)),
                standard_error=0.03,
                questions=200,
                metrics={"accuracy": 0.3, "mean_length": 200.0},
            )
            for s in (0, steps // 4, steps // 2, 3 * steps // 4, steps)
        ],
    )


def stage(path: str = "0", **changes: Any) -> StageView:
    drawn = changes.pop("drawn", curve())
    view = StageView(
        node=f"countdown-abc123-{path}",
        path=path,
        depth=path.count("-") + 1,
        parameters=SETTINGS,
        proposer="initial",
        outcome="Succeeded",
        steps=100,
        value=0.48,
        standard_error=0.03,
        features={"reward_slope": 0.002, "entropy_ratio": 0.6, "kl_last": 0.019},
        scores=drawn.scores,
        checkpoints=[25, 50, 75, 100],
        curve=drawn,
    )
    return view.with_(**changes)


def question(**changes: Any) -> ProposalRequest:
    """The second stage of a path is to be expanded; one child and one better stage exist."""
    drawn = curve(start=0.45, gain=0.08)
    request = ProposalRequest(
        request_id="countdown-abc123-0-1/1",
        search="countdown",
        task="Reach the number with the operations, answer in <answer> tags.",
        objective="eval/accuracy",
        parameters=PARAMETERS,
        fixed={"per_device_train_batch_size": 16, "top_p": 1.0},
        stage_steps=100,
        path=[
            stage("0"),
            stage(
                "0-1",
                drawn=drawn,
                changes={"learning_rate": (5e-7, 1e-6)},
                proposer="rules",
                rationale="entropy was healthy and the reward still rose",
                pathologies=[
                    Pathology(
                        kind=PathologyKind.PLATEAU,
                        severity=0.4,
                        metric="reward",
                        evidence="reward slope 0.0001 +- 0.0004 over steps 70 to 100",
                    )
                ],
                value=0.53,
            ),
        ],
        curve=drawn,
        children=[stage("0-1-0", proposer="continue", value=0.54, start_step=100, curve=None)],
        siblings=[stage("0-0", proposer="continue", value=0.5, start_step=100, curve=None)],
        best=[stage("2-0", value=0.6, drawn=curve(start=0.3, gain=0.35))],
        infeasible=[
            Infeasible(
                parameters={**SETTINGS, "max_completion_length": 4096, "num_generations": 16},
                outcome="OutOfMemory",
            )
        ],
        samples=[
            Sample(
                prompt="Use 3, 5, 7 to make 22", completion="<answer>3*5+7</answer>", reward=1.0
            ),
            Sample(prompt="Use 1, 2, 3 to make 9", completion="I think that", reward=0.0),
        ],
        budget=BudgetLeft(stages=12.5, depth=3),
        count=2,
    )
    return request.with_(**changes)


def verdict_question(**changes: Any) -> VerdictRequest:
    return VerdictRequest(
        request_id="countdown-abc123-0-2/stop",
        search="countdown",
        objective="eval/accuracy",
        stage=stage("0-2", outcome=None, value=None),
        curve=curve(start=0.2, gain=0.02),
        best=stage("2-0"),
        best_curve=curve(start=0.3, gain=0.35),
        reason="two looks in a row 0.12 below the best at equal cost, margin 0.05",
    ).with_(**changes)


def steer_question(**changes: Any) -> ProposalRequest:
    """A turn of the skill-based agent: two stages ended, one runs, two slots are free."""
    stages = [
        stage("0"),
        stage(
            "0-0", proposer="agent", value=0.53, start_step=100, drawn=curve(start=0.45, gain=0.08)
        ),
        stage("0-1", outcome=None, value=None, start_step=100, checkpoints=[], curve=None),
    ]
    request = question(
        request_id="countdown-abc123-0-0-0", mode="steer", stages=stages, path=stages[:2], children=[],
        siblings=[], best=[], samples=[],
    )  # fmt: skip
    return request.with_(**changes)
