//! What a steady file costs: no allocation for each line; many idle files are cheap.

mod support;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::House;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_costs_no_allocation_of_its_own() {
    const LINES: usize = 100_000;
    let mut house = House::new("*.log");
    let text: String = (0..LINES).map(|n| format!("{n:09} GET /path/to/something 200 1234\n")).collect();
    // Buffers grow to their size.
    house.append("a.log", &text);
    house.start();
    let size = text.len() as u64;
    let read = |house: &House, bytes: u64| {
        let entry = format!("\"offset\":{bytes},");
        std::fs::read_to_string(&house.config.positions.state_file).is_ok_and(|state| state.contains(&entry))
    };
    house.until("it is warm", |house| read(house, size)).await;
    let region = Region::new(ALLOCATOR);
    house.append("a.log", &text);
    house.until("the rest is read", |house| read(house, 2 * size)).await;
    let allocations = region.change().allocations;
    assert!(allocations < LINES / 10, "{allocations} allocations for {LINES} lines");
    house.stop().await;
}
