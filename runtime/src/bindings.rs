//! What `sdk/wit/larder.wit` says, in Rust.

wasmtime::component::bindgen!({
    path: "../sdk/wit",
    world: "larder:function/event-function",
    imports: { default: async | trappable },
    exports: { default: async },
    require_store_data_send: true,
});
