;; Appends to a file that is not among those of the run folder.
(func $answer (result i32)
  (drop (memory.grow (i32.const 1)))
  (call $"model-foundry:host/run-files@0.1.0 append"
    (i32.const 99) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 8))
  unreachable)
