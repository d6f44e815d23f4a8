"""The algorithms: each meta-trains a network and adapts it."""
