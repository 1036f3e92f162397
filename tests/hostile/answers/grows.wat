;; Grows its memory by a mebibyte at a time. At the host's limit of 160 MiB it stops itself; if it gets more, it
;; returns.
(func $answer (result i32)
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  (if (i32.gt_u (memory.size) (i32.const 2560)) (then (return (i32.const 0))))
  unreachable)
