"""What stands under a comparison: how its answers were come by, as far as it has such answers."""

from __future__ import annotations

from eigbench.report.compare.naming import kind_of
from eigbench.report.compare.noise import RATIO_BETWEEN_RUNS, RATIO_SHARE, TIME_BETWEEN_RUNS
from eigbench.report.compare.result import Comparison
from eigbench.report.compare.summary import cases
from eigbench.report.markdown import percent
from eigbench.report.training.inference import SIGNIFICANT


def how_to_read(found: Comparison) -> list[str]:
    """Paragraphs on what was compared and on how sure it is."""
    kinds = {kind_of(case.case) for case in found.cases}
    return [
        *(_profile(found) if "profile" in kinds else []),
        *(_train(found) if "train" in kinds else []),
        *(_stability() if "stability" in kinds else []),
        *(_probes() if kinds & {"path", "invariance"} else []),
        _chance(found),
    ]


def _profile(found: Comparison) -> list[str]:
    ratio, time = percent(RATIO_BETWEEN_RUNS), percent(TIME_BETWEEN_RUNS)
    share = percent(RATIO_SHARE)
    covers = (
        "The interval (95 %) covers the scatter of the rounds of each run, cut into ten stretches "
        "because neighbouring rounds resemble each other, and what runs of the same program differ "
        "by besides: "
    )
    if found.same_machine and not found.same_torch:
        return [
            "Torch differs, and with it the references, so that times are judged and ratios to "
            f"references stand beside them. {covers}for a time a standard deviation of {time}, and "
            "as much as its stretches differ by, so that only large differences can be shown."
        ]
    machines = "" if found.same_machine else ", and most of what the machines differ in"
    torch = (
        "" if found.same_torch else " Torch differs as well, and may have changed either of them."
    )
    return [
        "What is judged is the time of a method divided by that of its reference, round by round "
        f"in the same run: that takes out the drift of a machine{machines}.{torch} "
        f"{covers}a standard deviation of {ratio}, and {share} of what its stretches differ by. "
        "Times in seconds stand beside it and are not judged, nor are the references, which are "
        "the same program in both runs."
    ]


def _train(found: Comparison) -> list[str]:
    steps = (
        "time of a step" if found.same_machine else "time of a step, as a multiple of batch norm's,"
    )
    return [
        "Trainings: success by Fisher's exact test with Newcombe's interval, test error by Welch's "
        f"t test over finished trials. The {steps} was not measured in turn with another: its "
        f"interval allows for {percent(TIME_BETWEEN_RUNS)} from run to run."
    ]


def _stability() -> list[str]:
    return [
        "Stability: seed by seed on the same matrices. If torch is the same and most eigenpairs "
        "are, to the last digit, a success lost or gained is one of the program; if the runs round "
        "differently, McNemar's exact test has to show it. Gradient errors: the mean ratio, by "
        "Student's t test of its logarithms; less than a factor of two is not called a change."
    ]


def _probes() -> list[str]:
    return [
        "Paths and invariances: success is the share of finite values; of an error or a change, "
        "the largest is judged, and of a path the median as well. Positions of one path are not "
        "independent, and seeds are few, so that there is no test: a number that differs is one of "
        "the program if torch is the same and most eigenpairs of stability cases are, to the last "
        "digit, and is called not tested otherwise. Less than a factor of two is no change."
    ]


def _chance(found: Comparison) -> str:
    if not found.tests:
        return "No test was made: nothing that was compared could have changed by chance."
    return (
        f"The p-values of {cases(found.tests, 'test')} are corrected for their number (Benjamini "
        "and Hochberg): a "
        f"difference is shown where p is below {SIGNIFICANT:.2g} then, so that about one shown "
        "difference in twenty is chance, at most. Intervals are those of each case alone. \"No "
        "difference shown\" is not \"the same\"."
    )  # fmt: skip
