"""The former name of `b2s_client`, for scripts of before version 0.2: the same objects, and a DeprecationWarning."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

if importlib.util.find_spec("b2s_client") is None:  # in a checkout, where nothing is installed
    sys.path.append(str(Path(__file__).parent / "src"))


class _SameModule(MetaPathFinder, Loader):
    """Finds `client.x` as `b2s_client.x` itself: a copy would have exceptions of its own, which no `except` expects."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        room, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if room == __name__ and name and name != "__main__" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"b2s_client.{spec.name.partition('.')[2]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran under its own name; what the import system wrote over its spec is put back."""
        spec = module.__spec__
        module.__spec__ = spec.loader_state if spec is not None else None


sys.meta_path.insert(0, _SameModule())
warnings.warn("The package `client` is called `b2s_client` now: import that.", DeprecationWarning, stacklevel=2)
from b2s_client import *  # noqa: E402, F403 - all of it is what this module is for
from b2s_client import __all__  # noqa: E402, F401
