"""From a lock to the team's cache, over fsspec: needs upstream once."""
