;; A component that sets the clock, under the name of the one that returns the time.
(component
  (import "wasi:clocks/wall-clock@0.2.12" (instance
    (export "now" (func (param "instant" u64))))))
