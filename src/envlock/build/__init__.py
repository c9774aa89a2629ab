"""Makes wheels from sources: sdists, commits of git, folders."""
