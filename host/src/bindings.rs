//! The generated side of the component model: private, so that the public interface is ours.

#![expect(clippy::all, reason = "generated; documented in wit/")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "logging",
    imports: { default: trappable },
    require_store_data_send: true,
    additional_derives: [PartialEq, serde::Serialize],
});
