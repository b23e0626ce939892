"""What an API server does with one object, each step alone."""
