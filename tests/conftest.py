"""The same examples on every run, and no database of old ones."""

from hypothesis import settings

settings.register_profile("chatkeep", derandomize=True, database=None, deadline=None)
settings.load_profile("chatkeep")
