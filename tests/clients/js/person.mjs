// A person who chats with matrix-js-sdk. A test drives them with one JSON object a line on standard input,
// {"id": 1, "does": "says", "with": [...]}, and is answered on standard output: {"id": 1, "answer": ...} or
// {"id": 1, "error": {...}}. {"news": true} says that something on the screen has changed.

import "./node.mjs";
import { createInterface } from "node:readline";
import { createClient, InteractiveAuth, MemoryStore } from "matrix-js-sdk";
import { presenceOf, roomView, threadView } from "./view.mjs";

const CHANGES = [
  "sync", "accountData", "Room", "Room.myMembership", "Room.name", "Room.timeline", "Room.redaction", "Room.receipt",
  "Room.UnreadNotifications", "RoomState.events", "RoomMember.membership", "RoomMember.typing", "User.presence",
  "Event.replaced", "Event.relationsCreated", "Thread.new", "Thread.update", "Thread.newReply",
];
const [baseUrl] = process.argv.slice(2);
const requests = [];
let client;
let told = false;

function write(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function tellNews() {
  if (told) return;
  told = true;
  // After what the SDK still does with the same piece of news.
  setImmediate(() => {
    told = false;
    write({ news: true });
  });
}

async function fetchFn(input, init) {
  const response = await fetch(input, init);
  const body = response.ok ? {} : await response.clone().json().catch(() => ({}));
  requests.push({
    method: init?.method ?? "GET",
    path: new URL(input).pathname,
    status: response.status,
    errcode: body.errcode ?? null,
  });
  return response;
}

async function start(credentials) {
  client = createClient({
    baseUrl,
    fetchFn,
    userId: credentials.user_id,
    deviceId: credentials.device_id,
    accessToken: credentials.access_token,
    store: new MemoryStore(),
    timelineSupport: true,
  });
  for (const change of CHANGES) client.on(change, tellNews);
  const prepared = new Promise((resolve) => {
    client.on("sync", (state) => state === "PREPARED" && resolve());
  });
  await client.startClient({
    initialSyncLimit: 20,
    lazyLoadMembers: true,
    threadSupport: true,
    pendingEventOrdering: "detached",
    clientWellKnownPollPeriod: 2 * 60 * 60,
  });
  await prepared;
  return { user_id: client.getUserId(), device_id: client.getDeviceId() };
}

function shown(roomId, eventId) {
  const event = client.getRoom(roomId)?.findEventById(eventId);
  if (!event) throw new Error(`${eventId} is not on the screen`);
  return event;
}

async function sent(promise) {
  return (await promise).event_id;
}

async function bytesOf(url) {
  const response = await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return Buffer.from(await response.arrayBuffer()).toString("base64");
}

const DEEDS = {
  async signsUp(username, password) {
    const stranger = createClient({ baseUrl, fetchFn });
    const auth = new InteractiveAuth({
      matrixClient: stranger,
      supportedStages: ["m.login.dummy"],
      doRequest: (stage) => stranger.registerRequest({ username, password, ...(stage && { auth: stage }) }),
      stateUpdated: () => {},
    });
    return start(await auth.attemptAuth());
  },
  async logsIn(user, password) {
    const stranger = createClient({ baseUrl, fetchFn });
    const { flows } = await stranger.loginFlows();
    if (!flows.some((flow) => flow.type === "m.login.password")) throw new Error("no login by password");
    const identifier = { type: "m.id.user", user };
    return start(await stranger.loginRequest({ type: "m.login.password", identifier, password }));
  },
  async logsOut() {
    await client.logout(true);
  },

  async createsRoom(options) {
    return (await client.createRoom(options)).room_id;
  },
  invites: (roomId, userId) => client.invite(roomId, userId),
  async joins(roomId) {
    await client.joinRoom(roomId);
  },
  async opens(roomId) {
    const room = client.getRoom(roomId);
    await room.loadMembersIfNeeded();
    while (room.getLiveTimeline().getPaginationToken("b")) await client.scrollback(room, 30);
  },

  says: (roomId, content) => sent(client.sendMessage(roomId, content)),
  emotes: (roomId, body) => sent(client.sendEmoteMessage(roomId, body)),
  async uploads(base64, type, name) {
    const file = new Blob([Buffer.from(base64, "base64")], { type });
    return (await client.uploadContent(file, { name, type })).content_uri;
  },
  showsImage: (roomId, url, info, name) => sent(client.sendImageMessage(roomId, url, info, name)),
  downloads: (mxc) => bytesOf(client.mxcUrlToHttp(mxc, undefined, undefined, undefined, false, true, true)),
  thumbnail: (mxc, size) => bytesOf(client.mxcUrlToHttp(mxc, size, size, "scale", false, true, true)),
  saysInThread(roomId, rootId, body) {
    // Opening a thread makes it, as in Element; the SDK relies on that.
    const room = client.getRoom(roomId);
    if (!room.getThread(rootId)) room.createThread(rootId, shown(roomId, rootId), [], true);
    return sent(client.sendTextMessage(roomId, rootId, body));
  },
  reacts: (roomId, eventId, key) =>
    sent(client.sendEvent(roomId, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: eventId, key } })),
  redacts: (roomId, eventId, reason) => sent(client.redactEvent(roomId, eventId, undefined, { reason })),
  types: (roomId, isTyping) => client.sendTyping(roomId, isTyping, 30_000),
  reads: (roomId, eventId) => client.setRoomReadMarkers(roomId, eventId, shown(roomId, eventId)),
  readsThread: (roomId, eventId) => client.sendReadReceipt(shown(roomId, eventId)),
  async becomes(presence, status) {
    await client.setSyncPresence(presence);
    await client.setPresence({ presence, status_msg: status });
  },

  sees: (roomId) => roomView(client, roomId),
  seesThread: (roomId, rootId) => threadView(client, roomId, rootId),
  seesPresence: (userId) => presenceOf(client, userId),
  hasAsked: () => requests,
  asksFor: (method, path, body) => client.http.authedRequest(method, path, undefined, body, { prefix: "" }),
};

async function perform({ id, does, with: parameters }) {
  try {
    write({ id, answer: (await DEEDS[does](...parameters)) ?? null });
  } catch (error) {
    const { name, message, stack, httpStatus, errcode } = error;
    write({ id, error: { name, message, stack, status: httpStatus ?? null, errcode: errcode ?? null } });
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => void perform(JSON.parse(line)))
  .on("close", () => process.exit(0));
