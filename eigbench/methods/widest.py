"""Which gap is the widest, where rounding must not choose. Free of torch: the truth uses it too."""

AS_WIDE = 1 - 1e-3
"""From this share of the widest gap on another one is as wide; the first of them is taken."""


def rounding_zero(n: int, epsilon: float) -> float:
    """Relative tolerance `n·eps` below which an eigenvalue of an n×n matrix counts as zero."""
    return n * epsilon
