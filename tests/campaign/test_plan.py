"""The plan of a campaign, drawn from its seed."""

from __future__ import annotations

import itertools

import pytest

from chat_history_conformance.campaign.clients.traffic import requests
from chat_history_conformance.campaign.plan import Client, Traffic, draw_events, draw_processes
from chat_history_conformance.campaign.server.faults import FAULTS, Ability, possible

SINGLE = Ability()
KAFKA_CLUSTER = Ability(3, ("leader", "coordinator", "controller"), partition=True)
ELASTICSEARCH_CLUSTER = Ability(3, ("primary", "replica", "master"))
BOTH = {
    "sync": ("messages", "last_messages", "messages_from_last_consumed"),
    "async": ("messages", "messages_from_last_consumed"),
}


def _clients(traffic: Traffic, seed: int = 1) -> list[Client]:
    return [client for process in draw_processes(seed, traffic) for client in process.clients]


def test_same_seed_draws_same_plan() -> None:
    traffic = Traffic(operations=BOTH)  # type: ignore[arg-type]
    assert draw_events(7, 30, KAFKA_CLUSTER) == draw_events(7, 30, KAFKA_CLUSTER)
    assert draw_processes(7, traffic) == draw_processes(7, traffic)


def test_another_seed_draws_another_plan() -> None:
    assert draw_events(7, 30, KAFKA_CLUSTER) != draw_events(8, 30, KAFKA_CLUSTER)


def test_all_possible_faults_come_before_one_comes_again() -> None:
    for ability in (SINGLE, KAFKA_CLUSTER, ELASTICSEARCH_CLUSTER):
        names = possible(ability)
        drawn = [event.fault for event in draw_events(3, len(names), ability)]
        assert sorted(drawn) == sorted(names)


def test_only_named_faults_are_drawn() -> None:
    drawn = {event.fault for event in draw_events(1, 20, SINGLE, ["kill", "shut-down"])}
    assert drawn == {"kill", "shut-down"}


def test_server_of_another_owner_has_no_faults() -> None:
    assert draw_events(1, 20, Ability(stoppable=False)) == ()


def test_faults_fit_the_server() -> None:
    assert set(possible(SINGLE)) == {
        *("kill", "double-kill", "shut-down", "short-pause", "long-pause", "pause-over-limit")
    }
    kafka, elasticsearch = set(possible(KAFKA_CLUSTER)), set(possible(ELASTICSEARCH_CLUSTER))
    assert {"kill-leader", "pause-coordinator", "shut-down-controller", "cut-off"} <= kafka
    assert {"kill-primary", "pause-replica", "shut-down-master"} <= elasticsearch
    assert "cut-off" not in elasticsearch  # this one cannot be partitioned
    assert {"kill-during-catch-up", "two-down", "all-down", "rolling-restart"} <= kafka
    assert {"reassign", "churn"} <= kafka & elasticsearch
    assert not {"kill", "double-kill"} & kafka


def test_numbers_of_an_event_are_in_the_range_of_its_fault() -> None:
    for event in draw_events(5, 60, KAFKA_CLUSTER):
        bounds = FAULTS[event.fault].numbers
        assert set(event.numbers) == set(bounds)
        for name, number in event.numbers.items():
            assert bounds[name][0] <= number <= bounds[name][1]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_history_of_one_mode_has_clients_of_that_mode(mode: str) -> None:
    clients = _clients(Traffic(operations={mode: BOTH[mode]}))  # type: ignore[dict-item]
    assert {client.mode for client in clients} == {mode}
    assert {client.role for client in clients} == {
        *("writer", "reader", "clearer", "mixed_clearer", "consumer")
    }


def test_history_of_both_modes_has_clients_of_both() -> None:
    clients = _clients(Traffic(operations=BOTH))  # type: ignore[arg-type]
    for role in ("writer", "reader", "clearer", "consumer"):
        assert {client.mode for client in clients if client.role == role} == {"sync", "async"}


def test_history_that_is_not_for_threads_has_one_client_in_a_process() -> None:
    traffic = Traffic(operations=BOTH, threads=False)  # type: ignore[arg-type]
    processes = draw_processes(1, traffic)
    assert {len(process.clients) for process in processes} == {1}
    assert len({process.name for process in processes}) == len(processes)


def test_history_without_consuming_reads_has_no_consumers() -> None:
    clients = _clients(Traffic(operations={"sync": ("messages",)}))
    assert "consumer" not in {client.role for client in clients}


def test_a_session_with_a_position_has_one_consumer_and_no_clears() -> None:
    clients = _clients(Traffic(operations=BOTH))  # type: ignore[arg-type]
    consumed = [client.sessions for client in clients if client.role == "consumer"]
    assert len(consumed) == len(set(consumed)) == 2
    cleared = {s for client in clients if "clearer" in client.role for s in client.sessions}
    assert not cleared & {session for sessions in consumed for session in sessions}


def test_no_reader_moves_the_position_of_a_consumer() -> None:
    operations = {mode: (*names, "messages_from_beginning") for mode, names in BOTH.items()}
    clients = _clients(Traffic(operations=operations))  # type: ignore[arg-type]
    consumed = {s for client in clients if client.role == "consumer" for s in client.sessions}
    rewound = {
        request.session
        for client in clients
        for request in itertools.islice(requests(client, client.name), 300)
        if request.operation == "messages_from_beginning"
    }
    assert rewound
    assert not rewound & consumed


def test_clears_race_with_other_writers_in_one_session() -> None:
    clients = _clients(Traffic(operations=BOTH))  # type: ignore[arg-type]
    (mixed,) = {s for client in clients if client.role == "mixed_clearer" for s in client.sessions}
    others = [c for c in clients if c.role == "writer" and mixed in c.sessions]
    assert {client.mode for client in others} == {"sync", "async"}


def test_texts_of_all_clients_are_unique() -> None:
    texts = [
        text
        for client in _clients(Traffic(operations=BOTH))  # type: ignore[arg-type]
        for request in itertools.islice(requests(client, client.name), 300)
        for text in request.texts
    ]
    assert len(texts) == len(set(texts)) > 1000


def test_batches_have_1_to_4_messages_and_sometimes_50() -> None:
    sizes = {
        len(request.texts)
        for client in _clients(Traffic(operations=BOTH))  # type: ignore[arg-type]
        if client.role == "writer"
        for request in itertools.islice(requests(client, client.name), 300)
    }
    assert sizes == {1, 2, 3, 4, 50}
