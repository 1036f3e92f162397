;; A component that sets the clock, under the name of the one that tells the time.
(component
  (import "wasi:clocks/monotonic-clock@0.2.12" (instance
    (export "now" (func (param "instant" u64))))))
