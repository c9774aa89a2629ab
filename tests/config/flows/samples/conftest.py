"""The flow files here are data: they are read as text and never imported, by envlock or by pytest."""

collect_ignore_glob = ["*.py"]
