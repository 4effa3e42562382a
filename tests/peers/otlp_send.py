"""Sends spans, data points and log records with the OpenTelemetry SDK, and fails if one export fails.

usage: otlp_send.py grpc|http ENDPOINT COUNT [gzip]
"""

import logging
import sys

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

transport, endpoint, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
packed = len(sys.argv) > 4

if transport == "grpc":
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    options = {"compression": Compression.Gzip if packed else Compression.NoCompression, "insecure": True}
    place = {signal: endpoint for signal in ("traces", "metrics", "logs")}
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    options = {"compression": Compression.Gzip if packed else Compression.NoCompression}
    place = {signal: f"{endpoint}/v1/{signal}" for signal in ("traces", "metrics", "logs")}

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader

failures = []


def watched(exporter, success):
    """The exporter, whose every answer is looked at: the SDK itself only logs failures."""
    export = exporter.export

    def look(batch, *args, **kwargs):
        result = export(batch, *args, **kwargs)
        if result is not success and getattr(result, "name", "") != "SUCCESS":
            failures.append(f"{type(exporter).__name__}: {result}")
        return result

    exporter.export = look
    return exporter


logging.basicConfig(level=logging.WARNING)
resource = Resource.create({"service.name": f"sdk-{transport}"})

tracers = TracerProvider(resource=resource)
spans = watched(OTLPSpanExporter(endpoint=place["traces"], **options), SpanExportResult.SUCCESS)
tracers.add_span_processor(BatchSpanProcessor(spans))
tracer = tracers.get_tracer("e2e")
for number in range(count):
    with tracer.start_as_current_span(f"span-{number}") as span:
        span.set_attribute("number", number)
        span.set_attribute("list", ["a", "b"])
        span.add_event("happened", {"why": "test"})
        try:
            if number == 0:
                raise ValueError("no")
        except ValueError as error:
            span.record_exception(error)

points = watched(OTLPMetricExporter(endpoint=place["metrics"], **options), MetricExportResult.SUCCESS)
meters = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(points, 60_000)])
meter = meters.get_meter("e2e")
meter.create_counter("e2e.counter").add(count)
meter.create_histogram("e2e.histogram").record(1.5)

loggers = LoggerProvider(resource=resource)
records = OTLPLogExporter(endpoint=place["logs"], **options)
loggers.add_log_record_processor(BatchLogRecordProcessor(watched(records, None)))
logger = loggers.get_logger("e2e")
for number in range(count):
    logger.emit(body=f"line-{number}", severity_number=SeverityNumber.INFO)

for provider in (tracers, meters, loggers):
    provider.shutdown()
if failures:
    sys.exit("\n".join(failures))
print("sent")
