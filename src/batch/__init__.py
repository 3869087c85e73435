"""The batch layer: bronze, silver and gold."""
