"""Push rules: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api."""

from typing import Any

import msgspec

from homeserver.http.routing import Call, Json, Routes
from homeserver.model.push_rules import Action, PushRule, RuleKind
from homeserver.services.push.editing import known_actions

routes = Routes()


class RuleBody(msgspec.Struct):
    """A rule as a client sends it; its ID and kind stand in the path."""

    actions: list[Action]
    conditions: list[dict[str, Any]] = []
    pattern: str | None = None


class PlaceQuery(msgspec.Struct):
    """Where a rule goes."""

    before: str | None = None
    after: str | None = None


class EnabledBody(msgspec.Struct):
    """Whether a rule is on."""

    enabled: bool


class ActionsBody(msgspec.Struct):
    """What a rule does."""

    actions: list[Action]


@routes.get("/_matrix/client/v3/pushrules/")
async def get_rulesets(call: Call) -> Json:
    """Return all rule sets; there is only the global one."""
    return {"global": await call.services.push_rules.all(call.who)}


@routes.get("/_matrix/client/v3/pushrules/global/")
async def get_rules(call: Call) -> Json:
    """Return all rules."""
    return await call.services.push_rules.all(call.who)


@routes.get("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}")
async def get_rule(call: Call, kind: RuleKind, rule_id: str) -> Json:
    """Return one rule."""
    return await call.services.push_rules.find(call.who, kind, rule_id)


@routes.put("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}")
async def put_rule(call: Call, kind: RuleKind, rule_id: str, query: PlaceQuery, body: RuleBody) -> Json:
    """Make or change a rule."""
    conditions = tuple(body.conditions) if kind in (RuleKind.OVERRIDE, RuleKind.UNDERRIDE) else ()
    pattern = body.pattern if kind is RuleKind.CONTENT else None
    rule = PushRule(rule_id, known_actions(body.actions), conditions, pattern)
    await call.services.push_rules.put(call.who, kind, rule, before=query.before, after=query.after)
    return {}


@routes.delete("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}")
async def delete_rule(call: Call, kind: RuleKind, rule_id: str) -> Json:
    """Delete a rule."""
    await call.services.push_rules.delete(call.who, kind, rule_id)
    return {}


@routes.get("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/enabled")
async def get_enabled(call: Call, kind: RuleKind, rule_id: str) -> Json:
    """Say whether a rule is on."""
    rule = await call.services.push_rules.find(call.who, kind, rule_id)
    return {"enabled": rule["enabled"]}


@routes.put("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/enabled")
async def set_enabled(call: Call, kind: RuleKind, rule_id: str, body: EnabledBody) -> Json:
    """Turn a rule on or off."""
    await call.services.push_rules.enable(call.who, kind, rule_id, body.enabled)
    return {}


@routes.get("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/actions")
async def get_actions(call: Call, kind: RuleKind, rule_id: str) -> Json:
    """Say what a rule does."""
    rule = await call.services.push_rules.find(call.who, kind, rule_id)
    return {"actions": rule["actions"]}


@routes.put("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/actions")
async def set_actions(call: Call, kind: RuleKind, rule_id: str, body: ActionsBody) -> Json:
    """Change what a rule does."""
    await call.services.push_rules.set_actions(call.who, kind, rule_id, body.actions)
    return {}
