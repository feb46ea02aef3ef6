"""The profiles: how much effort a run makes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COST_OF_A_SECOND", "MIN_EXAMPLES", "PROFILES", "Profile"]

MIN_EXAMPLES = 3
"""Examples that every contract gets, however many operations they take."""

COST_OF_A_SECOND = 20.0
"""The operations that a second of waiting counts as."""


@dataclass(frozen=True)
class Profile:
    """The effort of a run. It does not depend on the speed of the machine or of the history.

    Attributes:
        name: Its name for `--history-profile`.
        examples: Maximum number of examples of a contract.
        operations: Number of operations of a contract after which no further example begins.
        effort: Multiplies the size of an example that is large on purpose.
        shrink_seconds: Time for the search for a shorter example, from the first failure on.
        limit: Seconds after which an operation counts as hung.
        proof_seconds: Time after which no script of a finding is run again. Those that are printed
            in full have more.
    """

    name: str
    examples: int
    operations: int
    effort: int
    shrink_seconds: float
    limit: float
    proof_seconds: float = 60.0


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", examples=8, operations=400, effort=1, shrink_seconds=2.0, limit=15.0),
        Profile(
            "ci",
            examples=40,
            operations=2_000,
            effort=5,
            shrink_seconds=6.0,
            limit=30.0,
            proof_seconds=300.0,
        ),
        Profile(
            "thorough",
            examples=400,
            operations=20_000,
            effort=20,
            shrink_seconds=60.0,
            limit=60.0,
            proof_seconds=600.0,
        ),
    )
}
