"""Who may do what in a room.

`selection` says which state authorises an event, `rules` judges an event by such state (with `create`,
`membership` and `power_levels`), `receipt` judges an event that another server has sent.
"""
