"""What pods and external servers say of themselves: asked in turn, only where it is allowed."""
