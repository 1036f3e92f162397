;; A component that asks for nothing and has nothing to offer.
(component)
