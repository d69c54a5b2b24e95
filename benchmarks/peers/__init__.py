"""The implementations with which ours is compared, each built into the same firmware."""
