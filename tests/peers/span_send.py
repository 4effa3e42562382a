"""Sends spans with clients of Zipkin and Jaeger, and fails if one export fails.

usage: span_send.py KIND HOST PORT COUNT
KIND: zipkin-json, zipkin-proto, zipkin-v1, py-zipkin, jaeger-grpc, jaeger-http, jaeger-compact, jaeger-client
"""

import sys

kind, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def exporter():
    if kind == "zipkin-json":
        from opentelemetry.exporter.zipkin.json import ZipkinExporter

        return ZipkinExporter(endpoint=f"http://{host}:{port}/api/v2/spans")
    if kind == "zipkin-proto":
        from opentelemetry.exporter.zipkin.proto.http import ZipkinExporter

        return ZipkinExporter(endpoint=f"http://{host}:{port}/api/v2/spans")
    if kind == "zipkin-v1":
        from opentelemetry.exporter.zipkin.encoder import Protocol
        from opentelemetry.exporter.zipkin.json import ZipkinExporter

        # It compares the length with a number, whether there is one or not.
        return ZipkinExporter(
            version=Protocol.V1, endpoint=f"http://{host}:{port}/api/v1/spans", max_tag_value_length=128
        )
    if kind == "jaeger-grpc":
        from opentelemetry.exporter.jaeger.proto.grpc import JaegerExporter

        return JaegerExporter(collector_endpoint=f"{host}:{port}", insecure=True)
    from opentelemetry.exporter.jaeger.thrift import JaegerExporter

    if kind == "jaeger-http":
        return JaegerExporter(collector_endpoint=f"http://{host}:{port}/api/traces?format=jaeger.thrift")
    if kind == "jaeger-compact":
        return JaegerExporter(agent_host_name=host, agent_port=port, udp_split_oversized_batches=True)
    raise SystemExit(f"what is {kind}?")


def with_opentelemetry():
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    from opentelemetry.trace import SpanKind, Status, StatusCode

    failures = []
    target = exporter()
    export = target.export

    def look(batch):
        result = export(batch)
        if result is not SpanExportResult.SUCCESS:
            failures.append(result)
        return result

    target.export = look
    provider = TracerProvider(resource=Resource.create({"service.name": "e2e-spans", "host.name": "here"}))
    provider.add_span_processor(BatchSpanProcessor(target, max_export_batch_size=20))
    tracer = provider.get_tracer("e2e.library", "1.5")
    with tracer.start_as_current_span("root", kind=SpanKind.SERVER) as root:
        root.add_event("an event", {"n": 1})
        root.set_status(Status(StatusCode.ERROR, "it broke"))
        for number in range(count):
            with tracer.start_as_current_span(f"span-{number}", kind=SpanKind.CLIENT, attributes={"number": number}):
                pass
    provider.shutdown()
    if failures:
        raise SystemExit(f"failed to export: {failures}")


def with_py_zipkin():
    import requests
    from py_zipkin import Encoding, Kind
    from py_zipkin.zipkin import zipkin_span

    def transport(encoded):
        headers = {"content-type": "application/json"}
        answer = requests.post(f"http://{host}:{port}/api/v2/spans", data=encoded, headers=headers, timeout=20)
        answer.raise_for_status()

    with zipkin_span(
        service_name="e2e-spans",
        span_name="root",
        transport_handler=transport,
        sample_rate=100,
        encoding=Encoding.V2_JSON,
        kind=Kind.SERVER,
    ) as root:
        root.add_annotation("an event")
        root.update_binary_annotations({"error": "it broke"})
        for number in range(count):
            with zipkin_span(service_name="e2e-spans", span_name=f"span-{number}", kind=Kind.CLIENT):
                pass


def with_jaeger_client():
    import time

    from jaeger_client import Config

    config = Config(
        config={
            "sampler": {"type": "const", "param": 1},
            "local_agent": {"reporting_host": host, "reporting_port": port},
            "reporter_batch_size": 10,
        },
        service_name="e2e-spans",
        validate=True,
    )
    tracer = config.initialize_tracer()
    with tracer.start_span("root", tags={"span.kind": "server", "error": True}) as root:
        root.log_kv({"event": "an event"})
        for number in range(count):
            with tracer.start_span(f"span-{number}", child_of=root, tags={"span.kind": "client"}):
                pass
    closed = tracer.close()
    while not closed.done():
        time.sleep(0.05)


if kind == "py-zipkin":
    with_py_zipkin()
elif kind == "jaeger-client":
    with_jaeger_client()
else:
    with_opentelemetry()
