"""The faults of a campaign. Each one is an object with a name, a description and a body.

A body does things to the server through a `Stage`. It does not have to undo them: after each fault
the stage heals the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chat_history_conformance.campaign.server.stage import Stage
from chat_history_conformance.servers.server import Member

__all__ = ["FAULTS", "ROLES", "Ability", "Fault", "possible"]

ROLES = ("leader", "coordinator", "controller", "primary", "replica", "master")
"""The roles of members in all kinds of clusters."""

Body = Callable[..., None]


@dataclass(frozen=True)
class Ability:
    """The possible faults of a server.

    Attributes:
        members: The number of its nodes; 1 for a single server.
        roles: The roles that a member can have.
        partition: Whether a member can be cut off from the others.
        stoppable: Whether it can be paused, killed and shut down.
    """

    members: int = 1
    roles: tuple[str, ...] = ()
    partition: bool = False
    stoppable: bool = True


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: Its name in `--faults`.
        description: Its effect, for progress lines and reports.
        body: Does it. It takes the stage and one argument for each entry of `numbers`.
        fits: Whether a server can have it.
        numbers: The range that each number of the body is drawn from.
        splits: Whether a member serves clients during it, or directly afterwards, while it does not
            know what the others have stored.
    """

    name: str
    description: str
    body: Body
    fits: Callable[[Ability], bool]
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    splits: bool = False


def _single(ability: Ability) -> bool:
    return ability.members == 1


def _cluster(ability: Ability) -> bool:
    return ability.members > 1


def _kill(stage: Stage, down_seconds: float) -> None:
    stage.kill()
    stage.wait(down_seconds)
    stage.restart()


def _double_kill(stage: Stage, down_seconds: float, up_seconds: float) -> None:
    _kill(stage, down_seconds)
    stage.wait(up_seconds)
    _kill(stage, down_seconds)


def _shut_down(stage: Stage, down_seconds: float) -> None:
    stage.shut_down()
    stage.wait(down_seconds)
    stage.restart()


def _pause(stage: Stage, pause_seconds: float) -> None:
    stage.pause()
    stage.wait(pause_seconds)
    stage.resume()


def _pause_over_limit(stage: Stage, more_seconds: float) -> None:
    _pause(stage, stage.limit_seconds + more_seconds)


def _pause_one(stage: Stage, pause_seconds: float, pick: float) -> None:
    member = stage.member(pick)
    stage.pause(member)
    stage.wait(pause_seconds)
    stage.resume(member)


def _churn(
    stage: Stage, first_seconds: float, second_seconds: float, third_seconds: float, pick: float
) -> None:
    for number, seconds in enumerate((first_seconds, second_seconds, third_seconds)):
        _pause_one(stage, seconds, (pick + number * 0.4) % 1.0)
        stage.wait(0.3)


def _two_down(stage: Stage, down_seconds: float, pick: float) -> None:
    first, second = stage.two_members(pick)
    stage.kill(first)
    stage.kill(second)
    stage.wait(down_seconds)
    stage.restart(first)
    stage.restart(second)


def _all_down(stage: Stage, down_seconds: float) -> None:
    stage.kill()
    stage.wait(down_seconds)
    stage.restart()


def _rolling(stage: Stage, down_seconds: float) -> None:
    for member in stage.members:
        stage.shut_down(member)
        stage.wait(down_seconds)
        stage.restart(member)
        stage.wait_until_healthy()


def _catch_up(stage: Stage, down_seconds: float, catch_up_seconds: float) -> None:
    role = stage.roles[0]
    first = stage.holder(role)
    stage.kill(first)
    stage.wait(down_seconds)
    stage.restart(first)
    stage.wait(catch_up_seconds)
    second = stage.holder(role)
    stage.kill(second)
    stage.wait(down_seconds)
    stage.restart(second)


def _cut_off(stage: Stage, apart_seconds: float) -> None:
    member = stage.holder(stage.roles[0])
    stage.cut_off(member)
    stage.wait(apart_seconds)
    stage.reconnect(member)


def _reassign(stage: Stage, pick: float) -> None:
    stage.reassign(pick)


def _restart_holder(role: str, end: Callable[[Stage, Member], None]) -> Body:
    def body(stage: Stage, down_seconds: float) -> None:
        member = stage.holder(role)
        end(stage, member)
        stage.wait(down_seconds)
        stage.restart(member)

    return body


def _pause_holder(role: str) -> Body:
    def body(stage: Stage, pause_seconds: float) -> None:
        member = stage.holder(role)
        stage.pause(member)
        stage.wait(pause_seconds)
        stage.resume(member)

    return body


def _of_role(role: str) -> tuple[Fault, ...]:
    def fits(ability: Ability) -> bool:
        return ability.members > 1 and role in ability.roles

    return (
        Fault(
            f"kill-{role}",
            f"kill the {role}",
            _restart_holder(role, Stage.kill),
            fits,
            {"down_seconds": (1.0, 8.0)},
        ),
        Fault(
            f"pause-{role}",
            f"pause the {role} until the others replace it",
            _pause_holder(role),
            fits,
            {"pause_seconds": (11.0, 16.0)},
            splits=True,
        ),
        Fault(
            f"shut-down-{role}",
            f"shut down the {role} in an orderly way",
            _restart_holder(role, Stage.shut_down),
            fits,
            {"down_seconds": (1.0, 5.0)},
        ),
    )


_PICK = (0.0, 1.0)
_LIST = (
    Fault("kill", "kill the server", _kill, _single, {"down_seconds": (0.0, 6.0)}),
    Fault(
        "double-kill",
        "kill the server twice, the second time soon after its start",
        _double_kill,
        _single,
        {"down_seconds": (0.0, 2.0), "up_seconds": (0.5, 4.0)},
    ),
    Fault(
        "shut-down",
        "shut down the server in an orderly way",
        _shut_down,
        _single,
        {"down_seconds": (0.0, 3.0)},
    ),
    Fault(
        "short-pause",
        "pause the server for a moment",
        _pause,
        _single,
        {"pause_seconds": (0.2, 2.5)},
    ),
    Fault(
        "long-pause",
        "pause the server for longer than most clients wait",
        _pause,
        _single,
        {"pause_seconds": (6.0, 13.0)},
    ),
    Fault(
        "pause-over-limit",
        "pause the server for longer than a call may take",
        _pause_over_limit,
        lambda ability: True,
        {"more_seconds": (1.0, 4.0)},
    ),
    *(fault for role in ROLES for fault in _of_role(role)),
    Fault(
        "kill-during-catch-up",
        "kill the new leader or primary while the old one catches up",
        _catch_up,
        lambda ability: ability.members > 1 and bool(ability.roles),
        {"down_seconds": (2.0, 4.0), "catch_up_seconds": (0.5, 3.0)},
    ),
    Fault(
        "two-down",
        "kill two members",
        _two_down,
        lambda ability: ability.members > 2,
        {"down_seconds": (5.0, 10.0), "pick": _PICK},
    ),
    Fault("all-down", "kill all members", _all_down, _cluster, {"down_seconds": (0.5, 3.0)}),
    Fault(
        "rolling-restart",
        "shut down and start each member, one after another",
        _rolling,
        _cluster,
        {"down_seconds": (0.2, 1.0)},
    ),
    Fault(
        "cut-off",
        "cut off the leader or primary from the other members",
        _cut_off,
        lambda ability: ability.members > 1 and ability.partition and bool(ability.roles),
        {"apart_seconds": (8.0, 14.0)},
        splits=True,
    ),
    Fault("reassign", "move a session to other members", _reassign, _cluster, {"pick": _PICK}),
    Fault(
        "churn",
        "pause members for short times, one after another",
        _churn,
        _cluster,
        {
            "first_seconds": (0.5, 4.0),
            "second_seconds": (0.5, 4.0),
            "third_seconds": (0.5, 4.0),
            "pick": _PICK,
        },
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _LIST}
"""All faults by name."""


def possible(ability: Ability) -> tuple[str, ...]:
    """Return the names of the faults that a server can have."""
    if not ability.stoppable:
        return ()
    return tuple(name for name, fault in FAULTS.items() if fault.fits(ability))
