"""Configurations that earlier versions wrote, brought to the shape of this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corolla.config.choosing import DEFAULTS
from corolla.config.registry import find
from corolla.errors import UsageError

RETIRED = {"training.report": "`corolla train --no-report` leaves the page out"}
"""Settings that files may still hold, and what there is in their place; they decide nothing now."""

# Before, all objectives shared one table of settings, and all networks and likelihoods likewise. Whole configurations
# therefore hold settings of every variant: those of others were never read, and null stood for the default.
_OBJECTIVE = """
    name beta warmup_steps cycle_steps capacity_nats capacity_steps free_nats target_nats control_proportional
    control_integral control_max_beta alpha gamma tc_estimator discriminator_width discriminator_layers
    discriminator_learning_rate lambda_offdiagonal lambda_diagonal lambda_mmd kernel noise mask mask_patch_px
    perceptual
"""
_DATA = frozenset(["source", "mirror", "recipe", "size", "train_split", "eval_split", "flip", "shift_px", "on_error"])
_READ_BEFORE = {"channels": 3, "bits": 8, "icc": False, "truncated": "keep"}
"""How images were read before there were such settings, of a whole configuration that lacks them."""
_SHARED: Mapping[str, frozenset[str]] = {
    "objective": frozenset(_OBJECTIVE.split()),
    "network": frozenset(("name", "latent_dim", "width", "stages", "blocks", "patch", "dropout")),
    "likelihood": frozenset(("name", "sigma")),
}


def upgraded(values: Any) -> Any:
    """A configuration's values without what only earlier versions had; what is not a mapping stays as it is."""
    if not isinstance(values, Mapping):
        return values
    tree = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for name in RETIRED:
        section, _, setting = name.partition(".")
        if isinstance(tree.get(section), dict):
            tree[section].pop(setting, None)
    data = tree.get("data")
    if isinstance(data, dict) and _DATA - {"mirror", "on_error"} <= data.keys() <= _DATA:
        data.update(_READ_BEFORE)
    for kind, shared in _SHARED.items():
        branch = tree.get(kind)
        if isinstance(branch, dict) and shared <= branch.keys():
            tree[kind] = _own(kind, branch)
    return tree


def _own(kind: str, branch: dict[str, Any]) -> dict[str, Any]:
    """The settings that the chosen class has, of a branch that holds those of every variant."""
    try:
        cls = find(kind, branch.get("name", DEFAULTS[kind]))
    except UsageError:
        return branch  # said where the configuration is checked
    if kind == "likelihood":  # a scale that nothing reads was an error then, too
        return {key: value for key, value in branch.items() if value is not None}
    unread = {"perceptual_after"} if not branch.get("perceptual") else set()
    unread |= {"mask_patch_px"} if not branch.get("mask") else set()
    fields = cls.model_fields
    unread |= {key for key, field in fields.items() if branch.get(key) is None and field.default is not None}
    unread |= cls.idle | (_SHARED[kind] - fields.keys())
    return {key: value for key, value in branch.items() if key == "name" or key not in unread}
