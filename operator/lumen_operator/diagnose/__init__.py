"""What is wrong, and which condition says so: findings of pods and of the scheduler. Pure."""
