"""Whether rows and tables are as declared: rules, expectations, gates, and the quarantine."""
