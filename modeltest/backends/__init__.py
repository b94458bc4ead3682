"""What turns requests into responses."""
