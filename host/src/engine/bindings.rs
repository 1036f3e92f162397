//! The generated calls of the component's exports. They are private; the types are the hand-written ones of
//! `model_foundry_types`.

wasmtime::component::bindgen!({
    path: ["wit/clocks", "wit/host", "wit/logging"],
    world: "model-foundry:logging/exports",
    with: { "model-foundry:logging/types": model_foundry_types },
    require_store_data_send: true,
});
