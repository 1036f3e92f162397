;; Returns a pointer to bytes of ones: an unknown case, an impossible length, text that is not UTF-8.
(func $answer (result i32)
  (if (i32.eqz (memory.size)) (then (drop (memory.grow (i32.const 1)))))
  (memory.fill (i32.const 0) (i32.const 0xff) (i32.const 0x10000))
  (i32.const 16))
