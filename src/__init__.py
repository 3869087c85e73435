"""cloudlake: the analytics platform of a cloud provider."""
