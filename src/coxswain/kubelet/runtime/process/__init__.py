"""The ``process`` runtime: containers are host processes, without images; for development and tests."""
