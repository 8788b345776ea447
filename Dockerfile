# The exporter alone, without tests: `docker build -t model-exporter .`
# BASE is an argument so that a mirror or an own base can stand in; it needs Python 3.11 or later.
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
# What pip installs: this tree, or, in a bundle, a release. A wheel that lies beside this file comes first.
ARG PACKAGE=/src[all]
COPY . /src/
RUN python3 -m venv /opt/model-exporter \
    && /opt/model-exporter/bin/pip install --no-cache-dir --find-links /src "${PACKAGE}"

FROM ${BASE}
COPY --from=build /opt/model-exporter /opt/model-exporter
RUN mkdir -p /var/lib/model-exporter && chown 65534:65534 /var/lib/model-exporter
USER 65534:65534
ENV PATH=/opt/model-exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIRECTORY=/var/lib/model-exporter
VOLUME /var/lib/model-exporter
EXPOSE 9884
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD \
    ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9884/-/healthy', timeout=4)"]
ENTRYPOINT ["model-exporter"]
CMD ["--config.file", "/etc/model-exporter/model-exporter.yml"]
