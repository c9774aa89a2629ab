"""From requirements to a lock: needs an index, never a package."""
