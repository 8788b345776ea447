"""Model Exporter: joins a model's predictions with their late labels and tells Prometheus how good it is."""

__version__ = "0.1.0"
