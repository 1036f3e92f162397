;; A component that wants to name paths.
(component
  (import "wasi:filesystem/preopens@0.2.12" (instance
    (export "open" (func (param "path" string) (result u32))))))
