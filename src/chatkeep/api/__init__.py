"""The service: HTTP in front of the services, and nothing of its own behind it."""
