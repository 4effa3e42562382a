//! What goes over the wire: series tables as this destination sends them, and bodies made of them. No IO.

pub mod body;
pub mod press;
pub mod rewrite;
pub mod table;
