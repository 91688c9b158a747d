"""Uses the library where all that only commands and reports need is missing, then tries a command.

`nox -s package` runs this in an environment without them; where they are, they are hidden first.
"""

from __future__ import annotations

import runpy
import sys

from eigbench.errors import OF_REPORT, MissingExtra

missing = OF_REPORT - {"filelock", "jinja2", "mpmath"}  # three are torch's too
sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None: is not found

import torch  # noqa: E402

import eigbench  # noqa: E402

M = torch.diag(torch.tensor([1.0, 1.0, 2.0])).requires_grad_()
for method in set(eigbench.methods.available()) - {"cholesky"}:  # which whitens only
    function = eigbench.matrix_function
    if "--compile" in sys.argv:
        torch.compiler.reset()
        function = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.autograd.backward(function(M, "inverse-square-root", method=method).sum())

from eigbench.layers import PCADenoising2d, ZCAWhitening2d  # noqa: E402

torch.autograd.backward(eigbench.eigh(M, method="hybrid").eigenvectors.sum())
torch.autograd.backward(eigbench.svd(M).S.sum())
eigbench.polar(M)
eigbench.svd_function(M, "square-root")
for layer in (ZCAWhitening2d(4), PCADenoising2d(4, energy=0.9)):
    torch.autograd.backward(layer(torch.randn(5, 4, 2, 2)).sum())
if "--compile" not in sys.argv:
    assert "torch._dynamo" not in sys.modules, "the compiler, whose import takes over a second"
try:
    eigbench.watch  # noqa: B018
except MissingExtra as error:
    sys.stdout.write(f"{error}\n")
sys.argv = ["eigbench", "stability"]
runpy.run_module("eigbench", run_name="__main__")
