"""How far a task can be trusted: calibrated answers, what is unknown, the accuracy to expect, what looks wrong."""
