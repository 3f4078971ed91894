"""The routes by noun. Each decodes, calls a service inside a scope, and encodes."""
