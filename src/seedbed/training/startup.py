"""A quick start: runs that compile nothing leave torch's compiler where it is.

Making an optimizer imports `torch._dynamo` (a second or two, some 150 MB), only to tell the compiler not to look. The
import happens in wrappers round a few methods; what they wrap does the work. Where a torch is built otherwise, nothing
is changed and the start is as slow as it was.
"""

import torch
from torch.optim import Optimizer

WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def keep_compiler_out(optimizer: type[Optimizer]) -> None:
    """Let a class of optimizers work without importing torch's compiler; to be called before one is made."""
    for name in WRAPPED:
        wrapped = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        if wrapped is not None:
            wrapped.__dynamo_disable = wrapped  # what torch._disable_dynamo looks for before it imports
    step = getattr(optimizer, "step", None)
    if getattr(getattr(step, "__code__", None), "co_name", None) == "_use_grad":
        # It sets `differentiable` as the gradient mode; without that option it is `no_grad`.
        optimizer.step = torch.no_grad()(step.__wrapped__)
