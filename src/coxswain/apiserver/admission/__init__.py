"""What is completed, and what is refused, between authorization and the store."""
