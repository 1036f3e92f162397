;; A component that expects our interface of run files to delete.
(component
  (import "model-foundry:host/run-files@0.1.0" (instance
    (export "delete" (func (param "name" string))))))
