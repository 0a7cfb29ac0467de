"""What the server tells with an event of the events that relate to it.

Source: https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from federation.core.ids import EventID, UserID
from homeserver.model.accounts import Requester
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.services.visibility import Seen, Visibility
from homeserver.storage import aggregations
from homeserver.storage.aggregations import Child
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.relations import relation_of

ENCRYPTED = "m.room.encrypted"


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread, as its root sums it up."""

    latest: Seen
    count: int
    participated: bool


@dataclass(frozen=True, slots=True)
class Bundles:
    """What is bundled with events, by their numbers."""

    threads: Mapping[EventNid, Thread] = field(default_factory=dict)
    edits: Mapping[EventNid, Seen] = field(default_factory=dict)
    references: Mapping[EventNid, Sequence[EventID]] = field(default_factory=dict)

    @property
    def bundled(self) -> list[Seen]:
        """The events that stand within others."""
        return [*(thread.latest for thread in self.threads.values()), *self.edits.values()]


NOTHING = Bundles()


@dataclass(frozen=True, slots=True)
class Aggregations:
    """Finds what is to be bundled with the events of a page, in a constant number of queries.

    Only children that the reader may see count.
    """

    names: Names
    events: Events
    visibility: Visibility

    def of(
        self, conn: Connection, reader: Requester, page: Iterable[Event], ignored: Collection[UserID] = ()
    ) -> Bundles:
        """Return what belongs to the events of a page, and to the newest events of their threads."""
        # State events get no aggregations.
        parents = {event.event_id: event for event in page if not event.is_state}
        if not parents:
            return NOTHING
        ignored_nids = list(self.names.user_nids(conn, ignored).values()) if ignored else []
        threads = self._threads(conn, reader, parents, ignored, ignored_nids)
        parents.update((thread.latest.event.event_id, thread.latest.event) for thread in threads.values())
        children = aggregations.children(conn, _pairs(parents), ignored_nids)
        if not children:
            return Bundles(threads)
        visible = self._visible(conn, reader, children, ignored)
        edits: dict[EventNid, Seen] = {}
        references: dict[EventNid, list[EventID]] = {}
        for child in children:
            parent, seen = parents[EventID(child.parent)], visible.get(child.event)
            if seen is None or child.room != parent.room:
                continue
            if child.kind == "m.reference":
                references.setdefault(parent.nid, []).append(seen.event.event_id)
            elif parent.nid not in edits and _may_replace(parent, seen.event):
                edits[parent.nid] = seen
        return Bundles(threads, edits, {nid: ids[::-1] for nid, ids in references.items()})

    def _threads(
        self, conn: Connection, reader: Requester, parents: Mapping[EventID, Event], ignored: Collection[UserID],
        ignored_nids: Collection[UserNid],
    ) -> dict[EventNid, Thread]:  # fmt: skip
        # A child of something cannot be the root of a thread.
        roots = {str(event_id): event for event_id, event in parents.items() if relation_of(event.content) is None}
        if not roots:
            return {}
        rows = aggregations.threads(conn, _pairs(roots), reader.user, ignored_nids)
        if not rows:
            return {}
        latest = self.events.by_nids(conn, [row.latest for row in rows])
        visible = self._seen(conn, reader, latest.values(), ignored)
        found: dict[EventNid, Thread] = {}
        cut_off: dict[str, Event] = {}
        for row in rows:
            root, seen = roots[row.root], visible.get(row.latest)
            if seen is None:
                cut_off[row.root] = root
            elif row.room == root.room:
                found[root.nid] = Thread(seen, row.count, row.participated or root.sender_nid == reader.user)
        if cut_off:
            found |= self._counted(conn, reader, cut_off, ignored, ignored_nids)
        return found

    def _counted(
        self, conn: Connection, reader: Requester, roots: Mapping[str, Event], ignored: Collection[UserID],
        ignored_nids: Collection[UserNid],
    ) -> dict[EventNid, Thread]:  # fmt: skip
        """Sum up, reply by reply, the threads that went on where the reader cannot see them."""
        children = aggregations.replies(conn, _pairs(roots), ignored_nids)
        visible = self._visible(conn, reader, children, ignored)
        by_root: dict[str, list[Seen]] = {}
        for child in children:
            if child.event in visible and child.room == roots[child.parent].room:
                by_root.setdefault(child.parent, []).append(visible[child.event])
        return {
            roots[root].nid: Thread(
                replies[0],
                len(replies),
                any(event.sender_nid == reader.user for event in (roots[root], *(seen.event for seen in replies))),
            )
            for root, replies in by_root.items()
        }

    def _visible(
        self, conn: Connection, reader: Requester, children: Iterable[Child], ignored: Collection[UserID]
    ) -> dict[EventNid, Seen]:
        loaded = self.events.by_nids(conn, [child.event for child in children])
        return self._seen(conn, reader, loaded.values(), ignored)

    def _seen(
        self, conn: Connection, reader: Requester, events: Iterable[Event], ignored: Collection[UserID]
    ) -> dict[EventNid, Seen]:
        seen = self.visibility.seen(conn, reader.user, reader.user_id, list(events), ignored)
        return {each.event.nid: each for each in seen}


def _pairs(events: Mapping[str, Event] | Mapping[EventID, Event]) -> list[tuple[RoomNid, str]]:
    return [(event.room, event_id) for event_id, event in events.items()]


def _may_replace(original: Event, edit: Event) -> bool:
    """Return whether an edit by the same sender and of the same type is valid.

    Source: https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events
    """
    if original.redacted_by is not None:
        return False
    relation = relation_of(original.content)
    if relation is not None and relation[0] == "m.replace":
        return False
    return edit.type == ENCRYPTED or isinstance(edit.content.get("m.new_content"), dict)
