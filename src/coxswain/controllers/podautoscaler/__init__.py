"""The horizontal pod autoscaler: as many replicas as the metrics ask for, within limits and not too fast."""
