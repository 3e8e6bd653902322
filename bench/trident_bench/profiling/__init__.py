"""``trident-bench profile``: where a request's microseconds go, from the call of the client to its return."""
