"""The gallery: every kind of picture in the committed reports once, with how to read it."""

from __future__ import annotations

import re
from pathlib import Path

REPORTS = Path(__file__).parents[1] / "reports"
SAMPLES = {
    "stability": "Stability and accuracy",
    "singular": "Functions of singular values",
    "profile": "What each method costs",
    "paper-figure2": "Figure 2 of the paper, at 420 steps",
    "paper-figure4": "Figure 4 of the paper, at 420 steps",
    "train-stress": "Trainings",
}
"""The last of these that has a kind of picture shows it: a profile is also part of stability."""

READ = {
    "situations": (
        "The further left and the higher a curve, the better; one that ends below 100 % was not "
        "finite for the rest, or off by more than a thousand times the exact gradient."
    ),
    "right-by-situation": (
        "The number is the share of matrices whose gradient is within 1 % of the exact one: "
        "yellow is all, dark blue is none, and NaN is the share that is not finite."
    ),
    "right-by-class": (
        "The same for each class of matrices (rows) and size (columns), so that a method that "
        "fails on one size only is seen; white was not measured."
    ),
    "profiles": (
        "A panel a method and a curve a situation: a method is dependable where all of its "
        "curves have risen before the error that you can bear."
    ),
    "error-by-gap": (
        "From left to right one gap closes: a rule that divides by it climbs, while the error "
        "of an exact one stays near the line of what rounding M causes by itself."
    ),
    "error-by-iterations": (
        "More iterations help where a curve falls; the smaller the gap, the further right it "
        "starts to. The vertical line is K = 19."
    ),
    "figure-1": (
        "Figure 1 of the paper, computed: where qᵏ is bright, k iterations leave much of the "
        "second eigenvector, and the dots are the least k with qᵏ ≤ 0.05."
    ),
    "through-a-crossing": (
        "Two eigenvalues approach, meet and part again; 1 is the exact gradient, a value below "
        "0 has the wrong sign, and an arrow is beyond ±3."
    ),
    "trade-off": (
        "Up is sound, left is fast: only the methods to whose upper left is no other are worth "
        "a choice."
    ),
    "singular-right": (
        "A panel a function of singular values; the number is the share of matrices whose "
        "gradient is within 1 %: dark columns are where singular values repeat."
    ),
    "profile-ratios": (
        "A point is a workload and its bar the 95 % interval; left of the line at 1 is faster "
        "than the reference, and an interval across it shows no difference."
    ),
    "profile-whitening-by-d": (
        "Time of M^(−1/2), forward and backward, over that of `torch.linalg.eigh`: a curve that "
        "falls costs less, relatively, the larger the matrices are."
    ),
    "profile-whitening-by-batch": (
        "The same by the number of matrices in a batch: a curve that falls has a fixed cost, "
        "which a larger batch shares."
    ),
    "profile-operation-by-d": (
        "Time of the bare decomposition with its backward pass over that of "
        "`torch.linalg.eigh`, by matrix size."
    ),
    "profile-layer-zca-by-d": (
        "Time of a ZCA layer over that of batch normalisation; where all methods lie on one "
        "curve, the layer costs and the method hardly matters."
    ),
    "profile-where-time-goes": (
        "Colours are phases and hatching is the backward pass: the widest part is the one worth "
        "making faster."
    ),
    "profile-timeline": (
        "One run of each method from left to right, each on its own time axis: read the order "
        "and the shares, and take times from the tables."
    ),
    "figure-2": (
        "The paper's curves of power iteration are ragged, its hybrid's smooth: here they lie "
        "together."
    ),
    "figure-4": ("The same with PCA denoising, beside batch normalisation."),
    "survival": (
        "A cell counts the trials that finished, of those that were started: yellow is all, "
        "dark blue is none."
    ),
    "survival-by-step": (
        "A curve steps down where trials end early; where the shaded 95 % intervals of two "
        "methods overlap widely, few trials show no difference."
    ),
    "training-loss": (
        "A curve that falls below the grey line learns more than guessing, and a cross is a "
        "trial that diverged there."
    ),
    "layer-gradient-norm": (
        "The norm of the gradient that leaves the layer: compare with the black curve of batch "
        "normalisation, and look for jumps before a cross."
    ),
}


def kinds() -> set[str]:
    """The kinds of pictures in all committed reports."""
    return {picture.stem for picture in REPORTS.glob("*/figures/*.png")}


def _home(kind: str) -> str:
    return [name for name in SAMPLES if (REPORTS / name / "figures" / f"{kind}.png").exists()][-1]


def _entry(sample: str, kind: str) -> str:
    report = (REPORTS / sample / "report.md").read_text("utf-8")
    found = re.search(rf"!\[([^\]]*)\]\(figures/{kind}\.png\)", report)
    assert found, kind
    picture = f"![{found[1]}](../reports/{sample}/figures/{kind}.png)"
    return f"[{picture}](../reports/{sample}/report.md)\n\n**{found[1]}.** {READ[kind]}"


def gallery() -> str:
    """The generated part of `docs/gallery.md`."""
    parts = []
    for sample, title in SAMPLES.items():
        parts.append(f"## {title}\n\nFrom [`reports/{sample}`](../reports/{sample}/report.md).")
        parts += [_entry(sample, kind) for kind in READ if _home(kind) == sample]
    return "\n\n".join(parts)
