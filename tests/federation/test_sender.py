"""What waits for other servers is sent in order, one transaction at a time to each, and to all at once."""

import asyncio
from bisect import insort
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from federation.core.ids import EventID, ServerName
from federation.matrix import queue as queues
from federation.matrix.errors import FederationError, RemoteError, Unreachable
from federation.matrix.outbox import Item, Page, Record
from federation.matrix.sender import Sender
from homeserver.clock import SystemIds
from tests.support.clock import MovableClock
from tests.support.waiting import until

US, A, B = ServerName("us"), ServerName("a"), ServerName("b")


def pdu(position: int, size: int = 100) -> Item:
    return Item(position, {"type": "m.room.message", "n": position}, size, EventID(f"${position}"))


def edu(position: int) -> Item:
    return Item(position, {"edu_type": "m.direct_to_device", "content": {"n": position}}, 100, None)


@dataclass
class Store:
    """An outbox that survives its sender."""

    waiting: dict[ServerName, list[Item]] = field(default_factory=lambda: defaultdict(list))
    records: dict[ServerName, Record] = field(default_factory=dict)
    noted: dict[ServerName, Record] = field(default_factory=dict)
    pages: int = 0
    saves: int = 0

    def add(self, item: Item, *servers: ServerName) -> None:
        for server in servers:
            insort(self.waiting[server], item, key=lambda one: one.position)

    async def page(self, server: ServerName, after: int) -> Page:
        self.pages += 1
        await asyncio.sleep(0)
        found = [item for item in self.waiting[server] if item.position > after][:100]
        return Page(found, len(found) == 100)

    async def items(self, server: ServerName, positions: Sequence[int]) -> Sequence[Item]:
        await asyncio.sleep(0)
        return [item for item in self.waiting[server] if item.position in positions]

    async def save(self, record: Record) -> None:
        self.saves += 1
        self.noted[record.server] = record
        await asyncio.sleep(0)
        self.records.update(self.noted)

    def note(self, record: Record, taken: Sequence[int] = ()) -> None:
        self.noted[record.server] = record

    def unfinished(self) -> list[Record]:
        return [
            self.records.get(server, Record(server, 0, None, None, None))
            for server, items in self.waiting.items()
            if items
        ]


Answer = Callable[[ServerName, str, Mapping[str, Any]], Any]


@dataclass
class Others:
    """All other servers: they take what they are sent, once, unless told otherwise."""

    down: set[ServerName] = field(default_factory=set)
    hanging: set[ServerName] = field(default_factory=set)
    answer: Answer | None = None
    attempts: dict[ServerName, list[tuple[str, Mapping[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    pdus: dict[ServerName, list[int]] = field(default_factory=lambda: defaultdict(list))
    edus: dict[ServerName, list[Any]] = field(default_factory=lambda: defaultdict(list))
    open: dict[ServerName, int] = field(default_factory=lambda: defaultdict(int))
    most_open: int = 0
    most_open_to_one: int = 0
    seen: set[tuple[ServerName, str]] = field(default_factory=set)

    async def send_transaction(
        self, destination: ServerName, txn_id: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        self.attempts[destination].append((txn_id, body))
        self.open[destination] += 1
        self.most_open = max(self.most_open, sum(self.open.values()))
        self.most_open_to_one = max(self.most_open_to_one, self.open[destination])
        try:
            await asyncio.sleep(0)
            if destination in self.down:
                raise Unreachable(f"{destination} is down")
            if destination in self.hanging:
                await asyncio.Event().wait()
            if self.answer is not None and (given := self.answer(destination, txn_id, body)) is not None:
                if isinstance(given, FederationError):
                    raise given
                return dict(given)
        finally:
            self.open[destination] -= 1
        if (destination, txn_id) not in self.seen:
            self.seen.add((destination, txn_id))
            self.pdus[destination] += [one["n"] for one in body["pdus"]]
            self.edus[destination] += body.get("edus", [])
        return {"pdus": {}}


@dataclass
class Scene:
    store: Store
    others: Others
    clock: MovableClock
    sender: Sender

    def commits(self, item: Item, *servers: ServerName) -> None:
        """Do what a commit does."""
        self.store.add(item, *servers)
        self.sender.hand_over(servers, item)

    async def later(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.sender.wake()

    def restarts(self, **settings: Any) -> Sender:
        """Return a sender that knows only what was durable; the old one is no more, as after kill -9."""
        self.sender._running = False
        for task in list(self.sender._tasks):
            task.cancel()
        self.store.noted.clear()
        self.sender = Sender(US, self.others, self.store, self.clock, SystemIds(), **settings)
        self.sender.start(self.store.unfinished(), ())
        return self.sender


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store, others, clock = Store(), Others(), MovableClock()
    sender = Sender(US, others, store, clock, SystemIds())
    sender.start([], ())
    made = Scene(store, others, clock, sender)
    yield made
    await made.sender.stop(0)


async def test_what_is_committed_is_sent_without_reading_it_again(scene: Scene) -> None:
    for position in range(1, 6):
        scene.commits(pdu(position), A, B)
    await until(lambda: len(scene.others.pdus[A]) == len(scene.others.pdus[B]) == 5)
    assert scene.others.pdus == {A: [1, 2, 3, 4, 5], B: [1, 2, 3, 4, 5]}
    assert scene.store.pages == 0
    _, body = scene.others.attempts[A][0]
    assert body["origin"] == US
    assert isinstance(body["origin_server_ts"], int)


async def test_a_server_with_nothing_to_send_to_it_costs_no_memory(scene: Scene) -> None:
    scene.commits(pdu(1), A)
    await until(lambda: scene.others.pdus[A] and not scene.sender.queues)


async def test_a_transaction_is_within_its_bounds_and_one_follows_the_other(scene: Scene) -> None:
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: scene.others.attempts[A])
    for position in range(2, 1001):
        scene.commits(pdu(position) if position % 3 else edu(position), A)
    scene.others.down.clear()
    await scene.later(5)
    await until(lambda: len(scene.others.pdus[A]) + len(scene.others.edus[A]) == 1000)
    assert scene.others.pdus[A] == [n for n in range(1, 1001) if n == 1 or n % 3]
    assert [one["content"]["n"] for one in scene.others.edus[A]] == [n for n in range(2, 1001) if n % 3 == 0]
    for _, body in scene.others.attempts[A]:
        assert len(body["pdus"]) <= 50
        assert len(body.get("edus", [])) <= 100
    assert scene.others.most_open_to_one == 1
    await until(lambda: not scene.sender.queues)
    assert scene.store.noted[A].cursor == 1000


async def test_a_transaction_is_bounded_in_bytes(scene: Scene) -> None:
    for position in range(1, 11):
        scene.store.add(pdu(position, size=queues.MOST_BYTES // 4), A)
    scene.store.add(pdu(11, size=queues.MOST_BYTES * 2), A)
    scene.restarts()
    await until(lambda: len(scene.others.pdus[A]) == 11)
    assert [len(body["pdus"]) for _, body in scene.others.attempts[A]] == [4, 4, 2, 1]


async def test_a_transaction_is_repeated_as_it_was_until_it_is_taken(scene: Scene) -> None:
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: len(scene.others.attempts[A]) == 1)
    scene.commits(pdu(2), A)
    scene.sender.pass_by([A], "presence alice", {"edu_type": "m.presence", "content": {}})
    for _ in range(3):
        tried = len(scene.others.attempts[A])
        await scene.later(3)
        await until(lambda tried=tried: len(scene.others.attempts[A]) == tried + 1)
    scene.others.down.clear()
    await scene.later(100)
    await until(lambda: scene.others.pdus[A] == [1, 2])
    first, *repeated, last = scene.others.attempts[A]
    assert repeated == [first] * 4
    assert last[0] != first[0]
    assert len(last[1]["edus"]) == 1


async def test_after_kill_9_the_same_transaction_is_repeated_and_nothing_is_lost_or_doubled(scene: Scene) -> None:
    scene.others.hanging.add(A)
    scene.commits(pdu(1), A)
    scene.commits(edu(2), A)
    await until(lambda: scene.others.attempts[A])
    scene.commits(pdu(3), A)
    ((txn_id, body),) = scene.others.attempts[A]
    scene.restarts()
    await until(lambda: len(scene.others.attempts[A]) == 2)
    assert scene.others.attempts[A][1] == (txn_id, body)
    scene.restarts()
    scene.others.hanging.clear()
    # The others may have taken it, and the answer was lost.
    scene.others.seen.add((A, txn_id))
    scene.restarts()
    await until(lambda: scene.others.pdus[A] == [3])


async def test_a_restart_between_the_answer_and_its_record_repeats_a_transaction_that_was_taken(scene: Scene) -> None:
    scene.commits(pdu(1), A)
    await until(lambda: scene.others.pdus[A] == [1] and not scene.sender.queues)
    scene.restarts()
    await until(lambda: len(scene.others.attempts[A]) == 2 and not scene.sender.queues)
    assert scene.others.attempts[A][0] == scene.others.attempts[A][1]
    assert scene.others.pdus[A] == [1]


async def test_a_server_that_cannot_be_reached_is_tried_gently(scene: Scene) -> None:
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    for _ in range(24 * 60):
        await scene.later(60)
        await until(lambda: not scene.sender._tasks)
    assert 24 <= len(scene.others.attempts[A]) <= 150
    assert {txn_id for txn_id, _ in scene.others.attempts[A]} == {scene.others.attempts[A][0][0]}


async def test_hearing_from_a_server_ends_the_wait(scene: Scene) -> None:
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: scene.sender.queue(A) and not scene.sender._tasks)
    for _ in range(30):
        await scene.later(3600 * 1.2)
        await until(lambda: not scene.sender._tasks)
    scene.others.down.clear()
    tried = len(scene.others.attempts[A])
    await scene.later(60)
    assert len(scene.others.attempts[A]) == tried
    scene.sender.heard_from(A)
    await until(lambda: scene.others.pdus[A] == [1])


async def test_a_greeting_is_an_empty_transaction_once(scene: Scene) -> None:
    scene.others.down.add(B)
    for server in (A, B):
        scene.sender.greet(server)
    await until(lambda: scene.others.attempts[A] and scene.others.attempts[B] and not scene.sender.queues)
    ((_, body),) = scene.others.attempts[A]
    assert body["pdus"] == []
    assert "edus" not in body
    assert len(scene.others.attempts[B]) == 1
    assert (scene.store.noted, scene.store.records) == ({}, {})


async def test_who_speaks_and_cannot_be_reached_is_not_tried_for_each_word(scene: Scene) -> None:
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: scene.sender.queue(A) and not scene.sender._tasks)
    for _ in range(600):
        scene.sender.heard_from(A)
        await scene.later(1)
        await until(lambda: not scene.sender._tasks)
    assert len(scene.others.attempts[A]) < 50


async def test_a_server_that_hangs_holds_up_nobody_else(scene: Scene) -> None:
    scene.others.hanging.add(A)
    for position in range(1, 101):
        scene.commits(pdu(position), A, B)
    await until(lambda: len(scene.others.pdus[B]) == 100)
    assert scene.others.pdus[A] == []


async def test_servers_that_hang_do_not_keep_their_places(scene: Scene) -> None:
    sender = scene.restarts(at_once=5, slow_seconds=0.05)
    hanging = [ServerName(f"h{n}") for n in range(20)]
    scene.others.hanging.update(hanging)
    scene.commits(pdu(1), *hanging, A)
    await until(lambda: scene.others.pdus[A] == [1])
    assert sender.queue(hanging[0]) is not None


async def test_a_server_that_never_answers_fails(scene: Scene) -> None:
    scene.restarts(seconds=0.05)
    scene.others.hanging.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: (found := scene.sender.queue(A)) and found.error == "a did not answer in time")


async def test_many_servers_are_served_at_once_and_not_too_many(scene: Scene) -> None:
    servers = [ServerName(f"s{n}") for n in range(500)]
    scene.restarts(at_once=20)
    for position in range(1, 4):
        scene.commits(pdu(position), *servers)
    await until(lambda: all(scene.others.pdus[server] == [1, 2, 3] for server in servers))
    assert 10 < scene.others.most_open <= 20
    assert scene.others.most_open_to_one == 1


async def test_what_is_passing_is_sent_with_the_rest_and_the_newest_only(scene: Scene) -> None:
    typing = {"edu_type": "m.typing", "content": {"typing": True}}
    stopped = {"edu_type": "m.typing", "content": {"typing": False}}
    scene.sender.pass_by([A], "typing alice", typing)
    scene.sender.pass_by([A], "typing alice", stopped)
    scene.sender.pass_by([A], "typing bob", typing)
    await until(lambda: len(scene.others.edus[A]) == 2)
    assert scene.others.edus[A] == [stopped, typing]
    assert scene.store.saves == 0


async def test_what_is_passing_does_not_move_the_cursor(scene: Scene) -> None:
    scene.commits(pdu(7), A)
    await until(lambda: scene.others.pdus[A] and not scene.sender.queues)
    scene.sender.pass_by([A], "typing", {"edu_type": "m.typing", "content": {}})
    scene.commits(pdu(9), A)
    await until(lambda: len(scene.others.pdus[A]) == 2 and not scene.sender.queues)
    assert scene.store.noted[A].cursor == 9
    assert scene.store.records[A].cursor >= 7


async def test_what_is_passing_is_bounded_and_not_kept_for_who_is_gone(scene: Scene) -> None:
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: scene.sender.queue(A) and not scene.sender._tasks)
    for number in range(1000):
        scene.sender.pass_by([A], str(number), {"edu_type": "m.presence", "content": {"n": number}})
    queue = scene.sender.queue(A)
    assert queue is not None
    assert list(queue.passing) == [str(n) for n in range(800, 1000)]
    for _ in range(20):
        await scene.later(60)
        await until(lambda: not scene.sender._tasks)
    scene.sender.pass_by([A], "x", {"edu_type": "m.presence", "content": {}})
    assert queue.passing == {}
    assert queue.load is None


async def test_what_a_server_refuses_is_counted_and_not_sent_again(scene: Scene) -> None:
    scene.others.answer = lambda *_: {"pdus": {"$1": {"error": "no"}, "$2": {}, "$3": "nonsense"}}
    for position in range(1, 4):
        scene.commits(pdu(position), A)
    await until(lambda: scene.sender.counts.refused)
    await until(lambda: not scene.sender.queues)
    assert scene.sender.counts.refused == 1
    assert sum(len(body["pdus"]) for _, body in scene.others.attempts[A]) == 3


@pytest.mark.parametrize("answer", [{}, {"pdus": []}, {"pdus": {"$1": None}}, {"pdus": {"$1": {"error": {"a": 1}}}}])
async def test_a_strange_answer_with_200_is_taken_as_such(scene: Scene, answer: Mapping[str, Any]) -> None:
    scene.others.answer = lambda *_: answer
    scene.commits(pdu(1), A)
    await until(lambda: scene.others.attempts[A] and not scene.sender.queues)
    assert scene.store.noted[A].cursor == 1


async def test_less_is_sent_at_once_to_who_finds_it_too_large_and_what_never_fits_is_given_up(scene: Scene) -> None:
    def too_large(server: ServerName, _: str, body: Mapping[str, Any]) -> Any:
        large = len(body["pdus"]) > 10 or any(one["n"] == 30 for one in body["pdus"])
        return RemoteError(server, 413, {"errcode": "M_TOO_LARGE"}) if large else None

    scene.others.answer = too_large
    for position in range(1, 61):
        scene.store.add(pdu(position), A)
    scene.restarts()
    await until(lambda: len(scene.others.pdus[A]) == 59)
    assert scene.others.pdus[A] == [n for n in range(1, 61) if n != 30]


async def test_a_server_that_asks_to_wait_is_left_alone(scene: Scene) -> None:
    scene.others.answer = lambda server, *_: RemoteError(server, 429, {"retry_after_ms": 50_000})
    scene.commits(pdu(1), A)
    await until(lambda: scene.sender.queue(A) and not scene.sender._tasks)
    await scene.later(40)
    assert len(scene.others.attempts[A]) == 1
    scene.others.answer = None
    await scene.later(11)
    await until(lambda: scene.others.pdus[A] == [1])


async def test_nothing_is_sent_to_who_is_blocked_until_they_are_not(scene: Scene) -> None:
    scene.sender.block([A])
    scene.commits(pdu(1), A, B)
    scene.commits(pdu(2), A, B)
    await until(lambda: scene.others.pdus[B] == [1, 2])
    assert scene.others.attempts[A] == []
    scene.sender.block([])
    await until(lambda: scene.others.pdus[A] == [1, 2])


async def test_an_operator_can_have_a_server_tried_again(scene: Scene) -> None:
    assert not scene.sender.retry(A)
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: scene.sender.queue(A) and not scene.sender._tasks)
    scene.others.down.clear()
    assert scene.sender.retry(A)
    await until(lambda: scene.others.pdus[A] == [1])


async def test_what_is_committed_while_a_page_is_read_comes_once_and_in_order(scene: Scene) -> None:
    scene.others.down.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: scene.sender.queue(A) and not scene.sender._tasks)
    scene.others.down.clear()
    scene.sender.heard_from(A)
    for position in range(2, 700):
        scene.commits(pdu(position), A)
        if position % 7 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(scene.others.pdus[A]) == 699)
    assert scene.others.pdus[A] == list(range(1, 700))


async def test_what_is_gone_from_the_outbox_is_not_waited_for(scene: Scene) -> None:
    scene.others.hanging.add(A)
    scene.commits(pdu(1), A)
    await until(lambda: scene.others.attempts[A])
    scene.restarts()
    await until(lambda: len(scene.others.attempts[A]) == 2)
    scene.commits(pdu(2), A)
    scene.store.waiting[A].clear()  # the room was deleted
    scene.others.hanging.clear()
    scene.sender.start([scene.store.records[A]], ())
    await until(lambda: not scene.sender.queues)


async def test_a_fault_of_the_database_is_survived(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: Record) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "save", fails)
        scene.commits(pdu(1), A)
        await until(lambda: scene.sender.queue(A) and not scene.sender._tasks)
    assert scene.others.attempts[A] == []
    await scene.later(2)
    await until(lambda: scene.others.pdus[A] == [1])
