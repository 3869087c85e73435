"""Silver: deliveries of bronze, conformed, checked and woven into history or upserted."""
