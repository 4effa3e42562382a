// Sends spans, data points and log records with OpenTelemetry's SDK for Node, and fails if one export fails.
//
// usage: node otlp_send.cjs grpc|proto|json|zipkin ENDPOINT COUNT   (NODE_PATH names the packages)

const [kind, endpoint, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];

const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");

const failures = [];

// The exporter, whose every answer is looked at: the SDK itself only logs failures.
function watched(exporter) {
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) =>
    send(batch, (result) => {
      if (result.code !== 0) failures.push(String(result.error));
      done(result);
    });
  return exporter;
}

const packages = { grpc: "grpc", proto: "proto", json: "http" };
const url = (signal) => (kind === "grpc" ? endpoint : `${endpoint}/v1/${signal}`);
const resource = resourceFromAttributes({ "service.name": `node-${kind}` });

async function main() {
  let spans;
  if (kind === "zipkin") {
    const { ZipkinExporter } = require("@opentelemetry/exporter-zipkin");
    spans = new ZipkinExporter({ url: `${endpoint}/api/v2/spans` });
  } else {
    const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${packages[kind]}`);
    spans = new OTLPTraceExporter({ url: url("traces") });
  }
  const tracers = new BasicTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(watched(spans))] });
  const tracer = tracers.getTracer("e2e");
  for (let number = 0; number < count; number++) {
    const span = tracer.startSpan(`span-${number}`, { attributes: { number, list: ["a", "b"] } });
    span.addEvent("happened", { why: "test" });
    span.end();
  }
  const providers = [tracers];
  if (kind !== "zipkin") {
    const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${packages[kind]}`);
    const points = watched(new OTLPMetricExporter({ url: url("metrics") }));
    const readers = [new PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 60000 })];
    const meters = new MeterProvider({ resource, readers });
    meters.getMeter("e2e").createCounter("e2e.counter").add(count);
    meters.getMeter("e2e").createHistogram("e2e.histogram").record(1.5);
    const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${packages[kind]}`);
    const exporter = watched(new OTLPLogExporter({ url: url("logs") }));
    const processors = [new BatchLogRecordProcessor({ exporter })];
    const loggers = new LoggerProvider({ resource, processors });
    const logger = loggers.getLogger("e2e");
    for (let number = 0; number < count; number++) {
      logger.emit({ body: `line-${number}`, severityNumber: 9 });
    }
    providers.push(meters, loggers);
  }
  for (const provider of providers) {
    await provider.forceFlush();
    await provider.shutdown();
  }
  if (failures.length > 0) throw new Error(failures.join("\n"));
}

main().then(
  () => console.log("sent"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
