;; When it is started, takes all the memory that it gets, and then stops itself.
(func $begin
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  unreachable)
(start $begin)
(func $answer (result i32) unreachable)
