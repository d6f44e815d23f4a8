"""The learning core: torch only, useful without the service."""
