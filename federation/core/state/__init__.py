"""State resolution: `resolve` is the way in, `v1` and `v2` are the algorithms, the other modules their
parts."""
