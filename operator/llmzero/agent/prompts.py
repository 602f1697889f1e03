"""Prompts: Jinja files, one a decision, versioned by their content, held under a token budget."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from llmzero.agent.focus import (
    ORDER,
    Limits,
    View,
    proposal_view,
    rounded,
    steer_view,
    verdict_view,
)
from llmzero.api.curve import PathologyKind
from llmzero.api.proposals import MAX_CHANGES, ProposalRequest, VerdictRequest

BYTES_PER_TOKEN = 2.5
"""Conservative: JSON full of numbers takes about 2.6 bytes a token, English about 4 [ours]."""
_FOLDER = Path(__file__).parent / "prompts"

LOOKS = {
    PathologyKind.NON_FINITE: "NaN or infinite loss, reward or grad_norm",
    PathologyKind.GRADIENT_SPIKES: "grad_norm above ten times its running median, at least twice",
    PathologyKind.OUT_OF_MEMORY: "the stage ended out of memory",
    PathologyKind.REWARD_HACKING: "reward rises while the evaluation is flat or falls",
    PathologyKind.POLICY_DRIFT: "kl far above its median and still growing",
    PathologyKind.OVER_CONSTRAINED: "kl high and flat, reward and evaluation flat",
    PathologyKind.ENTROPY_COLLAPSE: "entropy falls far below its start while the evaluation is flat",
    PathologyKind.ENTROPY_EXPLOSION: "entropy rises well above its start while the reward falls",
    PathologyKind.TRUNCATION: "completions/clipped_ratio above 0.1; mean above terminated length",
    PathologyKind.LENGTH_HACKING: "completions/mean_length up by half without a gain",
    PathologyKind.ZERO_VARIANCE_GROUPS: "frac_reward_zero_std above 0.5: groups teach nothing",
    PathologyKind.CLIP_SATURATION: "clip_ratio above 0.05, only in off-policy training",
    PathologyKind.STALE_SAMPLER: "importance sampling ratios far from 1",
    PathologyKind.OVERFIT: "the gap of train reward and evaluation widens",
    PathologyKind.PLATEAU: "reward and evaluation flat over the last third, nothing else ill",
}
"""Source: reference grpo-pathologies; the thresholds in force are those of llmzero.dynamics."""


class PromptTooLong(ValueError):
    """Even with everything dropped that may be dropped the question is over the token budget."""


@dataclass(frozen=True, slots=True)
class Prompt:
    system: str
    user: str
    version: str
    left_out: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Estimated, from above."""
        return estimated_tokens(self.system) + estimated_tokens(self.user)


def estimated_tokens(text: str) -> int:
    return int(len(text.encode()) / BYTES_PER_TOKEN) + 1


def proposal_prompt(request: ProposalRequest, max_tokens: int, picture: bool) -> Prompt:
    """Raises :class:`PromptTooLong`."""
    return _fitted(
        "proposal",
        lambda limits: proposal_view(request, limits),
        max_tokens,
        picture=picture,
        count=request.count,
        max_changes=MAX_CHANGES,
        kinds=[(kind.value, LOOKS[kind]) for kind in PathologyKind],
    )


def steer_prompt(request: ProposalRequest, max_tokens: int) -> Prompt:
    """One turn of the skill-based agent; what it reads by tools comes on top.

    Raises :class:`PromptTooLong`.
    """
    return _fitted(
        "skill",
        lambda limits: steer_view(request, limits),
        max_tokens,
        count=request.count,
        max_changes=MAX_CHANGES,
        kinds=[(kind.value, LOOKS[kind]) for kind in PathologyKind],
    )


def verdict_prompt(request: VerdictRequest, max_tokens: int, picture: bool) -> Prompt:
    """Raises :class:`PromptTooLong`."""
    return _fitted(
        "verdict", lambda limits: verdict_view(request, limits), max_tokens, picture=picture
    )


@cache
def version(name: str) -> str:
    """``<template>-<12 hex digits of its content>``: what an answer is stored with."""
    return f"{name}-{hashlib.sha256((_FOLDER / f'{name}.jinja').read_bytes()).hexdigest()[:12]}"


def _fitted(name: str, view_of: Callable[[Limits], View], max_tokens: int, **more: Any) -> Prompt:
    limits = Limits()
    view = view_of(limits)
    prompt = _render(name, view, more, ())
    for words, reduced in ORDER:
        if prompt.tokens <= max_tokens:
            break
        limits = reduced(limits)
        before, view = view, view_of(limits)
        if view != before:
            prompt = _render(name, view, more, (*prompt.left_out, words))
    if prompt.tokens > max_tokens:
        raise PromptTooLong(f"{prompt.tokens} tokens, at most {max_tokens} are allowed")
    return prompt


def _render(name: str, view: View, more: dict[str, Any], left_out: tuple[str, ...]) -> Prompt:
    template = _environment().get_template(f"{name}.jinja")
    context = template.new_context({"view": view, "left_out": left_out, **more})
    blocks: Mapping[str, Callable[[Any], Iterable[str]]] = template.blocks
    system, user = ("".join(blocks[block](context)).strip() for block in ("system", "user"))
    return Prompt(system, user, version(name), left_out)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=False,
        autoescape=False,
    )
    environment.filters["data"] = as_data
    environment.filters["num"] = lambda value: f"{value:.4g}"
    return environment


_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>\x7f\x85\u2028\u2029"}


def as_data(value: Any) -> str:
    """A value as JSON on one line that can neither close <data> nor look like a tag."""
    text = json.dumps(rounded(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPED)
