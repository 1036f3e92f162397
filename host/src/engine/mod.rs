//! The sandbox: the engine, the compiled component and one started instance of it.

pub(crate) mod bindings;
pub(crate) mod cache;
mod limits;
pub(crate) mod runtime;
pub(crate) mod sandbox;
