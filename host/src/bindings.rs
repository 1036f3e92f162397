//! The generated side of the component model: private, so that the public interface is ours.

wasmtime::component::bindgen!({
    path: "wit",
    world: "logging",
    imports: { default: trappable },
    require_store_data_send: true,
    additional_derives: [PartialEq, serde::Serialize],
});
