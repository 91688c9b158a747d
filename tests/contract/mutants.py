"""Methods that break one promise each, and one that breaks none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Promise, symmetric_part
from eigbench.methods.coefficients import gaps_above
from eigbench.methods.functions import SpectralFunction
from eigbench.methods.hybrid import Hybrid
from eigbench.methods.pairwise import pairwise_eigh


@dataclass(frozen=True)
class Whole(Method):
    """The analytic rule; a mutant replaces a part of it."""

    name: ClassVar[str] = "mutant"
    summary: ClassVar[str] = "the analytic rule"
    source: ClassVar[str] = "a test"
    promises: ClassVar[frozenset[Promise]] = frozenset({"exact", "scale"})

    def eigh(self, M: Tensor) -> Eigenpairs:
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        return self.table(gaps_above(eigenvalues), eigenvalues), None

    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        return 0.5 / gap


class WithoutDecorator(Whole):
    eta: float = 1.0


@dataclass(frozen=True)
class Unhashable(Whole):
    weights: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class NeedsAnArgument(Whole):
    eta: float


@dataclass(frozen=True)
class WithoutSummary(Whole):
    summary: ClassVar[str] = ""


@dataclass(frozen=True)
class OtherName(Whole):
    name: ClassVar[str] = "other"


@dataclass(frozen=True)
class RefusesNothing(Whole):
    def refusal(self, M: Tensor) -> str | None:
        return None


@dataclass(frozen=True)
class Descending(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        values, V = super().eigh(M)
        return Eigenpairs(values.flip(-1), V.flip(-1))


@dataclass(frozen=True)
class InRows(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        values, V = super().eigh(M)
        return Eigenpairs(values, V.mT)


@dataclass(frozen=True)
class WrongShape(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        values, V = super().eigh(M)
        return Eigenpairs(values[..., :-1], V)


@dataclass(frozen=True)
class Raises(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        raise RuntimeError("first line\nsecond line")


@dataclass(frozen=True)
class DropsPhases(Whole):
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN

    def eigh(self, M: Tensor) -> Eigenpairs:
        values, V = super().eigh(M)
        constant = V.detach()

        def without(by_V: Tensor) -> Tensor:
            phases = torch.linalg.vecdot(constant, by_V, dim=-2).imag
            wrong: Tensor = by_V - constant * (1j * phases).unsqueeze(-2)
            return wrong

        if V.is_complex() and V.requires_grad:
            V.register_hook(without)  # type: ignore[no-untyped-call]
        return Eigenpairs(values, V)


@dataclass(frozen=True)
class OtherFunction(Whole):
    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        return super().matrix_function(M, function) * (1 + 1e-6)


@dataclass(frozen=True)
class WhitensToTwo(Whole):
    def whitening(self, M: Tensor) -> Tensor:
        return super().whitening(M) * 2**0.5


@dataclass(frozen=True)
class NoEmptyBatch(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        return super().eigh(M * (M.detach().abs().amax() * 0 + 1))


@dataclass(frozen=True)
class Asymmetric(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        return super().eigh(M + (M - M.mT).triu() / 3)


@dataclass(frozen=True)
class HalfPrecision(Whole):
    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        rough = gap.to(torch.bfloat16).to(gap.dtype) if gap.dtype == torch.float32 else gap
        return rough.reciprocal() / 2


@dataclass(frozen=True)
class OneNormForTheBatch(Whole):
    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(eigenvalues)
        return 0.5 / (gap + 1e-6 * norm)


@dataclass(frozen=True)
class DrawsAtRandom(Whole):
    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        return 0.5 / gap * (1 + 1e-9 * torch.rand(()).to(gap))


@dataclass(frozen=True)
class LooksAtNumbers(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        return super().eigh(M if M.sum().item() > 0 else M * 1)


@dataclass(frozen=True)
class ForgetsADependence(Whole):
    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        return 0.5 / gap.detach()


@dataclass(frozen=True)
class WritesIntoM(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        M.data.add_(1e-9)
        return super().eigh(M)


@dataclass(frozen=True)
class Seeds(Whole):
    def eigh(self, M: Tensor) -> Eigenpairs:
        torch.manual_seed(0)
        return super().eigh(M)


@dataclass(frozen=True)
class NineTenths(Whole):
    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        return 0.45 / gap


@dataclass(frozen=True)
class PromisesAll(Whole):
    """What the analytic rule does not hold: it divides by zero at a tie."""

    promises: ClassVar[frozenset[Promise]] = frozenset(
        {"functions", "isolated", "subspace", "finite"}
    )


@dataclass(frozen=True)
class HiddenEpsilon(Whole):
    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        return 0.5 / (gap + 1e-12)


@dataclass(frozen=True)
class HardCutoff(Whole):
    promises: ClassVar[frozenset[Promise]] = frozenset({"continuous"})

    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        return torch.where(gap > 1e-7, 0.5 / gap, 0)


@dataclass(frozen=True)
class Steep(Whole):
    """Continuous, however steep: what the check of jumps must not take for one."""

    promises: ClassVar[frozenset[Promise]] = frozenset({"continuous", "finite"})

    def table(self, gap: Tensor, eigenvalues: Tensor) -> Tensor:
        return (0.5 / gap).clamp(max=1e9)


@dataclass(frozen=True)
class PromisesNonsense(Whole):
    promises: ClassVar[frozenset[Promise]] = None  # type: ignore[assignment]


@dataclass(frozen=True)
class OnlySingle(Whole):
    dtypes: ClassVar[frozenset[torch.dtype]] = frozenset({torch.float32})


@dataclass(frozen=True)
class MarkedOnce(Whole):
    """By torch's own mark, which raises in `backward()` but not in `torch.autograd.grad`."""

    def eigh(self, M: Tensor) -> Eigenpairs:
        return Eigenpairs(*_Once.apply(symmetric_part(M)))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, M: Tensor) -> tuple[Tensor, Tensor]:
        values, V = torch.linalg.eigh(M)
        ctx.save_for_backward(values, V)
        return values, V

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, by_values, by_vectors):  # type: ignore[no-untyped-def]
        values, V = ctx.saved_tensors
        A = V.mT @ by_vectors
        core = ((A - A.mT) * (0.5 / gaps_above(values))).triu(1)
        return V @ (core + core.mT + torch.diag_embed(by_values)) @ V.mT


@dataclass(frozen=True)
class OneTermLess(Hybrid):
    """`hybrid` by name, whose formula has K terms."""

    def eigh(self, M: Tensor) -> Eigenpairs:
        return pairwise_eigh(M, Hybrid(self.iterations - 1))
