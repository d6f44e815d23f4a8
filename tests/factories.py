"""Builders of small real things for tests."""
