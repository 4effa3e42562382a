//! Tests of the whole queue without threads, on the simulated disk.

mod bench;
mod damage;
mod ends;
mod loom;
mod model;
mod power;
mod room;
