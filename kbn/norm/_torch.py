"""The parts of torch without a public name that kbn.norm uses; no other module of it touches them.

tests/norm/test_adapters.py has one test for each and fails when torch changes it.
"""

from __future__ import annotations

import torch


def inside_transform() -> bool:
    """Return whether a transform of `torch.func`, such as `vmap` or `grad`, is active.

    Private because torch has no public question for it, and a `torch.autograd.Function` without
    rules for the transforms fails in them.
    """
    return torch._C._are_functorch_transforms_active()
