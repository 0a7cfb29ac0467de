"""Integers inside, strings at the doors: the numbers by which the store knows things.

A *nid* is never shown to anyone. An event's nid is also its place in the one commit-ordered sequence:
live events count up from 1, events fetched from before our time count down from -1.
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
