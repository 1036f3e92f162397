;; Hands the host a record of 100 MiB.
(func $answer (result i32)
  (drop (memory.grow (i32.const 1700)))
  (call $"model-foundry:host/run-files@0.1.0 append"
    (i32.const 0) (i32.const 0) (i32.const 0x6400000) (i32.const 0) (i32.const 0x6400000))
  unreachable)
