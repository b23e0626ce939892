"""What Kubernetes keeps true, kept true: one room a controller, a manager that runs them by descriptor."""
