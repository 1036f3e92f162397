;; A component that wants to talk to other machines.
(component
  (import "wasi:sockets/tcp-create-socket@0.2.12" (instance
    (export "create-tcp-socket" (func (param "address-family" u8) (result u32))))))
