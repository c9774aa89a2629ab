"""envlock.toml, from text to values: read, validate, merge, edit. The only place that knows pydantic."""
