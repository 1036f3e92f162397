//! The sandbox: the engine, the compiled component and one started instance of it.

pub(crate) mod bindings;
mod cache;
mod limits;
pub(crate) mod runtime;
pub(crate) mod sandbox;
