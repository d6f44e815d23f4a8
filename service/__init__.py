"""Handful: an image classifier from a handful of examples, as a service."""
