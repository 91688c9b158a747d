"""A case: one frozen point of a suite's grid, with an id that is a hash of its content."""

from __future__ import annotations

import hashlib
from typing import Self

import msgspec

Parameters = dict[str, int | float | bool | None]
"""A method's parameters by name. Those that it has by default are left out."""


class CaseBase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of case has: an id that depends on nothing but its content."""

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits, the same on every machine."""
        content = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(content).hexdigest()[:16]


class StabilityCase(CaseBase, tag="stability", tag_field="kind", frozen=True, kw_only=True):
    """One method on one family of matrices, differentiated for a batch of seeds."""

    method: str
    parameters: Parameters
    d: int
    spectrum: str
    gap: float | None
    """Relative eigengap; None where the spectrum has none to choose."""
    scale: float
    dtype: str
    epsilon: float
    loss: str
    seeds: int
    seed: int
    device: str
    matrices: str | None = None
    """For the user's own matrices: the start of the file's SHA-256."""

    @property
    def iterations(self) -> int | None:
        """K, for a method that has it."""
        K = self.parameters.get("iterations")
        return None if K is None else int(K)


class TrainCase(CaseBase, tag="train", tag_field="kind", frozen=True, kw_only=True):
    """One training from scratch: one layer, one method, one seed, one recipe."""

    layer: str
    """"zca", "pca", "bn" (batch normalisation) or "none": after the first convolution."""
    method: str
    """How the layer differentiates its decomposition; "bn" or "none" where there is none."""
    parameters: Parameters
    d: int | None
    """Channels of a group (zca)."""
    components: int | None
    """Eigenvectors kept (pca)."""
    energy: float | None
    """Share of the variance kept (pca)."""
    epsilon: float | None
    truncation: str | None
    """Rule of truncation (zca); None is the method's own."""
    model: str
    width: int
    """Channels of the first stage of blocks; the paper's network has 64."""
    data: str
    """The name of the image set; its record holds a hash of the pixels."""
    train_images: int | None
    """How many training images are used, validation included; None is all."""
    test_images: int | None
    epochs: int
    steps: int | None
    """Stop after so many steps, if the epochs have not ended before."""
    batch: int
    learning_rate: float
    schedule: str
    momentum: float
    nesterov: bool
    weight_decay: float
    label_smoothing: float
    augment: bool
    precision: str
    deterministic: bool
    seed: int
    device: str

    @property
    def iterations(self) -> int | None:
        """K, for a method that has it."""
        K = self.parameters.get("iterations")
        return None if K is None else int(K)

    @property
    def cell(self) -> Self:
        """The case without its seed: what the trials of one cell of a table have in common."""
        return msgspec.structs.replace(self, seed=0)


class InvarianceCase(CaseBase, tag="invariance", tag_field="kind", frozen=True, kw_only=True):
    """What must not change a gradient: neighbours in the batch, precision, number of threads."""

    method: str
    parameters: Parameters
    d: int
    spectrum: str
    gap: float | None
    dtype: str
    epsilon: float
    loss: str
    seeds: int
    seed: int
    device: str

    @property
    def stability(self) -> StabilityCase:
        """The stability case that asks the same problem."""
        return StabilityCase(**msgspec.structs.asdict(self), scale=1.0)


class PathCase(CaseBase, tag="path", tag_field="kind", frozen=True, kw_only=True):
    """The gradient along a path of matrices on which two eigenvalues cross."""

    method: str
    parameters: Parameters
    d: int
    dtype: str
    epsilon: float
    loss: str
    seed: int
    device: str


FIGURE_1_POWERS = (1, 2, 4, 6, 8, 10, 14, 19, 24, 29, 40, 60, 80, 100)
"""The powers k at which a series case holds qᵏ, in the order of its record."""

COEFFICIENT_TERMS = (1, 2, 4, 9, 14, 19, 29, 100, 1000)
"""The K at which a series case holds errors of the sum, in the order of its record."""


class SeriesCase(CaseBase, tag="series", tag_field="kind", frozen=True, kw_only=True):
    """The geometric series at one ratio of eigenvalues (Table 1 and Figure 1 of the paper)."""

    ratio: float
    threshold: float
    dtype: str


class ProfileCase(CaseBase, tag="profile", tag_field="kind", frozen=True, kw_only=True):
    """The time, memory and work of one method, or of a reference, in one workload."""

    subject: str
    """"operation", the bare decomposition; "whitening", ⟨W, M^(−1/2)⟩; "layer"; or "step", which is
    a training step of ResNet18."""
    method: str
    """A method; or a reference: "torch.linalg.eigh", "bn" or "none"."""
    parameters: Parameters
    layer: str | None
    """What the workload compares with its references: "zca" or "pca"; None for matrices."""
    d: int | None
    """Matrix size; channels of a group (zca)."""
    energy: float | None
    """Share of the variance kept (pca)."""
    batch: int
    """Matrices; or images of a layer or a step."""
    dtype: str
    compiled: bool
    inputs: str
    """"fresh" for each run, or "cached": the same tensors again and again."""
    rounds: int
    seconds: float
    """After so long a workload is timed for a few rounds at least, and no more."""
    trace: bool
    seed: int
    device: str

    @property
    def iterations(self) -> int | None:
        """K, for a method that has it."""
        K = self.parameters.get("iterations")
        return None if K is None else int(K)

    @property
    def workload(self) -> Self:
        """What the cases that are timed in turn have in common."""
        return msgspec.structs.replace(self, method="", parameters={}, compiled=False, trace=False)

    @property
    def is_reference(self) -> bool:
        """Whether the case is what the methods of its workload are compared with."""
        return self.method in (*REFERENCES["operation"], *REFERENCES["layer"])


REFERENCES = {
    "operation": ("torch.linalg.eigh",),
    "whitening": ("torch.linalg.eigh",),
    "layer": ("bn", "none"),
    "step": ("bn", "none"),
}
"""By subject; the first is what ratios are taken to."""


Case = StabilityCase | InvarianceCase | PathCase | SeriesCase | TrainCase | ProfileCase
