;; A module of the old kind, with no types that say what it needs.
(module (func (export "run")))
