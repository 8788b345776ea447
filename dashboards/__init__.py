"""The Grafana dashboards, written in Python and checked in as JSON: `python dashboards/generate.py` renews them."""
