"""The models that write answers. Each module needs its own extra; `choose` imports the one that was asked for."""
