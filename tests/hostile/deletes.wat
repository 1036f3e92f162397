;; A component that takes our own interface of files for one that deletes.
(component
  (import "model-foundry:logging/files@0.1.0" (instance
    (export "delete" (func (param "name" string))))))
