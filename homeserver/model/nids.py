"""Integers inside, strings at the doors: the numbers by which the store knows things.

A *nid* is never shown to anyone. An event's nid is the number in the one commit-ordered sequence at which it was
stored; where it is in its room's timeline is its `place` (see `homeserver.model.events`).
"""

from typing import NewType

UserNid = NewType("UserNid", int)
DeviceNid = NewType("DeviceNid", int)
RoomNid = NewType("RoomNid", int)
EventNid = NewType("EventNid", int)
TypeNid = NewType("TypeNid", int)
SlotNid = NewType("SlotNid", int)
"""A pair of event type and state key."""
SnapshotNid = NewType("SnapshotNid", int)
