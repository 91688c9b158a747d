"""Ways to differentiate through an eigendecomposition, one file each, behind one interface."""

from eigbench.methods.registry import available, get

__all__ = ["available", "get"]
