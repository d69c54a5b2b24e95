"""DeepCompress: compiles a PyTorch network to C for a microcontroller.

`__all__` is the public interface: names that stay. Each is imported when it is first used, so that
importing this package needs the standard library only, and a build without changes does not load
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcompress.compile import Compiled, compile_model, prune_model
    from deepcompress.errors import UserError
    from deepcompress.options import Options, Target
    from deepcompress.pipeline.reporter import Reporter, SilentReporter
    from deepcompress.profiler.profile import Profile, profile

__version__ = "0.1.0"

__all__ = [
    "Compiled",
    "Options",
    "Profile",
    "Reporter",
    "SilentReporter",
    "Target",
    "UserError",
    "__version__",
    "compile_model",
    "profile",
    "prune_model",
]

_MODULES = {
    "Compiled": "compile",
    "compile_model": "compile",
    "prune_model": "compile",
    "UserError": "errors",
    "Options": "options",
    "Target": "options",
    "Reporter": "pipeline.reporter",
    "SilentReporter": "pipeline.reporter",
    "Profile": "profiler.profile",
    "profile": "profiler.profile",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
