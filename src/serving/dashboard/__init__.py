"""The dashboard and the JSON API: pages as functions of the named queries' answers, rendered on the server."""
