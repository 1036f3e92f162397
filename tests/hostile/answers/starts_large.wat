;; Asks for a table of a thousand million entries.
(table 1000000000 funcref)
(func $answer (result i32) unreachable)
