"""envlock.toml: reading, validating and editing it. Only this folder knows pydantic."""
