"""From a lock to a runnable prefix: needs only the cache."""
