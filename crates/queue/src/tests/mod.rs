//! Tests of the whole queue without threads, on the simulated disk.

mod bench;
mod damage;
mod loom;
mod model;
mod power;
