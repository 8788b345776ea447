"""The files that are shipped beside the exporter: dashboards, rules, notifications."""
