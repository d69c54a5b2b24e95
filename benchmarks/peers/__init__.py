"""The implementations that ours is compared with, each built into the same firmware."""
