"""Push: which events a user is notified of. `rules` decides, `defaults` has what the specification predefines."""
