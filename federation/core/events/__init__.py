"""Events: `pdu` is the event, `draft` makes one, `format` checks one, `redaction` and `content` read one."""
