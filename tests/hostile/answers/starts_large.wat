;; Asks for a table of a billion entries.
(table 1000000000 funcref)
(func $answer (result i32) unreachable)
