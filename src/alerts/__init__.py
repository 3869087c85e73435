"""Alerts: what is out of the ordinary in what is served, judged without Spark, and told to people."""
