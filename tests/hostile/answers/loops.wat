;; Computes without end. To start it takes a few tenths of a second, as on a busy machine.
(func $begin (local $count i32)
  (loop $more
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $count) (i32.const 0x30000000)))))
(start $begin)
(func $answer (result i32) (loop $more (br $more)) unreachable)
