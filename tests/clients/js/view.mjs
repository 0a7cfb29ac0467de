// What a person sees on the screen, as the SDK tells it: tests/clients/person.py has the same shapes.

export function roomView(client, roomId) {
  const room = client.getRoom(roomId);
  if (!room) return null;
  const members = room.getMembers().filter((member) => ["join", "invite"].includes(member.membership));
  const receipts = members.map((member) => [member.userId, room.getReadReceiptForUserId(member.userId, true)]);
  return {
    name: room.name,
    membership: room.getMyMembership(),
    members: Object.fromEntries(members.map((member) => [member.userId, member.membership])),
    typing: members.filter((member) => member.typing).map((member) => member.userId),
    read: Object.fromEntries(receipts.filter(([, receipt]) => receipt).map(([user, receipt]) => [user, receipt.eventId])),
    unread: room.getUnreadNotificationCount("total"),
    highlights: room.getUnreadNotificationCount("highlight"),
    messages: messages(room, room.getLiveTimeline().getEvents()),
  };
}

export function threadView(client, roomId, rootId) {
  const room = client.getRoom(roomId);
  const thread = room?.getThread(rootId);
  if (!thread) return null;
  return {
    length: thread.length,
    unread: room.getThreadUnreadNotificationCount(rootId, "total"),
    messages: messages(room, thread.events),
  };
}

export function presenceOf(client, userId) {
  const user = client.getUser(userId);
  return user ? { presence: user.presence, status: user.presenceStatusMsg ?? null } : null;
}

function messages(room, events) {
  return events
    .filter((event) => event.getType() === "m.room.message" && !event.isRelation("m.replace"))
    .map((event) => message(room, event));
}

function message(room, event) {
  const content = event.getContent();
  return {
    id: event.getId(),
    sender: event.getSender(),
    kind: content.msgtype ?? null,
    body: content.body ?? null,
    url: content.url ?? null,
    reply_to: event.replyEventId ?? null,
    edited: event.replacingEventId() !== undefined,
    redacted: event.isRedacted(),
    reactions: reactions(room, event),
  };
}

function reactions(room, event) {
  const children = room.relations.getChildEventsForEvent(event.getId(), "m.annotation", "m.reaction");
  const byKey = children?.getSortedAnnotationsByKey() ?? [];
  const senders = ([key, events]) => [key, [...events].map((child) => child.getSender()).sort()];
  return Object.fromEntries(byKey.filter(([, events]) => events.size).map(senders));
}
