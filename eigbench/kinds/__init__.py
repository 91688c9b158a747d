"""The kinds of cases: one file each, and all of them by name. Importing them imports no torch."""

from __future__ import annotations

from eigbench.kinds.base import Kind
from eigbench.kinds.invariance import INVARIANCE, InvarianceCase
from eigbench.kinds.path import PATH, PathCase
from eigbench.kinds.profile import PROFILE, ProfileCase
from eigbench.kinds.series import SERIES, SeriesCase
from eigbench.kinds.stability import STABILITY, StabilityCase
from eigbench.kinds.train import TRAIN, TrainCase

Case = StabilityCase | InvarianceCase | PathCase | SeriesCase | TrainCase | ProfileCase

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (STABILITY, INVARIANCE, PATH, SERIES, TRAIN, PROFILE)
}
