;; Answers with an address that it does not have.
(func $answer (result i32) (i32.const 0x7ffffff0))
