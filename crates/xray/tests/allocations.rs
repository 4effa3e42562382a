//! What a span costs in allocations on its way into the body of a request: nothing, once the lists have their size.

mod fixture;

use std::alloc::System;

use fixture::{pair, repeated, span};
use proto::otlp_traces::SpanKind;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use xray::{Options, Reading};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations(spans: usize) -> usize {
    let span = span(
        SpanKind::Client,
        true,
        vec![
            pair("http.request.method", "GET"),
            pair("http.response.status_code", 200),
            pair("url.full", "https://shop.example.com/api?a=\"b\""),
            pair("user_agent.original", "Mozilla/5.0"),
            pair("server.address", "orders.shop"),
            pair("network.peer.address", "10.1.2.3"),
            pair("thread.id", 7),
            pair("a \"name\" of its own", true),
            pair("another", 1.5),
        ],
    );
    let (many, options) = (repeated(&span, spans), Options::default());
    let mut text = Vec::with_capacity(4 << 10);
    let mut reading = Reading::of(&many, &options);
    // The first makes the lists.
    assert!(reading.next(&mut text).unwrap().is_ok());
    let region = Region::new(COUNTING);
    for _ in 1..spans {
        text.clear();
        assert!(reading.next(&mut text).unwrap().is_ok());
    }
    region.change().allocations + region.change().reallocations
}

#[test]
fn an_ordinary_span_allocates_nothing() {
    assert_eq!(allocations(200), 0);
}
