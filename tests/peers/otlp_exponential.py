"""Sends one exponential histogram with the OpenTelemetry SDK, and fails if the export fails.

usage: otlp_exponential.py grpc|http ENDPOINT VALUE...
"""

import logging
import sys

transport, endpoint, values = sys.argv[1], sys.argv[2], [float(value) for value in sys.argv[3:]]

if transport == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=endpoint, insecure=True)
else:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

logging.basicConfig(level=logging.WARNING)
answers = []
export = exporter.export


def look(batch, *args, **kwargs):
    """The SDK itself only logs failures."""
    answers.append(export(batch, *args, **kwargs))
    return answers[-1]


exporter.export = look
meters = MeterProvider(
    resource=Resource.create({"service.name": f"sdk-{transport}"}),
    metric_readers=[PeriodicExportingMetricReader(exporter, 60_000)],
    views=[View(instrument_name="e2e.duration", aggregation=ExponentialBucketHistogramAggregation())],
)
histogram = meters.get_meter("e2e").create_histogram("e2e.duration", unit="s")
for value in values:
    histogram.record(value)
meters.shutdown()
if answers != [MetricExportResult.SUCCESS]:
    sys.exit(f"answers: {answers}")
print("sent")
