"""The contract of a method, as checks that say what they found: `eigbench check METHOD`."""

from eigbench.contract.finding import Finding, Reading
from eigbench.contract.suite import CHECKS, findings

__all__ = ["CHECKS", "Finding", "Reading", "findings"]
